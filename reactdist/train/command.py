"""`reactdist train`."""

from __future__ import annotations

from reactdist.terminal import console
from reactdist.train.settings import TrainSettings


def run(settings: TrainSettings, address: str | None, tracking: str | None) -> None:
    """Train, say where the result is."""
    from reactdist.train.launch import train

    result = train(settings, tracking=tracking, address=address)
    shown = ", ".join(
        f"{name} {result['metrics'][name]:.4g}" for name in ("objective", "FRCorr", "FRDist")
    )
    screen = console()
    screen.print(f"{settings.name}: {result['step']} steps, last evaluation: {shown}")
    screen.print(f"best model: {settings.folder / 'best'}", highlight=False)
