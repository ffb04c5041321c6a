"""A training run in one process: learns, resumes to the bit, records once, stops when asked."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from reactdist.data.order import epoch_order
from reactdist.data.shards import Shards
from tests.data.damage import damage_audio
from tests.train.runs import RUN, finish, points, same, start, weights, write_config


@pytest.fixture(scope="module")
def undisturbed(small_shards: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run nobody disturbed."""
    from reactdist.tracking import prepare

    folder = tmp_path_factory.mktemp("undisturbed")
    tracker = f"sqlite:///{folder}/mlflow.db"
    prepare(tracker)
    out = finish(start(write_config(folder, small_shards), tracker))
    assert "deepspeed.DeepSpeedEngine, ZeRO stage 0, 1 worker(s)" in out
    return folder


def test_a_model_and_a_checkpoint_know_their_shards(undisturbed: Path, tmp_path: Path) -> None:
    """The last checkpoint scores what its run said of it; no --shards is given."""
    run = undisturbed / "runs" / "small"
    checkpoint = max((run / "checkpoints").glob("step-*"))
    said = json.loads((run / "finished.json").read_text())["metrics"]["FRCorr"]
    for model, name in ((checkpoint, "checkpoint"), (run / "best", "best")):
        command = [
            *RUN[:-1], "evaluate", str(model), "--items", "2", "--frames", "24", "--samples", "2",
            "--tracking", f"sqlite:///{tmp_path}/mlflow.db", "--out", str(tmp_path / name),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    scores = json.loads((tmp_path / "checkpoint" / "evaluation.json").read_text())["scores"]
    assert scores["model"]["metrics"]["FRCorr"] == pytest.approx(said, rel=1e-6)


def test_a_run_leaves_what_it_promises(undisturbed: Path, small_shards: str) -> None:
    run = undisturbed / "runs" / "small"
    finished = json.loads((run / "finished.json").read_text())
    logged = points(f"sqlite:///{undisturbed}/mlflow.db", "tests", "small")
    steps = finished["step"]
    assert logged["loss.total"] == list(range(1, steps + 1))
    assert len(logged["val.FRCorr"]) == 2
    assert set(finished["metrics"]) >= {"FRCorr", "FRDist", "FRSyn", "ACC", "objective"}
    client = MlflowClient(f"sqlite:///{undisturbed}/mlflow.db")
    run_id = (run / "run_id").read_text()
    record = client.get_run(run_id)
    assert record.data.params["loss.kl_weight"] == "0.001"
    assert record.data.tags["reactdist.engine"] == "deepspeed.DeepSpeedEngine"
    assert record.data.tags["reactdist.zero_stage"] == "0"
    assert record.data.tags["git.commit"]
    assert record.info.status == "FINISHED"
    from reactdist.evaluate.predictions import read_predictions

    assert record.data.tags["reactdist.data_fingerprint"] == Shards.open(small_shards).fingerprint
    local = Path(client.download_artifacts(run_id, "predictions"))
    stored = read_predictions(local / "predictions.parquet")
    assert stored.emotion.shape == (2, 2, 24, 25)
    assert stored.coefficients.shape == (2, 2, 24, 58)
    assert {p.name for p in Path(client.download_artifacts(run_id, "exported")).iterdir()} >= {
        "model.safetensors",
        "config.yaml",
    }


def test_the_same_command_again_does_nothing(undisturbed: Path) -> None:
    run = undisturbed / "runs" / "small"
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*.safetensors")}
    tracker = f"sqlite:///{undisturbed}/mlflow.db"
    finish(start(undisturbed / "small.yaml", tracker))
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*.safetensors")} == before


def test_other_settings_under_the_same_name_are_refused(undisturbed: Path) -> None:
    tracker = f"sqlite:///{undisturbed}/mlflow.db"
    process = start(undisturbed / "small.yaml", tracker, "--set", "optimizer.lr=0.5")
    out = process.communicate(timeout=120)[0]
    assert process.returncode == 2
    assert "optimizer.lr: 0.001 -> 0.5" in out
    assert "Traceback" not in out


def wait_for_step(run: Path, process: subprocess.Popen[str], tracker_folder: Path) -> None:
    """Until the run has a checkpoint and has gone on from it."""
    deadline = time.monotonic() + 240
    while not list((run / "checkpoints").glob("step-*/manifest.json")):
        assert process.poll() is None, process.communicate()[0][-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.1)


@pytest.mark.slow
def test_kill_9_of_the_process_then_the_same_command(
    undisturbed: Path, small_shards: str, tmp_path: Path, tracker: str
) -> None:
    config = write_config(tmp_path, small_shards)
    run = tmp_path / "runs" / "small"
    process = start(config, tracker)
    wait_for_step(run, process, tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not (run / "finished.json").exists()
    finish(start(config, tracker))
    assert same(weights(run), weights(undisturbed / "runs" / "small"))
    logged = points(tracker, "tests", "small")
    steps = json.loads((run / "finished.json").read_text())["step"]
    assert logged["loss.total"] == list(range(1, steps + 1))
    assert len(logged["val.FRCorr"]) == len(set(logged["val.FRCorr"])) == 2


@pytest.mark.slow
def test_sigterm_checkpoints_and_says_resume_me(
    undisturbed: Path, small_shards: str, tmp_path: Path, tracker: str
) -> None:
    config = write_config(tmp_path, small_shards)
    run = tmp_path / "runs" / "small"
    process = start(config, tracker)
    wait_for_step(run, process, tmp_path)
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out = process.communicate(timeout=120)[0]
    if (run / "finished.json").exists():  # it was in its last step when asked
        assert process.returncode == 0
    else:
        assert process.returncode == 75, out[-2000:]
        assert "run the same command to resume" in out
        assert "Traceback" not in out
        assert time.monotonic() - asked < 60
        finish(start(config, tracker))
    assert same(weights(run), weights(undisturbed / "runs" / "small"))


def test_a_damaged_newest_checkpoint_is_passed_over(
    undisturbed: Path, small_shards: str, tmp_path: Path, tracker: str
) -> None:
    """The one before is used, so that the end is the same."""
    config = write_config(tmp_path, small_shards, checkpoint={"keep_best": 2})
    run = tmp_path / "runs" / "small"
    finish(start(config, tracker))
    (run / "finished.json").unlink()
    newest = max((run / "checkpoints").glob("step-*"))
    victim = newest / "model.safetensors"
    content = bytearray(victim.read_bytes())
    content[-5] ^= 1
    victim.write_bytes(content)
    out = finish(start(config, tracker))
    assert newest.name in out
    assert "the checkpoint before is used" in out
    assert same(weights(run), weights(undisturbed / "runs" / "small"))


def test_a_loss_that_is_not_finite_stops_with_its_name(
    small_shards: str, tmp_path: Path, tracker: str
) -> None:
    config = write_config(tmp_path, small_shards, optimizer={"lr": 1e30, "clip_norm": 0.0})
    process = start(config, tracker)
    out = process.communicate(timeout=300)[0]
    assert process.returncode == 1, out[-2000:]
    assert "loss not finite: " in out
    assert "Traceback" not in out


def test_a_damaged_clip_stops_the_run_or_is_skipped_and_counted(
    small_shards: str, tmp_path: Path, tracker: str
) -> None:
    """The same command goes on with `skip` from where `fail` stopped it."""
    shards = Path(shutil.copytree(small_shards, tmp_path / "shards"))
    items = len(Shards.open(shards).items("train"))
    # Met in the second half of the first epoch; the first batch is read by the dry run too.
    victim = int(epoch_order(items, 0, 0)[-1])
    key = damage_audio(shards, "train", victim)
    config = write_config(
        tmp_path, str(shards), epochs=2, validation={"every_epochs": 1, "num_samples": 2}
    )
    process = start(config, tracker)
    out = process.communicate(timeout=300)[0]
    assert process.returncode == 2, out[-2000:]
    assert f"({key}) is damaged" in out
    assert "Traceback" not in out
    out = finish(start(config, tracker, "--set", "data.damaged=skip", "--profile", "2:3"))
    assert f"training item {victim} is skipped and the next of its epoch is used: " in out
    run = tmp_path / "runs" / "small"
    newest = max((run / "checkpoints").glob("step-*"))
    assert json.loads((newest / "state.json").read_text())["skipped"] == {str(victim): 2}
    client = MlflowClient(tracker)
    record = client.get_run((run / "run_id").read_text())
    assert record.data.metrics["skipped_items"] == 2
    trace = Path(client.download_artifacts(record.info.run_id, "profile/steps-2-3.json.gz"))
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    assert any("Convolution" in event.get("name", "") for event in events)
