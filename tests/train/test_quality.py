"""The comparison of models: real runs, a row each, nothing done twice, a page that stays true."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from reactdist.config import load
from reactdist.errors import DataError
from reactdist.train.quality import (
    OTHERS,
    QualityRow,
    QualitySettings,
    compare,
    digest,
    markdown,
    order,
    read_rows,
)

ROOT = Path(__file__).parent.parent.parent
SMALL: dict[str, Any] = {
    "data": {"pairs": 11, "frames": 60, "seed": 0, "image_size": 40},
    "score_frames": 54,
    "seeds": [0],
    "base": {
        "epochs": 1,
        "batch_size": 4,
        "data": {"crop_frames": 16},
        "validation": {"items": 2, "frames": 24, "num_samples": 2},
    },
    "models": {
        "offline": {"feature_dim": 16, "latent_dim": 16},
        "gru": {"name": "gru", "feature_dim": 16},
    },
}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "quality.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **changes}, sort_keys=False))
    return path


@pytest.mark.slow
def test_a_stopped_comparison_goes_on_where_it_was(tmp_path: Path) -> None:
    config, rows = write(tmp_path), tmp_path / "rows.jsonl"
    command = ["bench", "quality", str(config), "--out", str(tmp_path / "q"), "--rows", str(rows)]
    tables, stored = [], []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "reactdist.cli", *command],
            capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        tables.append(done.stdout)
        stored.append(rows.read_text())
        # As if it had been stopped before the last run had its row.
        rows.write_text("".join(line + "\n" for line in stored[0].splitlines()[:-1]))
    assert "| gru | 1 |" in tables[0]
    first, again = (
        [QualityRow(**json.loads(line)) for line in text.splitlines()] for text in stored
    )
    names = ["GT", "Random", "Mime", "MeanSeq", "MeanFr", "offline", "gru"]
    assert [row.name for row in first] == names
    assert [row.metrics for row in first] == [row.metrics for row in again]
    by_name = {row.name: row.metrics for row in first}
    assert by_name["GT"]["FRDist"] == pytest.approx(0, abs=1e-4)
    assert by_name["Random"]["FRDiv"] == pytest.approx(1 / 6, rel=0.05)
    assert by_name["gru"][OTHERS] != by_name["gru"]["FRCorr"]
    assert first[5].steps == first[6].steps == 3
    rows.write_text(rows.read_text().replace(first[0].data, "0" * 64))
    with pytest.raises(DataError, match="was scored on other data"):
        compare(load(QualitySettings, config), tmp_path / "q", rows)


def test_finished_rows_need_no_data_and_other_settings_are_other_rows(tmp_path: Path) -> None:
    settings = load(QualitySettings, write(tmp_path))
    rows = [
        QualityRow(name, seed, digest(settings, name, seed), "some data", {"FRCorr": 0.5})
        for name, seed in order(settings)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(vars(row)) + "\n" for row in rows))
    assert compare(settings, tmp_path / "none", file) == rows
    assert not (tmp_path / "none").exists()
    other = load(QualitySettings, write(tmp_path, score_frames=55))
    wanted = {((name, seed), digest(other, name, seed)) for name, seed in order(other)}
    assert read_rows(file, wanted) == []


def test_the_table_shows_mean_and_spread() -> None:
    def row(name: str, seed: int | None, value: float | None) -> QualityRow:
        return QualityRow(name, seed, "", "", {"FRCorr": value}, 10, 1234)

    table = markdown([row("GT", None, 2.0), row("a", 0, 1.0), row("a", 1, 2.0), row("b", 0, None)])
    lines = table.splitlines()
    assert lines[2].startswith("| GT | - | 2.000 | - |")
    assert lines[3].startswith("| a | 2 | 1.500 (1.000 to 2.000) | - |")
    assert lines[3].endswith("| 10 | 1,234 |")
    assert lines[4].startswith("| b | 1 | - |")


def test_seeds_are_the_outer_loop() -> None:
    settings = load(QualitySettings, ROOT / "configs" / "quality.yaml")
    runs = [key for key in order(settings) if key[1] is not None]
    assert [seed for _, seed in runs] == sorted(seed for _, seed in runs)
    assert len(set(runs)) == len(settings.models) * len(settings.seeds)


def test_the_page_shows_the_stored_rows() -> None:
    settings = load(QualitySettings, ROOT / "configs" / "quality.yaml")
    wanted = {((name, seed), digest(settings, name, seed)) for name, seed in order(settings)}
    folder = ROOT / "reactdist" / "train"
    rows = read_rows(folder / "quality.jsonl", wanted)
    assert {row.name for row in rows} >= set(settings.models)
    assert markdown(rows) in (folder / "QUALITY.md").read_text()
