"""Models: TransVAE offline and online, naive baselines, losses, import of published weights.

torch, numpy and the standard library only.
"""

from reactdist.models.protocol import Reaction
from reactdist.models.published import load_published, read_published
from reactdist.models.transvae import TransVAE, TransVAEOutput
from reactdist.models.transvae_config import TransVAEConfig

__all__ = [
    "Reaction",
    "TransVAE",
    "TransVAEConfig",
    "TransVAEOutput",
    "load_published",
    "read_published",
]
