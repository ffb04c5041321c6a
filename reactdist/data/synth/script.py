"""What two people do in a clip: who holds the floor, with which act, when and how strongly.

A script has two sides, 0 and 1, who take turns. Clips of one script play the same segments with
their own timing (`play`), so a reaction that fits one of them fits the others.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

import numpy as np


class Act(enum.IntEnum):
    """What the holder of the floor does in a segment."""

    TELL = 0
    JOKE = 1
    SURPRISE = 2
    SAD = 3
    THINK = 4
    COMPLAIN = 5


@dataclass(frozen=True)
class Segment:
    """One act of one side; frames count from the start of the clip and may lie before it."""

    side: int
    act: Act
    start_frames: float
    end_frames: float
    intensity: float  # 0.55 to 1.1


Script = tuple[Segment, ...]

LEAD_FRAMES = 160
"""A clip is cut out of a conversation that began this much earlier."""
TAIL_FRAMES = 40
MIN_ACT_FRAMES, MAX_ACT_FRAMES = 50.0, 100.0
TURN_ENDS = 0.7
"""Chance that the floor changes hands after a segment; a thinker keeps it."""
TIMING_SPREAD_FRAMES, MAX_SHIFT_FRAMES = 4.0, 8.0


def write_script(rng: np.random.Generator, frames: int) -> Script:
    """A new script that covers a clip of `frames` frames, and some time before and after it."""
    segments: list[Segment] = []
    time = -LEAD_FRAMES + rng.uniform(-MAX_ACT_FRAMES, 0)
    side = int(rng.integers(2))
    while time < frames + TAIL_FRAMES:
        previous = segments[-1] if segments else None
        choices = [a for a in Act if previous is None or a != previous.act]
        act = choices[int(rng.integers(len(choices)))]
        end = time + rng.uniform(MIN_ACT_FRAMES, MAX_ACT_FRAMES)
        segments.append(Segment(side, act, time, end, rng.uniform(0.6, 1.0)))
        time = end
        if act is not Act.THINK and rng.random() < TURN_ENDS:
            side = 1 - side
    return tuple(segments)


def play(script: Script, rng: np.random.Generator) -> Script:
    """One performance of a script: its boundaries moved by up to 8 frames, its strength by 8 %."""
    shifts = rng.normal(0, TIMING_SPREAD_FRAMES, len(script) + 1)
    shifts = np.clip(shifts, -MAX_SHIFT_FRAMES, MAX_SHIFT_FRAMES)
    strength = rng.uniform(0.92, 1.08, len(script))
    return tuple(
        replace(
            segment,
            start_frames=float(segment.start_frames + shifts[i]),
            end_frames=float(segment.end_frames + shifts[i + 1]),
            intensity=float(segment.intensity * strength[i]),
        )
        for i, segment in enumerate(script)
    )


def same_acts(a: Script, b: Script) -> bool:
    """Whether two scripts are the same acts in the same order, on either pair of sides."""
    return acts(a) in (acts(b), acts(swap(b)))


def acts(script: Script) -> tuple[tuple[int, int], ...]:
    """(side, act) of every segment."""
    return tuple((segment.side, int(segment.act)) for segment in script)


def swap(script: Script) -> Script:
    """The script with its two sides exchanged."""
    return tuple(replace(segment, side=1 - segment.side) for segment in script)
