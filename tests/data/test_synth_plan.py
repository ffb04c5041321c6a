"""The plan of a generated release: names, people, scripts and who is whose neighbour."""

import re

import numpy as np
import pytest

from reactdist.data.synth.plan import Clip, Plan, appropriateness, make_plan
from reactdist.data.synth.script import acts, same_acts
from reactdist.errors import InputError
from reactdist.schema import PERSON_OF_ROLE, SPLITS


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(40, 300, seed=3)


def test_splits_hold_the_pairs_asked_for() -> None:
    for pairs in (3, 4, 7, 24, 40, 101):
        plan = make_plan(pairs, 50, seed=1)
        counts = [len(plan.of_split(split)) for split in SPLITS]
        assert sum(counts) == pairs
        assert min(counts) >= 1
        assert counts[0] == max(counts)
    only = make_plan(5, 50, seed=1, splits={"test": 1.0})
    assert [len(only.of_split(split)) for split in SPLITS] == [0, 0, 5]


def test_clips_are_named_like_the_published_ones(plan: Plan) -> None:
    keys = [clip.key(role) for clip in plan.clips for role in (0, 1)]
    assert len(set(keys)) == len(keys)
    sites = {clip.site for clip in plan.clips}
    assert sites == {"NoXI", "RECOLA"}
    for clip in plan.clips:
        assert [PERSON_OF_ROLE[role] for role in clip.roles] == ["P1", "P2"]
        assert clip.session.startswith("group-") == (clip.site == "RECOLA")


def test_people_and_sessions_are_disjoint_between_splits(plan: Plan) -> None:
    people: dict[int, str] = {}
    sessions: dict[str, tuple[str, tuple[int, int]]] = {}
    for clip in plan.clips:
        pair = (clip.people[0].number, clip.people[1].number)
        for number in pair:
            assert people.setdefault(number, clip.split) == clip.split
        assert sessions.setdefault(clip.session, (clip.split, pair)) == (clip.split, pair)
    several = sum(1 for s in sessions if sum(c.session == s for c in plan.clips) > 1)
    assert several >= len(sessions) // 2


def test_scripts_stay_in_one_split_and_differ(plan: Plan) -> None:
    splits: dict[int, str] = {}
    for clip in plan.clips:
        assert splits.setdefault(clip.script, clip.split) == clip.split
    for i, script in enumerate(plan.scripts):
        for other in plan.scripts[:i]:
            assert not same_acts(script, other)
    assert len({acts(script) for script in plan.scripts}) == len(plan.scripts)


def test_a_session_plays_different_scripts_and_a_script_several_sessions(plan: Plan) -> None:
    for session in {clip.session for clip in plan.clips}:
        played = [clip.script for clip in plan.clips if clip.session == session]
        assert len(set(played)) == len(played)
    for script in {clip.script for clip in plan.clips}:
        assert len({clip.session for clip in plan.clips if clip.script == script}) >= 2


def test_the_matrix_is_the_slow_definition(plan: Plan) -> None:
    rows = plan.index()
    items = [(clip, role) for role in (0, 1) for clip in rows]
    matrix = appropriateness(plan)
    assert matrix.dtype == np.uint8
    assert matrix.shape == (2 * len(rows), 2 * len(rows))
    for i, (clip, role) in enumerate(items):
        for j, (other, other_role) in enumerate(items):
            same = (clip.split, clip.script, clip.sides[role]) == (
                other.split, other.script, other.sides[other_role]
            )  # fmt: skip
            assert matrix[i, j] == same
    assert (matrix == matrix.T).all()
    assert (np.diag(matrix) == 1).all()
    assert (matrix.sum(axis=1) >= 2).all()


def test_neighbours_are_found_in_both_directions(plan: Plan) -> None:
    rows = len(plan.index())
    matrix = appropriateness(plan)
    across = matrix[:rows, rows:].sum() / matrix.sum()
    assert 0.1 < across < 0.5


def _told_by_name(clip: Clip, other: Clip, position: int, other_position: int) -> list[float]:
    """What two names and places in a list have in common; larger is more alike."""
    number, other_number = (int(re.findall(r"\d+", c.session)[0]) for c in (clip, other))
    return [
        float(clip.index == other.index),
        float(clip.site == other.site),
        float(clip.session[-5:] == other.session[-5:]),
        -abs(number - other_number),
        -abs(position - other_position),
    ]


def test_names_and_order_do_not_give_the_script_away() -> None:
    """Over many releases, pairs of clips of one script are as alike in name as other pairs."""
    effects = []
    for seed in range(120):
        clips = make_plan(24, 50, seed).of_split("train")
        alike, same = [], []
        for i, clip in enumerate(clips):
            for j, other in enumerate(clips[:i]):
                if clip.session != other.session:  # two clips of a session always differ
                    alike.append(_told_by_name(clip, other, i, j))
                    same.append(clip.script == other.script)
        values, chosen = np.array(alike), np.array(same)
        effects.append(values[chosen].mean(axis=0) - values[~chosen].mean(axis=0))
    table = np.array(effects)
    error = table.std(axis=0, ddof=1) / np.sqrt(len(table))
    assert (np.abs(table.mean(axis=0)) < 4 * error).all()


@pytest.mark.parametrize(
    ("pairs", "frames", "seed", "splits", "named"),
    [
        (2, 50, 0, {"train": 1, "val": 1, "test": 1}, "--pairs"),
        (9, 0, 0, {"train": 1}, "--frames"),
        (9, 50, -1, {"train": 1}, "--seed"),
        (9, 50, 0, {"trian": 1}, "splits"),
        (9, 50, 0, {"train": 0}, "splits"),
    ],
)
def test_impossible_arguments_are_named(
    pairs: int, frames: int, seed: int, splits: dict[str, float], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        make_plan(pairs, frames, seed, splits)
