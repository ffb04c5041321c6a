"""reactdist: distributed training, tuning and evaluation of facial-reaction models (REACT 2024)."""

__version__ = "0.1.0"
