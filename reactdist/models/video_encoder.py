"""A frame's picture to a feature: five convolutions, each normalised per clip or per frame.

Letters: B clips, T frames, C channels, D features, S image side.
The published (1, k, k) 3-D convolutions are 2-D ones with frames in the batch.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reactdist.models.compiled import compiled
from reactdist.models.frame_norm import EPSILON, normalise_frames
from reactdist.models.stem import Stem, StemConvolution

VideoNorm = Literal["clip", "frame"]


class VideoEncoder(nn.Module):
    """(B, T, 3, S, S) to (B, T, D)."""

    def __init__(self, dim: int, norm: VideoNorm) -> None:
        super().__init__()
        self.norm = norm
        self.compiles = False
        self.stem = StemConvolution(dim // 4)
        self.conv2 = nn.Conv2d(dim // 4, dim, 7, stride=2, padding=3, bias=False)
        self.conv3 = nn.Conv2d(dim, dim, 3, stride=2, padding=1, bias=False)
        self.conv4 = nn.Conv2d(dim, dim, 3, stride=1, padding=1, bias=False)
        self.conv5 = nn.Conv2d(dim, dim, 3, stride=2, padding=1, bias=False)
        self.fc = nn.Linear(dim, dim)

    def forward(self, video: Tensor) -> Tensor:
        """Features (B, T, D) of video (B, T, 3, S, S), uint8 or float in [-1, 1]."""
        return self.features(self.stem(video))

    def features(self, stem: Stem) -> Tensor:
        """Features (B, T, D); with norm "clip" the frames of `stem` are the clip."""
        if self.compiles:
            features: Tensor = compiled(VideoEncoder._features)(self, stem)
            return features
        return self._features(stem)

    def _features(self, stem: Stem) -> Tensor:
        clips, frames = stem.mean.shape[:2]
        mean, variance = stem.mean, stem.variance
        if self.norm == "clip":
            mean = mean.mean(1, keepdim=True)
            variance = (variance + (stem.mean - mean).square()).mean(1, keepdim=True)
        scale = torch.rsqrt(variance + EPSILON)
        shift = (-mean * scale)[..., None, None]
        x = torch.addcmul(shift, stem.pooled, scale[..., None, None]).relu_().flatten(0, 1)
        x = self._normalise(self.conv2(x), clips)
        x = self._normalise(self.conv3(x), clips)
        x = self._normalise(self.conv4(x), clips) + x
        x = self._normalise(self.conv5(x), clips)
        return self.fc(x.mean((2, 3))).unflatten(0, (clips, frames))

    def _normalise(self, x: Tensor, clips: int) -> Tensor:
        """ReLU of (B * T, C, s, s), each channel at mean 0, variance 1 over a clip or a frame."""
        if self.norm == "frame":
            return normalise_frames(x)
        normalised = [
            F.batch_norm(clip, None, None, training=True, eps=EPSILON).relu_()
            for clip in x.chunk(clips)
        ]
        return normalised[0] if clips == 1 else torch.cat(normalised)
