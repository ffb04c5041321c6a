"""What a person sees of a run: the live line, also of a rank 0 in another process."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from reactdist.train.live import LiveFile, following
from reactdist.train.loop import StepRecord
from reactdist.train.reporters import ConsoleReporter, TrackerReporter


def record(step: int, **changes: float) -> StepRecord:
    values = {
        "step": step,
        "total_steps": 40,
        "epoch": 1 + (step - 1) // 2,
        "losses": {"total": 1.25, "reconstruction": 1.0, "kl": 0.5, "diversity": 0.02},
        "lr": 1e-3,
        "seconds": 0.5,
        "data_seconds": 0.1,
        "clips": 4,
        "skipped": 0,
        **changes,
    }
    return StepRecord(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [80, 160])
def test_the_live_line_leaves_nothing_out(width: int) -> None:
    screen = ConsoleReporter("small")
    screen.step(record(7))
    screen.step(record(8))
    console = Console(width=width, file=io.StringIO())
    console.print(screen.bar.get_renderable())
    shown = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "small: epoch 4 step 8/40, 8 clips/s, data wait 20%, ETA " in shown
    assert "total 1.25 reconstruction 1 kl 0.5 diversity 0.02" in shown


def test_a_follower_gets_the_steps_and_whole_log_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps: list[StepRecord] = []
    monkeypatch.setattr(ConsoleReporter, "step", lambda self, record: steps.append(record))
    log = tmp_path / "rank-0.log"
    log.write_text("2026-01-01 00:00:00,000 INFO of an earlier attempt\n")
    LiveFile(tmp_path).step(record(1))
    with following(tmp_path, "small"), log.open("a") as file:
        file.write("2026-01-01 00:00:01,000 INFO small: begins\n2026-01-01 00:00:02,0")
        file.flush()
        LiveFile(tmp_path).step(record(5))
        deadline = time.monotonic() + 60
        while not steps and time.monotonic() < deadline:
            time.sleep(0.01)
        file.write("00 WARNING later\n")
    assert steps == [record(5)]
    assert capsys.readouterr().err == "small: begins\nlater\n"


def test_speed_in_the_record_is_of_all_steps_since_the_point_before() -> None:
    class Points:
        def __init__(self) -> None:
            self.logged: dict[int, dict[str, float]] = {}

        def log_metrics(self, metrics: dict[str, float], step: int) -> None:
            self.logged.setdefault(step, {}).update(metrics)

    points = Points()
    reporter = TrackerReporter(points, every=2)
    for step, seconds, waited in ((1, 1.0, 0.5), (2, 3.0, 0.5), (3, 0.5, 0.0), (4, 0.5, 0.0)):
        reporter.step(record(step, seconds=seconds, data_seconds=waited, skipped=step - 1))
    reporter.saved(4, 0.25)
    assert sorted(points.logged) == [2, 4]
    assert [points.logged[s]["clips_per_s"] for s in (2, 4)] == [8 / 4.0, 8 / 1.0]
    assert [points.logged[s]["data_wait_share"] for s in (2, 4)] == [0.25, 0.0]
    assert points.logged[2]["skipped_items"] == 1
    assert points.logged[4]["checkpoint_s"] == 0.25
