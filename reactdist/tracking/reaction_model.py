"""The registered model as MLflow runs it: `mlflow.pyfunc.load_model(...).predict(inputs, params)`.

MLflow stores this file beside the exported weights ("models from code") and runs it on load, so
no pickle is involved. It needs reactdist, torch and safetensors installed.

Inputs, a dict of arrays: `video` (B, T, 3, H, W) uint8 and `audio` (B, T, 78) float32.
Params: `num_samples` K (default 10) and `seed` of the latent noise (default 0).
Output, a dict of float32 arrays: `emotion` (B, K, T, 25) and `coefficients` (B, K, T, 58).
"""

from __future__ import annotations

from pathlib import Path

import mlflow
import numpy as np
import torch
from mlflow.pyfunc import PythonModel, PythonModelContext


class ReactionModel(PythonModel):
    """Ten (K) reactions an item from an exported folder; same seed, same reactions on a CPU."""

    # The signature stored with the model says what goes in. Without this MLflow asks for type
    # hints on stderr whenever the model is saved or loaded, past any warnings filter.
    _skip_type_hint_validation = True

    def load_context(self, context: PythonModelContext) -> None:
        """Load the exported weights on the CPU."""
        # Here and not at the top: MLflow also runs this file to save it, with no model at hand.
        from reactdist.checkpoints import load_exported

        self.model = load_exported(Path(context.artifacts["exported"])).eval()

    # No annotations: MLflow would turn them into a signature of its own.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """See the module for inputs and outputs."""
        settings = {"num_samples": 10, "seed": 0} | (params or {})
        generator = torch.Generator().manual_seed(int(settings["seed"]))
        with torch.inference_mode():
            out = self.model.sample(
                torch.from_numpy(np.asarray(model_input["video"], dtype=np.uint8)),
                torch.from_numpy(np.asarray(model_input["audio"], dtype=np.float32)),
                num_samples=int(settings["num_samples"]),
                generator=generator,
            )
        return {"emotion": out.emotion.numpy(), "coefficients": out.coefficients.numpy()}


mlflow.models.set_model(ReactionModel())
