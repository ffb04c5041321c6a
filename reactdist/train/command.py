"""`reactdist train`."""

from __future__ import annotations

from rich.console import Console

from reactdist.train.settings import TrainSettings


def run(settings: TrainSettings, address: str | None, tracking: str | None) -> None:
    """Train, say where the result is."""
    from reactdist.train.launch import train

    result = train(settings, tracking=tracking, address=address)
    shown = ", ".join(
        f"{name} {result['metrics'][name]:.4g}" for name in ("objective", "FRCorr", "FRDist")
    )
    console = Console()
    console.print(f"{settings.name}: {result['step']} steps, last evaluation: {shown}")
    console.print(f"best model: {settings.folder / 'best'}", highlight=False)
