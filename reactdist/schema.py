"""What a clip is: names, order, units and shapes of everything recorded about one person.

Source: REACT 2024 data description; order of the attributes as in the published csv files.
"""

from __future__ import annotations

ACTION_UNITS: tuple[str, ...] = (
    "AU1", "AU2", "AU4", "AU6", "AU7", "AU9", "AU10", "AU12",
    "AU14", "AU15", "AU17", "AU23", "AU24", "AU25", "AU26",
)  # fmt: skip
"""Occurrence of a facial action unit in a frame, 0 or 1."""
AFFECT: tuple[str, ...] = ("valence", "arousal")
"""Continuous affect, each in [-1, 1]."""
EXPRESSIONS: tuple[str, ...] = (
    "Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "Contempt",
)  # fmt: skip
"""Probabilities of eight expressions, summing to 1."""
ATTRIBUTES: tuple[str, ...] = ACTION_UNITS + AFFECT + EXPRESSIONS
"""The 25 columns of an emotion csv, in file order."""

NUM_ATTRIBUTES = len(ATTRIBUTES)  # 25
AU_SLICE = slice(0, 15)
AFFECT_SLICE = slice(15, 17)
EXPRESSION_SLICE = slice(17, 25)

NUM_COEFFICIENTS = 58
"""3DMM coefficients a frame: 52 expression, 3 rotation, 3 translation."""
SHAPE_SLICE = slice(0, 52)
POSE_SLICE = slice(52, 58)

AUDIO_FEATURES = 78
"""13 MFCC x 2 sub-frames x (value, delta, delta-delta)."""

FRAME_RATE_HZ = 25
NOMINAL_FRAMES = 751
"""Frames of a published clip (30 s and one frame; some files have 750)."""
FRAME_PIXELS = 256
"""Side of a published face crop; the model sees the centre CROP_PIXELS."""
CROP_PIXELS = 224

SPLITS: tuple[str, ...] = ("train", "val", "test")
NUM_SAMPLES = 10
"""Reactions the challenge asks for, for each item."""

# Which person a role names. The role belongs to the person, whoever speaks in the direction at
# hand; releases whose Emotion folder uses P1/P2 map each person by this table.
PERSON_OF_ROLE: dict[str, str] = {
    "Expert_video": "P1", "Novice_video": "P2",
    "P25": "P1", "P41": "P1", "P45": "P1",
    "P26": "P2", "P42": "P2", "P46": "P2",
}  # fmt: skip
