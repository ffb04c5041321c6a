"""What a study would take, from a timed step: for `reactdist tune --dry-run`."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from reactdist.tune.places import Needs, needs_of, places_on
from reactdist.tune.settings import StudySettings

_TIMED_STEPS = 3


@dataclass(frozen=True)
class Cost:
    """An estimate; nobody is assumed to be stopped early."""

    trials: int
    steps: int
    """Optimizer steps of a trial that runs to its end."""
    step_s: float
    """Seconds a step of the base settings in one process with one worker's cores, here."""
    needs: Needs
    concurrent: int
    """Trials at a time on this machine; 0 where it cannot hold one."""

    def text(self) -> str:
        """The estimate in a few lines."""
        trial_s = self.steps * self.step_s / self.needs.count
        hours = self.trials * trial_s / 3600
        used = f"{hours * self.needs.total_cores:.3g} core-hours"
        if self.needs.gpus:
            used = f"{hours * self.needs.total_gpus:.3g} GPU-hours, {used}"
        lines = [
            f"{self.trials} trials of {self.steps} steps, {self.step_s:.3g} s a step here, alone",
            f"a trial takes {self.needs.text()}; {self.concurrent} at a time on this machine",
            f"at most {used}, without validation; early stopping takes less",
        ]
        if self.concurrent:
            minutes = -(-self.trials // self.concurrent) * trial_s / 60
            lines.append(f"at most {minutes:.1f} min on this machine")
        return "\n".join(lines)


def estimate(study: StudySettings) -> Cost:
    """Check the study and time a few steps of its base settings.

    Raises:
        InputError: the space or the data do not fit (what `reactdist tune` would refuse).
    """
    import torch

    from reactdist.data.clips import train_batches
    from reactdist.models.registry import build_model
    from reactdist.train.engine import TorchEngine
    from reactdist.train.preflight import check_run
    from reactdist.train.schedule import steps_until_epoch
    from reactdist.train.worker import pick_device
    from reactdist.tune.space import check_space, num_trials

    check_space(study)
    base = study.base.absolute()
    shards = check_run(base)
    torch.set_num_threads(max(1, int(base.workers.cpus)))
    values = dict(base.model)
    model = build_model(values.pop("name"), values)
    engine = TorchEngine(model, base.loss, base.optimizer, pick_device(base.workers.gpu))
    batches = train_batches(
        shards,
        batch_size=base.batch_size,
        crop_frames=base.data.crop_frames,
        seed=base.seed,
    )
    times = []
    for _ in range(1 + _TIMED_STEPS):
        started = time.perf_counter()
        batch = {k: v.to(engine.device) for k, v in next(batches).items()}
        engine.backward(engine.losses(batch, None)["total"])
        engine.step(base.optimizer.lr)
        times.append(time.perf_counter() - started)
    trials = num_trials(study)
    cards = torch.cuda.device_count()
    needs = needs_of(study, has_gpus=bool(cards))
    places = places_on(needs, [{"CPU": os.cpu_count() or 1, "GPU": cards}])
    return Cost(
        trials=trials,
        steps=steps_until_epoch(base.epochs, len(shards.items("train")), base.batch_size),
        step_s=min(times[1:]),
        needs=needs,
        concurrent=min(places, study.trial.max_concurrent or places, trials),
    )
