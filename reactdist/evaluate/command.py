"""`reactdist evaluate`: predict, score beside the baselines, record, report."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from reactdist.checkpoints.export import trained_on
from reactdist.data.shards import Shards
from reactdist.errors import GateNotMet, InputError
from reactdist.evaluate.blocks import BLOCK_ITEMS, Runner, run_here
from reactdist.evaluate.checks import checks
from reactdist.evaluate.page import page, read_page_facts
from reactdist.evaluate.report import write_report
from reactdist.evaluate.run import (
    MODEL,
    NOT_COMPUTED,
    Evaluated,
    evaluate_model,
    slug,
    unfinished,
)
from reactdist.evaluate.study import read_study
from reactdist.terminal import console, passes, short, table

if TYPE_CHECKING:
    from reactdist.tracking import Run
    from reactdist.tracking.registry import Version

SHOWN = ("FRCorr", "FRDist", "FRDiv", "FRVar", "FRDvs", "FRSyn", "ACC")
RESULT = "evaluation.json"


@dataclass(frozen=True)
class Request:
    """What a user asked to be evaluated."""

    model: str
    shards: str | None
    """None: those the model was trained on."""
    split: str
    frames: int | None
    items: int | None
    samples: int
    seed: int
    control: bool
    out: Path | None
    study: Path | None
    check: bool
    yes_i_know: bool
    block_items: int = BLOCK_ITEMS

    @property
    def folder(self) -> Path:
        """Where predictions, scores and report go."""
        return self.out or Path("evaluations") / f"{slug(self.model)}-{self.split}"


def run(request: Request, tracking: str | None, runner: Runner = run_here) -> None:
    """Evaluate, print the table, store predictions and scores, log everything to MLflow.

    runner: who predicts and scores the blocks of items.
    """
    from reactdist.tracking import prepare, tracking_uri

    screen = console()
    if request.shards is not None:
        Shards.open(request.shards)  # refused before a model is fetched
    uri = tracking_uri(tracking)
    early = request.split == "test" and not is_promoted(uri, request.model)
    if early and not request.yes_i_know:
        raise InputError(
            "the test split is for promoted models",
            where=request.model,
            fix="promote it first, or add --yes-i-know (it is recorded)",
        )
    prepare(uri)
    folder = model_folder(request.model, tracking)
    request = replace(request, shards=request.shards or trained_on(folder))
    shards = Shards.open(str(request.shards))
    evaluated = _evaluate(request, folder, shards, runner)
    screen.print(score_table(evaluated))
    screen.print(intervals_line(evaluated), markup=False)
    screen.print(f"FRRea: {NOT_COMPUTED}")
    out = request.folder
    write(out, evaluated, request, folder, shards)
    passed = checks(evaluated) if request.check else []
    report = write_report(
        out / "report.html",
        page(
            f"{request.model} on {request.split}",
            evaluated,
            shards,
            facts=read_page_facts(folder, shards, request.model),
            checks=passed,
            study=read_study(request.study) if request.study else None,
        ),
    )
    record(uri, request, out, evaluated, shards, folder=folder, early=early)
    shutil.rmtree(unfinished(out), ignore_errors=True)
    screen.print(f"predictions and scores: {out}")
    screen.print(f"report: {report}")
    for check in passed:
        mark = "[green]pass[/]" if check.passed else "[red]FAIL[/]"
        screen.print(f"{mark} {check.name}: {check.detail}")
    failed = [check for check in passed if not check.passed]
    if failed:
        raise GateNotMet(
            f"{len(failed)} of {len(passed)} checks failed, first: {failed[0].name}",
            where=request.model,
            fix=f"see {report}",
        )


def model_folder(model: str, tracking: str | None) -> Path:
    """The exported folder behind a folder's path, a run id or a `models:/` reference."""
    from reactdist.tracking import download_model, prepare, tracking_uri

    if Path(model).is_dir():
        return Path(model)
    uri = tracking_uri(tracking)
    prepare(uri)
    return download_model(uri, model)


def import_published(file: Path, shards: str, window_size: int) -> Path:
    """An original `.pth` of the challenge as an exported folder beside it.

    Raises:
        InputError: not such a file, or weights of another architecture (the tensor is named).
    """
    from reactdist.checkpoints.export import export_model
    from reactdist.models.published import read_published
    from reactdist.models.registry import config_values

    opened = Shards.open(shards)
    model = read_published(file, window_size=window_size, image_size=opened.image_size)
    return export_model(
        file.with_suffix(".exported"),
        model.state_dict(),
        {"name": "transvae", **config_values(model.cfg)},
        run=file.name,
        mean_face=[float(v) for v in opened.mean_face],
    )


def score_table(evaluated: Evaluated) -> Table:
    """Predictors x metrics."""
    view = table(
        f"{evaluated.split}: {len(evaluated.predictions.items)} items, "
        f"{evaluated.num_samples} samples, {evaluated.frames} frames"
    )
    view.add_column("predictor")
    for metric in SHOWN:
        view.add_column(metric, justify="right")
    for name, scores in evaluated.scores.items():
        cells = (short(scores.metrics[metric]) for metric in SHOWN)
        view.add_row(name, *cells, style="bold" if name == MODEL else None)
    return view


def intervals_line(evaluated: Evaluated) -> str:
    """The model's 95% intervals, over sessions."""
    shown = (
        f"{metric} [{short(interval.low)}, {short(interval.high)}]"
        for metric, interval in evaluated.scores[MODEL].intervals.items()
        if metric in ("FRCorr", "FRDist", "FRSyn", "ACC")
    )
    return f"model, 95% intervals over sessions: {', '.join(shown)}"


def write(
    out: Path, evaluated: Evaluated, request: Request, folder: Path, shards: Shards
) -> dict[str, Any]:
    """Per-item tables and evaluation.json beside the predictions; what evaluation.json says."""
    for name, scores in evaluated.scores.items():
        scores.table.to_parquet(out / f"items-{slug(name)}.parquet", index=False)
    document = {
        "model": request.model,
        "exported": str(folder),
        "shards": request.shards,
        "data_fingerprint": shards.fingerprint,
        "split": evaluated.split,
        "frames": evaluated.frames,
        "num_samples": evaluated.num_samples,
        "seed": request.seed,
        "items": [int(i) for i in evaluated.predictions.items],
        "FRRea": NOT_COMPUTED,
        "scores": {
            name: {
                "metrics": scores.metrics,
                "intervals": {k: asdict(v) for k, v in scores.intervals.items()},
            }
            for name, scores in evaluated.scores.items()
        },
    }
    (out / RESULT).write_text(json.dumps(document, indent=1))
    return document


def is_promoted(uri: str, model: str) -> bool:
    """Whether a model is a version that an alias was moved to, not just a registered one."""
    from reactdist.tracking import prepare
    from reactdist.tracking.garbage import PROMOTED_TAG
    from reactdist.tracking.registry import resolve_version

    if not model.startswith("models:/"):
        return False
    prepare(uri)
    return PROMOTED_TAG in resolve_version(uri, model).tags


def record(
    uri: str,
    request: Request,
    out: Path,
    evaluated: Evaluated,
    shards: Shards,
    *,
    folder: Path,
    early: bool,
) -> str:
    """Log an evaluation run; attach the numbers to the model version when it is registered.

    `early`: the test split is used before promotion. The run says of which weights, by which a
    later promotion finds it.
    """
    from reactdist.tracking import prepare
    from reactdist.tracking.registry import (
        EARLY_TEST_TAG,
        resolve_version,
        set_version_tags,
        weights_digest,
    )

    prepare(uri)
    version = resolve_version(uri, request.model) if request.model.startswith("models:/") else None
    run = open_evaluation_run(uri, request, version, shards)
    if early:
        run.set_tags({EARLY_TEST_TAG: weights_digest(folder)})
    metrics = evaluated.scores[MODEL].metrics
    run.log_metrics({f"{evaluated.split}.{k}": v for k, v in metrics.items()}, 0)
    for name, scores in evaluated.scores.items():
        if name != MODEL:
            shown = {f"{slug(name)}.{k}": scores.metrics[k] for k in SHOWN}
            run.log_metrics(shown, 0)
    run.log_folder(out, evaluated.split)
    run.finish("FINISHED")
    if version is not None:
        numbers: dict[str, object] = {f"{evaluated.split}.{k}": metrics[k] for k in SHOWN}
        numbers[f"{evaluated.split}.run_id"] = run.run_id
        set_version_tags(uri, version.name, version.version, numbers)
    (out / "run_id").write_text(run.run_id)
    return run.run_id


def open_evaluation_run(uri: str, request: Request, version: Version | None, shards: Shards) -> Run:
    """The MLflow run of an evaluation: the same request is the same run."""
    from reactdist.tracking import open_run

    subject = version.uri if version else request.model
    asked = {k: v for k, v in asdict(request).items() if k != "block_items"}
    identity = json.dumps([subject, shards.fingerprint, *map(str, asked.values())])
    return open_run(
        uri,
        "reactdist-evaluations",
        f"{slug(subject)}-{request.split}",
        key=hashlib.sha256(identity.encode()).hexdigest(),
        params={k: v for k, v in asked.items() if k not in ("out", "yes_i_know")},
        tags={
            "reactdist.kind": "evaluation",
            "reactdist.model": subject,
            "reactdist.data_fingerprint": shards.fingerprint,
        },
    )


def _evaluate(request: Request, folder: Path, shards: Shards, runner: Runner) -> Evaluated:
    # A single process stays quiet where nobody looks; a job on a cluster has a log.
    with passes(lines=runner is not run_here) as tick:
        return evaluate_model(
            folder,
            shards,
            request.split,
            request.folder,
            frames=request.frames,
            items=request.items,
            num_samples=request.samples,
            seed=request.seed,
            control=request.control,
            block_items=request.block_items,
            runner=runner,
            tick=tick,
        )
