"""What a trial takes, whether the cluster can ever give it, and how many fit at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reactdist.errors import InputError
from reactdist.tune.settings import StudySettings

Resources = Mapping[str, float]


@dataclass(frozen=True)
class Needs:
    """Resources of one trial: `count` workers of `cpus` and `gpu`, each on one node."""

    count: int
    cpus: float
    gpus: float
    """GPUs a worker reserves."""
    group: bool
    """A Ray Train group beside the trial's own process, which then needs next to nothing."""

    @property
    def total_cores(self) -> float:
        """Cores of the whole trial."""
        return self.count * self.cpus

    @property
    def total_gpus(self) -> float:
        """GPUs of the whole trial."""
        return self.count * self.gpus

    def text(self) -> str:
        """For people: what a trial needs."""
        each = f"{self.cpus:g} CPU and {self.gpus:g} GPU on one node"
        return each if self.count == 1 else f"{self.count} workers of {each}"


def needs_of(study: StudySettings, *, has_gpus: bool) -> Needs:
    """What a trial of the study takes on a cluster with or without GPUs."""
    workers = study.base.workers
    if not is_group(study):
        return Needs(1, workers.cpus, study.trial.gpus, group=False)
    gpu = has_gpus if workers.gpu == "auto" else workers.gpu
    return Needs(workers.count, workers.cpus, float(gpu), group=True)


def is_group(study: StudySettings) -> bool:
    """Whether trials are Ray Train groups."""
    return study.base.workers.count > 1 or study.base.workers.ray


def trials_at_a_time(needs: Needs, nodes: Sequence[Resources], *, where: str) -> int:
    """`places_on`, at least one.

    Raises:
        InputError: not a single one, ever; says what it needs and what there is.
    """
    places = places_on(needs, nodes)
    if not places:
        exists = "; ".join(f"{n.get('CPU', 0):g} CPU, {n.get('GPU', 0):g} GPU" for n in nodes)
        raise InputError(
            f"a trial needs {needs.text()}; the cluster has {exists}",
            where=where,
            fix="lower base.workers.count, base.workers.cpus or trial.gpus, or add nodes",
        )
    return places


def places_on(needs: Needs, nodes: Sequence[Resources]) -> int:
    """How many trials the nodes hold at once; the workers of a group may be on several."""
    return sum(_workers_on(needs, node) for node in nodes) // needs.count


def _workers_on(needs: Needs, node: Resources) -> int:
    fits = [math.inf]
    for name, each in (("CPU", needs.cpus), ("GPU", needs.gpus)):
        if each:
            # Fractions of a core or a card: 1 / 0.1 must be 10.
            fits.append(math.floor(node.get(name, 0) / each + 1e-9))
    return int(min(fits))
