"""What a tensor must look like before a model touches it; errors name the tensor."""

from __future__ import annotations

import torch
from torch import Tensor

from reactdist.errors import InputError
from reactdist.schema import AUDIO_FEATURES


def field_error(name: str, value: object, problem: str) -> InputError:
    """The error of an impossible setting."""
    return InputError(f"{name} {problem} (given {value!r})", fix="correct the model's settings")


def check_one_of(name: str, value: object, choices: tuple[object, ...]) -> None:
    """A setting is one of a few values; raises InputError otherwise."""
    if value not in choices:
        raise field_error(name, value, "must be one of " + ", ".join(map(str, choices)))


def check_whole(name: str, value: object, least: int) -> None:
    """A setting is a whole number of at least `least`; raises InputError otherwise."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise field_error(name, value, f"must be a whole number of at least {least}")


def check_share(name: str, value: object) -> None:
    """A setting is in [0, 1); raises InputError otherwise."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise field_error(name, value, "must be a number in [0, 1)")


def check_shape(name: str, tensor: Tensor, expected: tuple[int | str, ...]) -> None:
    """Nothing if the shape fits; letters in `expected` stand for any size of at least 1.

    Raises:
        InputError: names the tensor, its shape and the expected one.
    """
    shape = tuple(tensor.shape)
    fits = len(shape) == len(expected) and all(
        size == want if isinstance(want, int) else size >= 1
        for size, want in zip(shape, expected, strict=True)
    )
    if not fits:
        wanted = ", ".join(map(str, expected))
        raise InputError(
            f"{name} has shape {shape}, expected ({wanted})", fix="pass it in that layout"
        )


def check_speaker(video: Tensor, audio: Tensor, image_size: int) -> None:
    """Video (B, T, 3, S, S), uint8 or finite float, and audio (B, T, 78), finite, of one length.

    Raises:
        InputError: names the tensor and what was expected.
    """
    check_shape("video", video, ("B", "T", 3, image_size, image_size))
    clips, frames = video.shape[:2]
    check_shape("audio", audio, (clips, frames, AUDIO_FEATURES))
    if video.dtype != torch.uint8 and not video.is_floating_point():
        raise InputError(
            f"video is {video.dtype}, expected uint8 or float in [-1, 1]", fix="convert it"
        )
    for name, tensor in (("video", video), ("audio", audio)):
        # A sum is not finite if any part is not, and needs no temporary of the tensor's size.
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.sum())):
            where = torch.nonzero(~torch.isfinite(tensor))[:1].tolist()
            if where:
                raise InputError(
                    f"{name} is not finite at index {tuple(where[0])}",
                    fix="mend or drop that clip",
                )


def check_count(name: str, value: int) -> None:
    """At least one; raises InputError otherwise."""
    if value < 1:
        raise InputError(f"{name} must be at least 1 (given {value})", fix="ask for one or more")


def check_window(num_frames: int, window_size: int) -> None:
    """A clip holds at least one whole window.

    Raises:
        InputError: names both lengths.
    """
    if num_frames < window_size:
        raise InputError(
            f"window_size {window_size} is larger than the clip of {num_frames} frames",
            fix="use a smaller window or longer crops",
        )
