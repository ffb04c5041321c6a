"""Who meets whom, in which clip, playing which script: the whole release before a file exists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reactdist.data.synth.person import Person, make_person
from reactdist.data.synth.script import Script, same_acts, write_script
from reactdist.data.synth.seeding import generator
from reactdist.errors import InputError
from reactdist.schema import SPLITS

DEFAULT_SPLITS: Mapping[str, float] = {"train": 0.55, "val": 0.2, "test": 0.25}
"""Shares of the pairs; about the published 1593 : 562 : 807."""

CLIPS_PER_SCRIPT: Mapping[str, float] = {"train": 2.0, "val": 3.0, "test": 3.0}
"""Training wants variety, scoring wants neighbours."""
CLIPS_PER_SESSION = 2
RECOLA_SHARE = 0.2
CITIES = (("Paris", "2016-03-17"), ("Nottingham", "2016-04-06"), ("Augsburg", "2016-05-11"))
RECOLA_ROLES = (("P25", "P26"), ("P41", "P42"), ("P45", "P46"))
NOXI_ROLES = ("Expert_video", "Novice_video")
DISTINCT_TRIES = 50


@dataclass(frozen=True)
class Clip:
    """One recording of two people; its two directions are two items."""

    split: str
    site: str
    session: str
    index: int
    roles: tuple[str, str]
    people: tuple[Person, Person]  # who has roles[0], roles[1]
    script: int
    sides: tuple[int, int]  # which side of the script roles[0], roles[1] play
    number: int  # names the clip's random streams

    def key(self, role: int) -> str:
        """`SITE/SESSION/ROLE/INDEX` of the person in role 0 or 1."""
        return f"{self.site}/{self.session}/{self.roles[role]}/{self.index}"


@dataclass(frozen=True)
class Plan:
    """A release: its clips in list order, split by split, and the scripts they play."""

    seed: int
    frames: int
    clips: tuple[Clip, ...]
    scripts: tuple[Script, ...]

    def of_split(self, split: str) -> list[Clip]:
        """The clips of a split in the order of its pair list."""
        return [clip for clip in self.clips if clip.split == split]

    def index(self) -> list[Clip]:
        """The rows of data_indices.csv: sorted as the published ones are (as text, NoXI first)."""
        return sorted(self.clips, key=lambda c: (c.site.lower(), c.session, str(c.index)))


def make_plan(
    pairs: int, frames: int, seed: int, splits: Mapping[str, float] = DEFAULT_SPLITS
) -> Plan:
    """The plan of a release of `pairs` clips of `frames` frames.

    Raises:
        InputError: too few pairs for the splits, no frames, a negative seed, unknown splits.
    """
    _check(pairs, frames, seed, splits)
    rng = generator(seed, "plan")
    scripts: list[Script] = []
    clips: list[Clip] = []
    names = _session_names(rng, pairs)
    people = 0
    for split, count in _counts(pairs, splits).items():
        wanted = round(count / CLIPS_PER_SCRIPT[split])
        sessions = _sessions(_add_scripts(scripts, count, wanted, frames, rng), count, rng)
        recola = max(1, round(RECOLA_SHARE * len(sessions))) if len(sessions) > 1 else 0
        order = rng.permutation(len(sessions))
        for position, chosen in enumerate(sessions):
            site = "RECOLA" if order[position] < recola else "NoXI"
            session, roles = names[site].pop(0)
            pair = make_person(seed, people), make_person(seed, people + 1)
            people += 2
            for index, script in enumerate(chosen, start=1):
                side = int(rng.integers(2))
                clips.append(
                    Clip(split, site, session, index, roles, pair, script, (side, 1 - side),
                         number=len(clips))
                )  # fmt: skip
    return Plan(seed, frames, tuple(clips), tuple(scripts))


def appropriateness(plan: Plan) -> np.ndarray:
    """(2R, 2R) uint8 over the R index rows: rows first in the listed direction, then mirrored.

    1 where both items are of one split and their speakers play the same side of one script.
    """
    rows = plan.index()
    split = np.array([SPLITS.index(clip.split) for clip in rows] * 2)
    script = np.array([clip.script for clip in rows] * 2)
    speaker_side = np.array([c.sides[0] for c in rows] + [c.sides[1] for c in rows])
    item = np.stack([split, script, speaker_side], axis=1)
    return (item[:, None] == item[None]).all(axis=2).astype(np.uint8)


def _check(pairs: int, frames: int, seed: int, splits: Mapping[str, float]) -> None:
    unknown = set(splits) - set(SPLITS)
    if unknown or sum(splits.values()) <= 0 or min(splits.values()) < 0:
        raise InputError(
            f"shares of the splits are impossible: {dict(splits)}",
            where="splits",
            fix="give shares of train, val and test that add up to more than 0",
        )
    used = sum(share > 0 for share in splits.values())
    if pairs < used:
        raise InputError(
            f"{pairs} pairs cannot fill {used} splits", where="--pairs", fix=f"give at least {used}"
        )
    if frames < 1:
        raise InputError(f"a clip of {frames} frames", where="--frames", fix="give 1 or more")
    if seed < 0:
        raise InputError(f"the seed {seed} is negative", where="--seed", fix="give 0 or more")


def _counts(pairs: int, splits: Mapping[str, float]) -> dict[str, int]:
    """Pairs of each split: at least one where its share is above 0, `pairs` in all."""
    shares = {split: splits.get(split, 0.0) for split in SPLITS}
    total = sum(shares.values())
    exact = {split: pairs * share / total for split, share in shares.items()}
    counts = {split: max(int(value), int(value > 0)) for split, value in exact.items()}
    while sum(counts.values()) != pairs:
        step = 1 if sum(counts.values()) < pairs else -1
        movable = [s for s in SPLITS if counts[s] + step > 0 and shares[s] > 0]
        furthest = max(movable, key=lambda s: step * (exact[s] - counts[s]))
        counts[furthest] += step
    return counts


def _divide(count: int, size: int) -> list[int]:
    """`count` as parts of `size`, the last one smaller if it must be."""
    return [min(size, count - start) for start in range(0, count, size)]


def _add_scripts(
    scripts: list[Script], clips: int, wanted: int, frames: int, rng: np.random.Generator
) -> list[int]:
    """Write the scripts of a split, each other than all before it; returns their numbers."""
    numbers = []
    for _ in range(max(wanted, min(clips, CLIPS_PER_SESSION))):
        for _ in range(DISTINCT_TRIES):
            script = write_script(rng, frames)
            if not any(same_acts(script, other) for other in scripts):
                break
        numbers.append(len(scripts))
        scripts.append(script)
    return numbers


def _sessions(scripts: list[int], clips: int, rng: np.random.Generator) -> list[list[int]]:
    """The scripts each session plays, clip by clip; no script twice in a session.

    Sessions are filled with the scripts that have most clips left, which spaces the clips of a
    script evenly; the shuffle afterwards makes the place in the list say nothing.
    """
    remaining = _copies(scripts, clips, rng)
    sizes = _divide(clips, CLIPS_PER_SESSION)
    sessions = [_choose_scripts(remaining, size, rng) for size in sizes]
    return [sessions[i] for i in rng.permutation(len(sessions))]


def _copies(scripts: list[int], clips: int, rng: np.random.Generator) -> dict[int, int]:
    """How many clips play each script: as equal as possible."""
    order = rng.permutation(scripts).tolist()
    return {s: clips // len(order) + (i < clips % len(order)) for i, s in enumerate(order)}


def _choose_scripts(remaining: dict[int, int], size: int, rng: np.random.Generator) -> list[int]:
    """Different scripts for the clips of one session, those with most clips left first."""
    tie = {script: rng.random() for script in remaining}
    ranked = sorted(remaining, key=lambda s: (-remaining[s], tie[s]))[:size]
    for script in ranked:
        remaining[script] -= 1
    return [ranked[i] for i in rng.permutation(len(ranked))]


def _session_names(
    rng: np.random.Generator, pairs: int
) -> dict[str, list[tuple[str, tuple[str, str]]]]:
    """Session names and roles of each site, in random order: a number says nothing."""
    noxi = []
    for number in range(1, pairs + 1):
        city, day = CITIES[int(rng.integers(len(CITIES)))]
        noxi.append((f"{number:03d}_{day}_{city}", NOXI_ROLES))
    recola = [(f"group-{n}", RECOLA_ROLES[(n - 1) % 3]) for n in range(1, pairs + 1)]
    rng.shuffle(noxi)
    # Groups stay few and small as published: the first ones are used, in random order.
    head = recola[: max(3, round(RECOLA_SHARE * pairs / CLIPS_PER_SESSION) + 3)]
    rng.shuffle(head)
    return {"NoXI": noxi, "RECOLA": head + recola[len(head) :]}
