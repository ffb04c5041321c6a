"""Everything one person of one clip leaves behind, computed from the plan alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reactdist.data.synth.attributes import attributes
from reactdist.data.synth.behaviour import perform
from reactdist.data.synth.coefficients import coefficients
from reactdist.data.synth.person import Person
from reactdist.data.synth.plan import Clip, Plan
from reactdist.data.synth.script import play
from reactdist.data.synth.seeding import generator
from reactdist.data.synth.state import Performance


@dataclass(frozen=True)
class Recording:
    """One person over the T frames of a clip."""

    person: Person
    performance: Performance
    emotion: np.ndarray  # (T, 25) float64
    coefficients: np.ndarray  # (T, 58) float32


def record(plan: Plan, clip: Clip) -> tuple[Recording, Recording]:
    """Both people of a clip, in the order of its roles; no picture and no sound yet."""
    rng = generator(plan.seed, "clip", clip.number)
    script = play(plan.scripts[clip.script], rng)
    by_side = clip.people if clip.sides[0] == 0 else clip.people[::-1]
    performances = perform(script, by_side, plan.frames, rng)
    recordings = []
    for role in (0, 1):
        person, performance = clip.people[role], performances[clip.sides[role]]
        noise = generator(plan.seed, "coefficients", clip.number, role)
        recordings.append(
            Recording(
                person,
                performance,
                attributes(performance.state, person),
                coefficients(performance.state, person, noise),
            )
        )
    return recordings[0], recordings[1]
