"""Online generation: one window at a time, each seeing only what came before.

Batch forward, sampling and streaming all go through `next_window`, so that they agree.

Letters: B clips, K samples, R = B * K rows, w window, L past frames, D features, Z latent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reactdist.errors import InputError
from reactdist.models import checks
from reactdist.models.attention import KeysValues
from reactdist.models.decoder import PastMemory
from reactdist.models.protocol import Reaction
from reactdist.schema import NUM_ATTRIBUTES, NUM_COEFFICIENTS

if TYPE_CHECKING:
    from reactdist.models.transvae import TransVAE

REACTION_SIZE = NUM_COEFFICIENTS + NUM_ATTRIBUTES


@dataclass
class OnlineState:
    """What generation keeps of the past, at most `TransVAEConfig.past_frames` frames of it."""

    reactions: Tensor | None = None  # (R, L, 58 + 25); video_norm "clip" only
    seen: KeysValues | None = None  # the posterior's memory of past frames; "frame" only
    past: PastMemory | None = None


@dataclass(frozen=True)
class Window:
    """One generated window, or all of a clip joined."""

    coefficients: Tensor  # (R, w, 58)
    emotion: Tensor  # (R, w, 25)
    mean: Tensor  # (R, Z); joined (windows, R, Z)
    std: Tensor  # (R, Z); joined (windows, R, Z)


def next_window(
    model: TransVAE, state: OnlineState, speaker: Tensor, queries: Tensor, noise: Tensor
) -> tuple[Window, OnlineState]:
    """Generate a window; returns it and the state after it.

    Args:
        model: an online model.
        state: what was kept of the windows before.
        speaker: speaker features; with norm "frame" of this window (R, w, D), with "clip" of the
            past frames in the state too (R, L + w, D), since each window changes them all.
        queries: the decoder's queries of this window (R or 1, w, D).
        noise: standard normal (R, Z).
    """
    mean, std = model.posterior(_frames_seen(model, state, speaker))
    reaction = model.decoder(mean + std * noise, queries)
    shaped = reaction if state.past is None else model.past(reaction, state.past)
    coefficients = model.decoder.coefficient_head(shaped)
    emotion = model.decoder.emotion(coefficients, reaction)
    window = Window(coefficients, emotion, mean, std)
    return window, _remember(model, state, speaker, window)


def _frames_seen(model: TransVAE, state: OnlineState, speaker: Tensor) -> KeysValues:
    """The posterior's memory of past frames with their reactions and of this window's with none."""
    empty = speaker.new_zeros(*speaker.shape[:2], REACTION_SIZE)
    if model.cfg.video_norm == "clip":
        if state.reactions is not None:
            empty[:, : state.reactions.shape[1]] = state.reactions
        return _project(model, speaker, empty)
    own = _project(model, speaker, empty)
    return own if state.seen is None else state.seen.append(own)


def _project(model: TransVAE, speaker: Tensor, reactions: Tensor) -> KeysValues:
    return model.posterior.project(model.reaction_fusion(torch.cat([speaker, reactions], -1)))


def _remember(model: TransVAE, state: OnlineState, speaker: Tensor, window: Window) -> OnlineState:
    keep = model.cfg.past_frames
    past = model.past.remember(window.coefficients, state.past).latest(keep)
    reactions = torch.cat([window.coefficients, window.emotion], -1)
    if model.cfg.video_norm == "clip":
        if state.reactions is not None:
            reactions = torch.cat([state.reactions, reactions], 1)
        return OnlineState(reactions=reactions[:, max(0, reactions.shape[1] - keep) :], past=past)
    seen = _project(model, speaker, reactions)
    if state.seen is not None:
        seen = state.seen.append(seen)
    return OnlineState(seen=seen.latest(keep), past=past)


def generate(
    model: TransVAE, speakers: Iterable[Tensor], num_frames: int, noises: Iterator[Tensor]
) -> Window:
    """All windows of a clip, joined.

    Args:
        model: an online model.
        speakers: `next_window`'s speaker features, a window each.
        num_frames: T of the clip; the last window may be short.
        noises: standard normal (R, Z), a window each.
    """
    state, windows, size = OnlineState(), [], model.cfg.window_size
    queries = None
    for index, speaker in enumerate(speakers):
        frames = min(size, num_frames - index * size)
        if queries is None:
            queries = _queries(model, speaker, -(-num_frames // size))
        # Queries attend to the ones before them only: a short window's are the first of a whole's.
        own = queries[index % len(queries)][:, :frames]
        window, state = next_window(model, state, speaker, own, next(noises))
        windows.append(window)
    return Window(
        torch.cat([window.coefficients for window in windows], 1),
        torch.cat([window.emotion for window in windows], 1),
        torch.stack([window.mean for window in windows]),
        torch.stack([window.std for window in windows]),
    )


def _queries(model: TransVAE, speaker: Tensor, num_windows: int) -> Tensor:
    """Queries of every window (windows or 1, R or 1, w, D): they depend on no input."""
    rows = speaker.shape[0]
    queries = model.decoder.queries(num_windows * rows, model.cfg.window_size, speaker)
    return queries[None] if queries.shape[0] == 1 else queries.unflatten(0, (num_windows, rows))


class Stream:
    """A session that reacts to a speaker window by window, in real time.

    What it keeps is bounded by `max_history_frames`, so a window costs the same for ever. With the
    noise (or generator) of a batch `sample`, it gives that call's numbers.
    """

    def __init__(
        self, model: TransVAE, num_samples: int = 1, generator: torch.Generator | None = None
    ) -> None:
        """Raises InputError unless the model is online with video_norm "frame"."""
        if model.cfg.task != "online" or model.cfg.video_norm != "frame":
            raise InputError(
                f"a {model.cfg.task} model with video_norm {model.cfg.video_norm!r} cannot stream",
                fix="use task online and video_norm frame: only then past frames stay as they are",
            )
        checks.check_count("num_samples", num_samples)
        self.model, self.num_samples, self.generator = model, num_samples, generator
        self.clips = 0
        self.ended = False
        self._state = OnlineState()
        self._queries: Tensor | None = None

    @torch.no_grad()
    def step(self, video: Tensor, audio: Tensor, noise: Tensor | None = None) -> Reaction:
        """React to the next window.

        Args:
            video: (B, w, 3, S, S) uint8 or float in [-1, 1]; fewer than window_size frames end
                the session.
            audio: (B, w, 78).
            noise: standard normal (B, K, Z), or (B, Z) for one sample; drawn when not given.

        Returns:
            The window's reactions (B, K, w, 58) and (B, K, w, 25).

        Raises:
            InputError: a wrong shape, more frames than window_size, or a step after the end.
        """
        model, size = self.model, self.model.cfg.window_size
        checks.check_speaker(video, audio, model.cfg.image_size)
        clips, frames = video.shape[:2]
        self._check_order(clips, frames)
        rows = clips * self.num_samples
        with model.evaluating():
            if self._queries is None:
                self._queries = model.decoder.queries(1, size, audio)
            speaker = model.speaker(video, audio).repeat_interleave(self.num_samples, 0)
            if noise is None:
                noise = model.draw(rows, audio.device, self.generator)
            else:
                noise = noise.reshape(-1, noise.shape[-1])
                checks.check_shape("noise", noise, (rows, model.cfg.latent_dim))
            window, self._state = next_window(
                model, self._state, speaker, self._queries[:, :frames], noise
            )
        self.ended = frames < size
        shape = (clips, self.num_samples)
        return Reaction(window.coefficients.unflatten(0, shape), window.emotion.unflatten(0, shape))

    def _check_order(self, clips: int, frames: int) -> None:
        if self.ended:
            raise InputError("the session ended with a short window", fix="open a new stream")
        if frames > self.model.cfg.window_size:
            raise InputError(
                f"video holds {frames} frames, a window is {self.model.cfg.window_size}",
                fix="pass one window at a time",
            )
        if self.clips not in (0, clips):
            raise InputError(
                f"video holds {clips} clips, the session began with {self.clips}",
                fix="open a stream for each group of clips",
            )
        self.clips = clips
