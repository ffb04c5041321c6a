"""The published model's numbers, as the tests read them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reactdist.models import TransVAE, TransVAEConfig, load_published

FOLDER = Path(__file__).parent.parent / "golden"
KINDS = ("offline", "online_w8")


class Golden:
    """One golden file: arrays by name, weights and the settings they belong to."""

    def __init__(self, kind: str) -> None:
        with np.load(FOLDER / f"transvae_{kind}.npz", allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(str(arrays.pop("meta")))
        self.arrays: dict[str, Tensor] = {k: torch.from_numpy(v) for k, v in arrays.items()}
        self.weights = {
            name.removeprefix("weights/"): self.arrays[name]
            for name in arrays
            if name.startswith("weights/")
        }
        self.cfg = TransVAEConfig(
            task="online" if meta["online"] else "offline",
            feature_dim=meta["feature_dim"],
            latent_dim=meta["feature_dim"],
            image_size=meta["image_size"],
            num_heads=meta["heads"],
            window_size=meta["window_size"] or 16,
        )

    def __getitem__(self, name: str) -> Tensor:
        return self.arrays[name]

    def model(self) -> TransVAE:
        """The published weights in our model, dropout off."""
        return load_published(self.weights, self.cfg).eval()
