"""Settings of TransVAE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from reactdist.models import checks
from reactdist.schema import CROP_PIXELS, NOMINAL_FRAMES

Task = Literal["offline", "online"]
VideoNorm = Literal["clip", "frame"]
MIN_IMAGE_SIZE = 40  # below it the last convolution has no 2 x 2 positions left to normalise


@dataclass(frozen=True)
class TransVAEConfig:
    """What a TransVAE is built from; the defaults are the published offline model.

    Raises:
        InputError: an impossible value; names the field.
    """

    task: Task = "offline"
    """offline: the whole speaker clip is known; online: it arrives in windows."""
    feature_dim: int = 128
    """Size of every feature; divisible by num_heads and by 4."""
    latent_dim: int = 128
    """Size of the latent a window's (offline: the clip's) reaction is drawn from."""
    window_size: int = 16
    """Frames generated at a time, online; the last window of a clip may be shorter."""
    image_size: int = CROP_PIXELS
    """Side of the speaker's pictures, pixels."""
    video_norm: VideoNorm = "clip"
    """What a picture's features are normalised over: all frames so far (as published) or the
    frame alone, which lets online encoding keep what it has computed."""
    num_heads: int = 4
    """Attention heads."""
    dropout: float = 0.1
    """Share of values dropped in training."""
    max_history_frames: int = NOMINAL_FRAMES
    """Frames a window may look back on, its own window_size included; bounds batch forward,
    sampling and stream alike (online)."""
    posterior_positions: bool = False
    """Give the offline posterior the frames' positions; without them (as published) it cannot
    tell when the speaker did something."""
    checkpoint_video: bool = False
    """Compute the video encoder again in the backward pass instead of keeping its activations:
    less memory, about a third more work."""

    def __post_init__(self) -> None:
        checks.check_one_of("task", self.task, get_args(Task))
        checks.check_one_of("video_norm", self.video_norm, get_args(VideoNorm))
        for name in ("feature_dim", "latent_dim", "window_size", "num_heads", "max_history_frames"):
            checks.check_whole(name, getattr(self, name), 1)
        checks.check_whole("image_size", self.image_size, MIN_IMAGE_SIZE)
        checks.check_share("dropout", self.dropout)
        for name in ("posterior_positions", "checkpoint_video"):
            checks.check_one_of(name, getattr(self, name), (True, False))
        self._check_together()

    def _check_together(self) -> None:
        if self.feature_dim % self.num_heads:
            problem = f"must divide feature_dim {self.feature_dim}"
            raise checks.field_error("num_heads", self.num_heads, problem)
        if self.feature_dim % 4:
            raise checks.field_error("feature_dim", self.feature_dim, "must be divisible by 4")
        if self.task == "offline":
            return
        if self.max_history_frames < self.window_size:
            problem = f"must be at least window_size {self.window_size}"
            raise checks.field_error("max_history_frames", self.max_history_frames, problem)
        if self.posterior_positions:
            problem = "is an option of the offline model only"
            raise checks.field_error("posterior_positions", self.posterior_positions, problem)

    @property
    def past_frames(self) -> int:
        """Frames before its own that a window sees at most."""
        return self.max_history_frames - self.window_size

    def num_windows(self, num_frames: int) -> int:
        """Latents drawn for a clip: one offline, one a window online."""
        return 1 if self.task == "offline" else -(-num_frames // self.window_size)
