"""A person of the release: how they react, sound and look; all of it from seed and number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reactdist.data.synth.script import Act
from reactdist.data.synth.seeding import generator

Colour = tuple[int, int, int]

SKINS: tuple[Colour, ...] = (
    (247, 219, 198), (238, 200, 172), (226, 182, 148), (208, 160, 122),
    (184, 134, 98), (158, 110, 78), (132, 90, 64),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (28, 22, 20), (58, 38, 26), (96, 62, 36), (150, 104, 52), (196, 158, 96), (120, 48, 28),
    (118, 116, 114),
)  # fmt: skip


@dataclass(frozen=True)
class Look:
    """What stays the same in a person's picture."""

    skin: Colour
    hair: Colour
    hair_style: int  # 0 short, 1 long, 2 bun, 3 bald
    clothes: Colour
    wall: Colour
    wall_slope: float  # brightness change across the wall, -1 to 1
    glasses: bool
    face_width: float  # relative to its height
    brow_width: float  # pixels
    light: float  # overall brightness, about 1
    light_side: float  # -1 lit from the left, 1 from the right


@dataclass(frozen=True)
class Voice:
    """What stays the same in a person's voice and microphone."""

    pitch_hz: float
    formant_scale: float
    level: float
    stereo: bool


@dataclass(frozen=True)
class Person:
    """One person: temper, look and voice."""

    number: int
    lag_frames: float  # from the other's act to the reaction, 0.3 to 1.0 s (an act adds to it)
    expressivity: float
    reactivity: float
    styles: tuple[int, ...]  # which right reaction they prefer, for each act
    nods: float  # share of the other's phrase ends answered with a nod
    valence_bias: float
    look: Look
    voice: Voice


def make_person(seed: int, number: int) -> Person:
    """Person `number` of the release of this seed."""
    rng = generator(seed, "person", number)
    return Person(
        number=number,
        lag_frames=float(rng.uniform(8, 24)),
        expressivity=float(rng.uniform(0.85, 1.1)),
        reactivity=float(rng.uniform(0.8, 1.1)),
        styles=tuple(int(s) for s in rng.integers(0, 2, len(Act))),
        nods=float(rng.uniform(0.5, 1.0)),
        valence_bias=float(rng.normal(0, 0.02)),
        look=_look(rng),
        voice=_voice(rng),
    )


def _look(rng: np.random.Generator) -> Look:
    return Look(
        skin=SKINS[rng.integers(len(SKINS))],
        hair=HAIRS[rng.integers(len(HAIRS))],
        hair_style=int(rng.integers(4)),
        clothes=_colour(rng, 30, 200),
        wall=_colour(rng, 90, 225),
        wall_slope=float(rng.uniform(-0.25, 0.25)),
        glasses=bool(rng.random() < 0.3),
        face_width=float(rng.uniform(0.74, 0.86)),
        brow_width=float(rng.uniform(7, 10)),
        light=float(rng.uniform(0.85, 1.05)),
        light_side=float(rng.uniform(-1, 1)),
    )


def _colour(rng: np.random.Generator, low: int, high: int) -> Colour:
    """A muted colour: shades between grey and a random one."""
    r, g, b = (0.5 * rng.integers(low, high) + 0.5 * rng.integers(low, high, 3)).astype(int)
    return int(r), int(g), int(b)


def _voice(rng: np.random.Generator) -> Voice:
    high = rng.random() < 0.5
    return Voice(
        pitch_hz=float(rng.uniform(170, 230) if high else rng.uniform(95, 140)),
        formant_scale=float(rng.uniform(1.05, 1.18) if high else rng.uniform(0.92, 1.03)),
        level=float(rng.uniform(0.7, 1.0)),
        stereo=bool(rng.random() < 0.2),
    )
