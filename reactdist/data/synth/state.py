"""The latent face of a person in a frame: the one source of picture, voice, attributes, 3DMM."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np


class Channel(enum.IntEnum):
    """Columns of a face state. 1 is a full expression unless a line says otherwise."""

    JAW = 0  # mouth opening, syllables included
    SPEAKING = 1  # inside a phrase
    SMILE = 2  # -1 corners down to 1 corners up
    BROW_RAISE = 3
    BROW_FURROW = 4
    BROW_INNER = 5  # inner ends up, as in worry
    EYE_OPEN = 6  # 0 closed, 1 rest, 1.4 wide
    NOSE = 7  # wrinkle
    LIP_PRESS = 8
    GAZE = 9  # -1 left to 1 right
    YAW = 10  # radians, to the right
    PITCH = 11  # radians, down
    ROLL = 12  # radians, to the right shoulder
    LEAN = 13  # -1 back to 1 towards the camera


NUM_CHANNELS = len(Channel)


@dataclass(frozen=True)
class Syllable:
    """One voiced syllable; opens the mouth and is heard over exactly this time."""

    start_s: float
    end_s: float
    vowel: int
    stress: float  # 0 to 1


@dataclass(frozen=True)
class Performance:
    """What one person does over a clip of T frames."""

    state: np.ndarray  # (T, NUM_CHANNELS) float64
    syllables: tuple[Syllable, ...]
