"""Files of a run: checkpoints, the best model exported, what is reported again after a resume.

output/name/
    identity               names the run to the tracker, whatever it is called
    config.yaml            resolved settings; the same command must bring the same ones
    checkpoints/step-*/    see reactdist/checkpoints/folder.py
    best/                  exported model of the best evaluation: model.safetensors, config.yaml
    best-predictions/      its ten samples an item and their per-item scores, as Parquet
    log/rank-0.log         one quiet log a rank; live.json is the line a terminal shows
    stop-requested, outcome.json, out-of-memory-*    between the driver and a Ray Train group
    spool/                 tracker points not sent yet
    finished.json          written last: final metrics, best step
"""

from __future__ import annotations

import json
import logging
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from reactdist.checkpoints.export import CONFIG, export_model, load_config
from reactdist.checkpoints.folder import (
    Checkpoint,
    find_checkpoints,
    latest_valid,
    write_checkpoint,
)
from reactdist.checkpoints.keep import is_protected, to_remove
from reactdist.checkpoints.storage import storage_errors
from reactdist.config import Settings, flatten, resolved, to_yaml
from reactdist.errors import InputError, StorageError
from reactdist.train.loop import Evaluation, Progress
from reactdist.train.settings import TrainSettings

log = logging.getLogger("reactdist.train")

# Settings that may differ between the two halves of a resumed run: they change where it computes
# or what it is called by, not what it computes; what a damaged clip does may be decided late.
_FREE = (
    "output", "workers.", "data.workers", "data.shards", "data.damaged", "data.max_skipped",
    "experiment", "profile",
)  # fmt: skip


class RunFolder:
    """Writes and finds the files of one run; only rank 0 writes."""

    def __init__(
        self,
        settings: TrainSettings,
        *,
        rank: int,
        facts: Mapping[str, Any],
        evidence: Callable[[], Callable[[Path], None]],
    ) -> None:
        """`evidence` gives what writes predictions and scores of the last evaluation to a folder,
        then or later."""
        self.evidence = evidence
        self.settings = settings
        self.root = settings.folder
        self.checkpoints = self.root / "checkpoints"
        self.rank = rank
        self.facts = dict(facts)
        self.evaluations: dict[int, Evaluation] = {}
        self.unsaved_step: int | None = None
        self.unwritten_best: Callable[[], None] | None = None

    def resume(self) -> Checkpoint | None:
        """The newest whole checkpoint; damaged ones are named in the log and passed over."""
        checkpoint = latest_valid(self.checkpoints, warn=log.warning)
        if checkpoint is not None:
            for entry in checkpoint.state["evaluations"]:
                self.evaluations[entry["step"]] = Evaluation(**entry)
            if not self.rank:
                self._owe_best()
        return checkpoint

    def _owe_best(self) -> None:
        """Export again what an earlier attempt could not before it ended."""
        best = [evaluation for evaluation in self.evaluations.values() if evaluation.is_best]
        folder = self.root / "best"
        exported = load_config(folder).get("step") if (folder / CONFIG).exists() else None
        if not best or best[-1].step == exported:
            return
        kept = [c for c in find_checkpoints(self.checkpoints) if c.step == best[-1].step]
        if not kept:
            log.warning("the best model, of step %d, is not on disk any more", best[-1].step)
            return
        log.warning("the best model, of step %d, is exported without predictions", best[-1].step)
        weights = kept[0].tensors("ema") or kept[0].tensors("model")
        self.unwritten_best = lambda: self._write_best(weights, _remove, best[-1])
        self._try_best()

    def save(
        self,
        progress: Progress,
        weights: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        average: Mapping[str, Tensor],
    ) -> bool:
        """Write a checkpoint and drop those no longer kept; a failed write is tried again later.

        Whether it is written, as far as this rank knows: only rank 0 writes.
        """
        if self.rank:
            return True
        tensors = {"model": weights, "optimizer": optimizer}
        if average:
            tensors["ema"] = average
        state = {
            "epoch": progress.epoch,
            "items_consumed": progress.step * self.settings.batch_size,
            "scores": {str(step): score for step, score in progress.scores.items()},
            "skipped": {str(item): times for item, times in progress.skipped.items()},
            "evaluations": [
                vars(e) | {"metrics": dict(e.metrics)} for e in self.evaluations.values()
            ],
            **self.facts,
        }
        try:
            write_checkpoint(
                self.checkpoints,
                progress.step,
                tensors=tensors,
                state=state,
                config_yaml=to_yaml(self.settings),
            )
        except StorageError as error:
            self.unsaved_step = progress.step
            log.warning("%s; training goes on and the next save tries again", error.line())
            return False
        self.unsaved_step = None
        self._remove_old(progress)
        return True

    def evaluated(self, weights: Mapping[str, Tensor], evaluation: Evaluation) -> None:
        """Remember an evaluation; export its model if it is the best so far, or try again to."""
        self.evaluations[evaluation.step] = evaluation
        if self.rank:
            return
        if evaluation.is_best:
            # Kept in memory until it is written: a later evaluation may find the space again.
            write = self.evidence()
            self.unwritten_best = lambda: self._write_best(weights, write, evaluation)
        self._try_best()

    def _try_best(self) -> None:
        if self.unwritten_best is None:
            return
        try:
            self.unwritten_best()
        except StorageError as error:
            log.warning("%s; training goes on and the next evaluation tries again", error.line())
        else:
            self.unwritten_best = None

    def _write_best(
        self,
        weights: Mapping[str, Tensor],
        write_evidence: Callable[[Path], None],
        evaluation: Evaluation,
    ) -> None:
        with storage_errors("best predictions", self.root):
            write_evidence(self.root / "best-predictions")
        # Last: an exported model means that its predictions are there.
        export_model(
            self.root / "best",
            weights,
            self.settings.model,
            step=evaluation.step,
            epoch=evaluation.epoch,
            run=self.settings.name,
            **self.facts,
        )

    def finish(self, progress: Progress) -> None:
        """Say that the run is whole.

        Raises:
            StorageError: the last checkpoint, the best model or this could not be written.
        """
        if self.rank:
            return
        if self.unsaved_step is not None:
            raise StorageError(
                f"the checkpoint of step {self.unsaved_step} could not be written",
                where=self.checkpoints,
                fix="free space and run the same command: it resumes from the last one written",
            )
        if self.unwritten_best is not None:
            self.unwritten_best()
        last = self.evaluations[max(self.evaluations)]
        document = {
            "step": progress.step,
            "epoch": last.epoch,
            "scores": progress.scores,
            "metrics": dict(last.metrics),
        }
        part = self.root / ".finished.json.part"
        with storage_errors("the end of the run", self.root):
            part.write_text(json.dumps(document, indent=1))
            part.rename(self.root / "finished.json")

    def _remove_old(self, progress: Progress) -> None:
        on_disk = {c.step: c for c in find_checkpoints(self.checkpoints)}
        # A promotion marks the checkpoint it came from (reactdist.promote).
        promoted = [s for s, c in on_disk.items() if is_protected(c.path)]
        gone = to_remove(
            {step: progress.scores.get(step) for step in on_disk},
            keep_best=self.settings.checkpoint.keep_best,
            protected=promoted,
        )
        for step in gone:
            shutil.rmtree(on_disk[step].path, ignore_errors=True)


def _remove(folder: Path) -> None:
    """Predictions of an earlier model are not this one's."""
    shutil.rmtree(folder, ignore_errors=True)


def prepare_folder(settings: TrainSettings) -> None:
    """Make the run's folder, or accept the one of an earlier attempt with the same settings.

    Raises:
        InputError: the folder holds a run with other settings (the differences are named), or
            cannot be written.
    """
    root = settings.folder
    config = root / "config.yaml"
    try:
        root.mkdir(parents=True, exist_ok=True)
        if config.exists():
            refuse_other_settings(settings, config, free=_FREE)
        probe_write(root)
        config.write_text(to_yaml(settings))
        identity_of(root)
    except OSError as error:
        raise InputError(
            f"cannot write the run's folder ({error.strerror})",
            where=root,
            fix="free space, or set output to a folder you may write",
        ) from None


def probe_write(root: Path) -> None:
    """Write a file and take it away again; a folder that holds nothing goes with it on failure.

    Raises:
        OSError: the storage is full or read-only.
    """
    probe = root / ".write-test"
    try:
        probe.write_bytes(b"0" * 65536)
    except OSError:
        probe.unlink(missing_ok=True)
        if not any(root.iterdir()):
            root.rmdir()
        raise
    probe.unlink()


def identity_of(root: Path) -> str:
    """Identity of what is in a folder: kept over a resume, new when the folder is made anew."""
    file = root / "identity"
    if not file.exists():
        file.write_text(uuid.uuid4().hex)
    return file.read_text()


def is_finished(folder: Path) -> bool:
    """Whether the run in `folder` came to its end."""
    return (folder / "finished.json").exists()


def refuse_other_settings(settings: Settings, stored: Path, free: tuple[str, ...]) -> None:
    """Compare settings with those an earlier attempt stored; keys starting with `free` may differ.

    Raises:
        InputError: naming the differences.
    """
    mine, theirs = flatten(resolved(settings)), flatten(yaml.safe_load(stored.read_text()) or {})
    different = [
        f"{key}: {theirs.get(key)!r} -> {mine.get(key)!r}"
        for key in sorted(mine.keys() | theirs.keys())
        if mine.get(key) != theirs.get(key) and not key.startswith(free)
    ]
    if different:
        raise InputError(
            f"one of this name has other settings ({'; '.join(different[:4])})",
            where=stored,
            fix="use another name, or the same settings to resume it",
        )
