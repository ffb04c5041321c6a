"""The 58 3DMM coefficients of a face state, with the published mean and scale.

A fixed mixing of the face channels, the same in every release, plus a person's own face shape
and a little smooth noise. Its scale is set on reference conversations of a fixed seed, so a
coefficient varies over a release about as much as in the published data.
"""

from __future__ import annotations

import functools
from importlib import resources

import numpy as np

from reactdist.data.synth.behaviour import perform, slow_noise
from reactdist.data.synth.person import Person, make_person
from reactdist.data.synth.script import write_script
from reactdist.data.synth.seeding import generator
from reactdist.data.synth.state import NUM_CHANNELS, Channel
from reactdist.schema import NUM_COEFFICIENTS, POSE_SLICE, SHAPE_SLICE

C = Channel

EXPRESSION_CHANNELS = (
    C.JAW, C.SMILE, C.BROW_RAISE, C.BROW_FURROW, C.BROW_INNER, C.EYE_OPEN, C.NOSE, C.LIP_PRESS,
    C.GAZE,
)  # fmt: skip
# Rotation is pitch, yaw, roll; the crop follows a turning head, so translation goes with it.
POSE: tuple[dict[Channel, float], ...] = (
    {C.PITCH: 1.0}, {C.YAW: 1.0}, {C.ROLL: 1.0},
    {C.YAW: 0.8, C.ROLL: 0.6}, {C.PITCH: 0.9, C.LEAN: -0.3}, {C.LEAN: 1.0},
)  # fmt: skip
SIGNAL_SHARE, PERSON_SHARE, NOISE_SHARE = 0.9, 0.05, 0.05
"""Shares of the variance of an expression coefficient."""

CALIBRATION_SEED, CALIBRATION_CLIPS, CALIBRATION_FRAMES = 2024, 24, 500


def published(name: str) -> np.ndarray:
    """`mean` or `std` of the published data, (58,) float64."""
    with resources.as_file(resources.files("reactdist.data") / f"{name}_face.npy") as path:
        return np.load(path, allow_pickle=False).astype(np.float64)


def coefficients(state: np.ndarray, person: Person, rng: np.random.Generator) -> np.ndarray:
    """(T, channels) -> (T, 58) float32 in the file's units: mean_face + std_face x variation."""
    mixing, offset = _mixing()
    variation = _mix(state, mixing) + offset
    shape = generator(CALIBRATION_SEED, "face shape", person.number).standard_normal(
        NUM_COEFFICIENTS
    )
    noise = np.stack([slow_noise(rng, len(state), 4) for _ in range(NUM_COEFFICIENTS)], axis=1)
    variation = (
        np.sqrt(SIGNAL_SHARE) * variation
        + np.sqrt(PERSON_SHARE) * shape
        + np.sqrt(NOISE_SHARE) * noise
    )
    return (published("mean") + published("std") * variation).astype(np.float32)


@functools.cache
def _mixing() -> tuple[np.ndarray, np.ndarray]:
    """Matrix (channels, 58) and offset (58,) that give mean 0, variance 1 over conversations."""
    weights = np.zeros((NUM_CHANNELS, NUM_COEFFICIENTS))
    rng = generator(CALIBRATION_SEED, "mixing")
    for i in range(SHAPE_SLICE.stop):
        main = EXPRESSION_CHANNELS[i % len(EXPRESSION_CHANNELS)]
        others = rng.choice(EXPRESSION_CHANNELS, 2, replace=False)
        weights[others, i] = 0.35 * rng.standard_normal(2)
        weights[main, i] += rng.choice([-1.0, 1.0])
    for i, pose in enumerate(POSE):
        for channel, value in pose.items():
            weights[channel, POSE_SLICE.start + i] = value
    state = _reference_state()
    spread = state.std(axis=0)
    weights /= spread[:, None]  # every channel moves a coefficient by the same share
    values = _mix(state, weights)
    scale = values.std(axis=0)
    return weights / scale, -values.mean(axis=0) / scale


def _mix(state: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The matrix product; not by BLAS, whose last bits depend on its number of threads."""
    return np.einsum("tc,ck->tk", state, weights)


def _reference_state() -> np.ndarray:
    states = []
    for clip in range(CALIBRATION_CLIPS):
        rng = generator(CALIBRATION_SEED, "reference clip", clip)
        people = (
            make_person(CALIBRATION_SEED, 2 * clip),
            make_person(CALIBRATION_SEED, 2 * clip + 1),
        )
        script = write_script(rng, CALIBRATION_FRAMES)
        states += [p.state for p in perform(script, people, CALIBRATION_FRAMES, rng)]
    return np.concatenate(states)
