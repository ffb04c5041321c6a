"""The 25 facial attributes of a face state, in the published order and ranges."""

from __future__ import annotations

import numpy as np

from reactdist.data.synth.person import Person
from reactdist.data.synth.state import Channel
from reactdist.schema import ACTION_UNITS, EXPRESSIONS, FRAME_RATE_HZ

C = Channel

TEMPERATURE = 0.22
"""Of the softmax over expressions: a full expression holds nearly all the probability."""


def attributes(state: np.ndarray, person: Person) -> np.ndarray:
    """(T, channels) -> (T, 25) float64: 15 action units 0/1, valence, arousal, 8 probabilities."""
    calm = state.copy()
    calm[:, C.JAW] = _hold(state[:, C.JAW])  # an occurrence outlasts the syllable
    calm[:, C.EYE_OPEN] = _hold(state[:, C.EYE_OPEN])  # a blink is no expression
    units = _action_units(calm)
    valence, arousal = _affect(calm, person)
    expressions = _expressions(calm)
    return np.concatenate([units, valence[:, None], arousal[:, None], expressions], axis=1)


def _hold(values: np.ndarray) -> np.ndarray:
    """The largest value within 0.2 s on either side."""
    radius = round(0.2 * FRAME_RATE_HZ)
    padded = np.pad(values, radius, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1)
    return windows.max(axis=1)


def _action_units(s: np.ndarray) -> np.ndarray:
    """(T, 15) of 0.0/1.0: a unit occurs where its part of the face passes a threshold."""
    smile, frown = s[:, C.SMILE], -s[:, C.SMILE]
    occurs = {
        "AU1": np.maximum(s[:, C.BROW_RAISE], s[:, C.BROW_INNER]) > 0.2,
        "AU2": s[:, C.BROW_RAISE] > 0.2,
        "AU4": np.maximum(s[:, C.BROW_FURROW], 0.8 * s[:, C.BROW_INNER]) > 0.35,
        "AU6": smile > 0.55,
        "AU7": (smile > 0.75) | (s[:, C.BROW_FURROW] > 0.6),
        "AU9": s[:, C.NOSE] > 0.65,
        "AU10": s[:, C.NOSE] > 0.25,
        "AU12": smile > 0.22,
        "AU14": (s[:, C.LIP_PRESS] > 0.3) & (smile > 0.02),
        "AU15": frown > 0.3,
        "AU17": (frown > 0.15) | (s[:, C.LIP_PRESS] > 0.5),
        "AU23": s[:, C.LIP_PRESS] > 0.5,
        "AU24": s[:, C.LIP_PRESS] > 0.3,
        "AU25": s[:, C.JAW] > 0.15,
        "AU26": s[:, C.JAW] > 0.45,
    }
    return np.stack([occurs[unit] for unit in ACTION_UNITS], axis=1).astype(np.float64)


def _affect(s: np.ndarray, person: Person) -> tuple[np.ndarray, np.ndarray]:
    """Valence and arousal, each (T,) in [-1, 1]."""
    valence = (
        0.75 * s[:, C.SMILE]
        + 0.15 * s[:, C.BROW_RAISE]
        - 0.35 * s[:, C.BROW_INNER]
        - 0.3 * s[:, C.BROW_FURROW]
        - 0.3 * s[:, C.NOSE]
        + person.valence_bias
    )
    arousal = (
        -0.25
        + 0.65 * s[:, C.SPEAKING]
        + 0.3 * s[:, C.BROW_RAISE]
        + 0.2 * np.abs(s[:, C.SMILE])
        + 0.2 * s[:, C.NOSE]
        - 0.3 * s[:, C.BROW_INNER]
        - 0.2 * s[:, C.LIP_PRESS]
    )
    return np.clip(valence, -1, 1), np.clip(arousal, -1, 1)


def _expressions(s: np.ndarray) -> np.ndarray:
    """(T, 8) probabilities that sum to 1."""
    smile = s[:, C.SMILE]
    score = {
        "Neutral": np.full(len(s), 0.4),
        "Happy": np.maximum(smile, 0),
        "Sad": 0.6 * s[:, C.BROW_INNER] + 0.5 * np.maximum(-smile, 0),
        "Surprise": s[:, C.BROW_RAISE] + 0.3 * np.maximum(s[:, C.EYE_OPEN] - 1, 0),
        "Fear": 0.8 * s[:, C.BROW_INNER] + 0.5 * s[:, C.JAW] - 0.1,
        "Disgust": s[:, C.NOSE],
        "Anger": 0.9 * s[:, C.BROW_FURROW] - 0.2 * np.maximum(smile, 0),
        "Contempt": 0.75 * s[:, C.LIP_PRESS],
    }
    logits = np.stack([score[name] for name in EXPRESSIONS], axis=1) / TEMPERATURE
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)
