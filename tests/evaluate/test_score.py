"""`reactdist score` as people run it: their files, their mistakes."""

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner, Result

from reactdist.errors import InputError
from reactdist.evaluate.blocks import Block, Runner, Scoring, Work, run_here
from reactdist.evaluate.frame_files import read_frames
from reactdist.evaluate.predictions import write_predictions
from reactdist.evaluate.score import score_command
from reactdist.evaluate.score_files import score_files
from reactdist.metrics import score, score_items
from reactdist.metrics.frrea import frrea

app = typer.Typer()
app.command()(score_command)

FRAMES = 70


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "predictions": generator.random((6, 3, FRAMES, 25), np.float32),
        "listeners": generator.random((6, FRAMES, 25), np.float32),
        "speakers": generator.random((6, FRAMES, 25), np.float32),
        "neighbours": np.eye(6, dtype=bool) | (generator.random((6, 6)) < 0.4),
    }


@pytest.fixture
def files(arrays: dict[str, np.ndarray], tmp_path: Path) -> dict[str, Path]:
    paths = {name: tmp_path / f"{name}.npy" for name in arrays}
    for name, array in arrays.items():
        np.save(paths[name], array)
    return paths


def _run(files: dict[str, Path], *more: str) -> Result:
    words = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    return CliRunner().invoke(app, [*words, *more])


def _scores(files: dict[str, Path], *more: str) -> dict[str, float]:
    result = _run(files, "--json", *more)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def _error(files: dict[str, Path], *more: str) -> str:
    """The one line that `reactdist.cli` prints before it exits 2."""
    result = _run(files, *more)
    assert isinstance(result.exception, InputError), result.output
    assert result.exception.exit_code == 2
    assert "\n" not in result.exception.line()
    return result.exception.line()


def test_json_holds_what_the_library_says(arrays, files) -> None:
    expected = score(*arrays.values())
    printed = _scores(files)
    assert {name: printed[name] for name in expected} == expected
    assert printed["FRRea"] is None
    assert printed["FRRea_note"] == "not computed: needs Inception weights"


def test_reference_stands_beside(arrays, files) -> None:
    for name in ("predictions", "listeners", "speakers"):
        np.save(files[name], arrays[name][:2, ..., :60, :])
    np.save(files["neighbours"], arrays["neighbours"][:2, :2])
    printed = _scores(files, "--reference")
    for name, value in printed["reference"].items():
        assert printed[name] == pytest.approx(value, rel=1e-5), name
    table = _run(files, "--reference", "--metric", "FRVar").stdout
    assert "plain arithmetic" in table
    assert table.count(f"{printed['FRVar']:.6g}") == 2


def test_a_folder_of_one_npy_an_item_is_the_same(arrays, files, tmp_path) -> None:
    expected = _scores(files)
    for name in ("predictions", "listeners"):
        folder = tmp_path / name
        folder.mkdir()
        for number, clip in enumerate(arrays[name]):
            np.save(folder / f"item_{number + 7}.npy", clip)  # item_10 sorts after item_9
        files[name] = folder
    assert _scores(files) == expected


def test_our_parquet_is_the_same(arrays, files, tmp_path) -> None:
    expected = _scores(files)
    coefficients = np.zeros((6, 3, FRAMES, 58), np.float32)
    files["predictions"] = tmp_path / "p.parquet"
    write_predictions(files["predictions"], range(6), arrays["predictions"], coefficients)
    assert _scores(files) == expected
    write_predictions(files["predictions"], range(1, 7), arrays["predictions"], coefficients)
    assert "item 0 is missing" in _error(files)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types(arrays, files, dtype) -> None:
    expected = _scores(files)
    np.save(files["predictions"], arrays["predictions"].astype(dtype))
    assert _scores(files)["FRDist"] == pytest.approx(expected["FRDist"], rel=1e-3)


def test_one_frame_more_or_less_is_cut_and_said_once(arrays, files) -> None:
    longer = np.concatenate([arrays["predictions"], arrays["predictions"][:, :, -1:]], axis=2)
    expected = _scores(files)
    np.save(files["predictions"], longer)
    result = _run(files, "--json")
    assert json.loads(result.stdout) == expected
    assert result.stderr.count("scored on the first 70") == 1
    np.save(files["predictions"], arrays["predictions"])
    np.save(files["speakers"], np.pad(arrays["speakers"], ((0, 0), (0, 1), (0, 0))))
    assert json.loads(_run(files, "--json").stdout) == expected
    np.save(files["predictions"], arrays["predictions"][:, :, :-2])
    assert "more is another clip" in _error(files)


def test_binarized_action_units(arrays, files) -> None:
    binary = arrays["predictions"].copy()
    binary[..., :15] = binary[..., :15] >= 0.5
    expected = score(binary, *list(arrays.values())[1:])
    printed = _scores(files, "--binarize-au")
    assert {name: printed[name] for name in expected} == expected


def test_intervals_over_sessions(files, tmp_path) -> None:
    listed = tmp_path / "val.csv"
    clip = "NoXI/{}/Expert_video/{}"
    pairs = [(clip.format("A", 1),) * 2, (clip.format("A", 2),) * 2, (clip.format("B", 1),) * 2]
    rows = [f"{n},{speaker},{listener}" for n, (speaker, listener) in enumerate(pairs)]
    listed.write_text("\n".join([",speaker_path,listener_path", *rows]))
    from_list = _scores(files, "--ci", "--sessions", str(listed))
    labels = tmp_path / "sessions.txt"
    labels.write_text("\n".join("aabaab") + "\n")
    assert from_list == _scores(files, "--ci", "--sessions", str(labels))
    for name in ("FRCorr", "FRDist", "FRVar", "FRDvs"):
        interval = from_list["intervals"][name]
        assert interval["low"] < from_list[name] < interval["high"]
    labels.write_text("a\nb\n")
    assert "2 items, there are 6" in _error(files, "--ci", "--sessions", str(labels))
    assert "--sessions" in _error(files, "--ci")


def test_values_of_every_item_can_be_kept(files, tmp_path) -> None:
    printed = _scores(files, "--items-out", str(tmp_path / "items.parquet"))
    table = pd.read_parquet(tmp_path / "items.parquet")
    assert table["item"].tolist() == list(range(6))
    assert "its folder" in _error(files, "--items-out", str(tmp_path / "none" / "items.parquet"))
    assert table["FRCorr"].mean() == pytest.approx(printed["FRCorr"])


def test_scoring_by_blocks_is_the_same_and_goes_on_after_a_kill(arrays, files, tmp_path) -> None:
    paths, kept_in = list(files.values()), tmp_path / "kept"
    run: list[int] = []

    def killed_at(stop: int, work: Work, blocks: Sequence[Block]) -> Iterator[tuple[Block, Any]]:
        for block, result in run_here(work, blocks):
            if isinstance(work, Scoring):
                if block.number == stop:
                    raise KeyboardInterrupt
                run.append(block.number)
            yield block, result

    def table(stop: int = 9, **more: Any) -> pd.DataFrame:
        run.clear()
        runner = partial(killed_at, stop)
        return score_files(*paths, kept_in=kept_in, block_items=2, runner=runner, **more)

    expected = score_items(*arrays.values())
    with pytest.raises(KeyboardInterrupt):
        table(stop=1)
    pd.testing.assert_frame_equal(table(), expected, rtol=1e-9, atol=0)
    assert run == [1, 2]
    table()
    assert run == []
    binary = table(binarize_au=True, metrics=["FRVar", "FRDvs"])
    assert run == [0, 1, 2]
    expected = score_items(*arrays.values(), ["FRVar", "FRDvs"], binarize_au=True)
    pd.testing.assert_frame_equal(binary, expected, rtol=1e-9, atol=0)
    np.save(files["predictions"], arrays["predictions"] / 2)
    table()
    assert run == [0, 1, 2]


def test_a_cluster_takes_the_blocks_where_one_is_asked_for(files, tmp_path) -> None:
    asked = []

    def cluster(address: str | None, ray: bool) -> AbstractContextManager[Runner]:
        asked.append((address, ray))
        return nullcontext(run_here)

    words = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    out = tmp_path / "items.parquet"
    more = ["--json", "--address", "head:6379", "--items-out", str(out)]
    result = CliRunner().invoke(app, [*words, *more], obj=cluster)
    assert result.exit_code == 0, result.output
    assert asked == [("head:6379", False)]
    assert json.loads(result.stdout) == _scores(files)  # one block: not a bit differs
    assert out.exists()
    assert not list(tmp_path.glob("*.unfinished"))
    assert "are for this process" in _error(files, "--ray", "--threads", "2")


def test_realism_from_frames(files, tmp_path, monkeypatch) -> None:
    # Inception itself (tests/metrics/test_frrea.py) would take a minute of 2048 x 2048 roots.
    colours = nn.Sequential(Floats(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    monkeypatch.setattr("reactdist.metrics.inception.load_inception", lambda path: colours)
    generator = np.random.default_rng(1)
    folders = {"predicted": tmp_path / "made", "real": tmp_path / "real"}
    for number, folder in enumerate(folders.values()):
        folder.mkdir()
        pictures = generator.integers(0, 200 + 50 * number, (60, 32, 32, 3), np.uint8)
        np.save(folder / "1.npy", pictures)
        _film(folder / "2.mp4", pictures)
    weights = tmp_path / "weights.pth"
    frames = [f"--predicted-frames={folders['predicted']}", f"--real-frames={folders['real']}"]
    printed = _scores(files, *frames, f"--inception={weights}", "--metric", "FRVar")
    expected = frrea(*map(read_frames, folders.values()), colours)
    assert printed["FRRea"] == expected > 0
    assert "two folders" in _error(files, *frames)
    nothing = f"--real-frames={tmp_path}/none"
    assert "not a folder" in _error(files, frames[0], nothing, f"--inception={weights}")


class Floats(nn.Module):
    """uint8 pictures as floats."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.float()


def _film(path: Path, pictures: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = pictures.shape[2], pictures.shape[1]
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def test_bad_input_is_one_line(arrays, files, tmp_path) -> None:
    def refused(name: str, array: np.ndarray) -> str:
        np.save(files[name], array)
        line = _error(files)
        np.save(files[name], arrays[name])
        return line

    assert "predictions have shape (6, 70, 25)" in refused("predictions", arrays["listeners"])
    assert "predictions hold 5 items" in refused("predictions", arrays["predictions"][:5])
    assert "5 speakers and 6 listeners" in refused("speakers", arrays["speakers"][:5])
    assert "hold no numbers" in refused("speakers", arrays["speakers"].astype("U4"))
    assert "there are 6 items" in refused("neighbours", np.eye(12))
    assert "other values than 0 and 1" in refused("neighbours", np.full((6, 6), np.nan))
    lonely = arrays["neighbours"].copy()
    lonely[4] = False
    assert "item 4 has no appropriate neighbour" in refused("neighbours", lonely)
    holed = arrays["predictions"].copy()
    holed[2, 1, 3, 4] = np.nan
    assert "predictions[2]: holds NaN" in refused("predictions", holed)
    assert "no device 'abacus' here" in _error(files, "--device", "abacus")
    assert "unknown metric 'FRCor'" in _error(files, "--metric", "FRCor")
    np.save(files["speakers"], np.array([{}]), allow_pickle=True)
    assert "not a plain npy array" in _error(files)
    files["speakers"] = tmp_path / "nowhere.npy"
    assert "nowhere.npy: does not exist" in _error(files)
