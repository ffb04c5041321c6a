"""The files of a generated release, read back without our own readers, and what stops it."""

import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from reactdist.data.neighbours import cut_neighbours
from reactdist.data.synth.command import synth
from reactdist.data.synth.plan import make_plan
from reactdist.data.synth.release import MATRIX_FILE, write_release
from reactdist.data.synth.unfinished import MARKER
from reactdist.errors import InputError
from reactdist.schema import ATTRIBUTES, SPLITS

PAIRS, FRAMES, SEED = 6, 30, 4


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synth") / "release"
    write_release(out, pairs=PAIRS, frames=FRAMES, seed=SEED, workers=2)
    return out


def test_every_listed_person_has_four_files_and_nothing_else_is_there(release: Path) -> None:
    expected = {MATRIX_FILE, "mean_face.npy", "data_indices.csv"}
    index = pd.read_csv(release / "data_indices.csv")
    for split in SPLITS:
        expected.add(f"{split}.csv")
        pairs = pd.read_csv(release / f"{split}.csv", index_col=0)
        assert list(pairs.columns) == ["speaker_path", "listener_path"]
        for row, pair in pairs.iterrows():
            site, session, _, number = pair["speaker_path"].split("/")
            listed = index.iloc[row]
            assert listed["site"].lower() == site.lower()
            assert (listed["chat_index"], str(listed["clip_index"])) == (session, number)
            for key in pair:
                expected |= {
                    f"{split}/Video_files/{key}.mp4",
                    f"{split}/Audio_files/{key}.wav",
                    f"{split}/Emotion/{key}.csv",
                    f"{split}/3D_FV_files/{key}.npy",
                }
    found = {str(p.relative_to(release)) for p in release.rglob("*") if p.is_file()}
    assert found == expected
    assert len(index) == PAIRS


def test_the_files_are_in_the_published_formats(release: Path) -> None:
    for path in sorted(release.glob("*/Video_files/*/*/*/*.mp4")):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.average_rate) == ("h264", 25)
            assert (stream.width, stream.height) == (256, 256)
            assert sum(1 for _ in container.decode(stream)) == FRAMES
    for path in sorted(release.glob("*/Audio_files/*/*/*/*.wav")):
        info = soundfile.info(path)
        assert (info.samplerate, info.subtype) == (44_100, "PCM_16")
        assert info.frames == FRAMES * 1764
    for path in sorted(release.glob("*/Emotion/*/*/*/*.csv")):
        table = pd.read_csv(path)
        assert tuple(table.columns) == ATTRIBUTES
        assert len(table) == FRAMES
        np.testing.assert_allclose(table.iloc[:, 17:].sum(axis=1), 1, atol=1e-5)
    for path in sorted(release.glob("*/3D_FV_files/*/*/*/*.npy")):
        values = np.load(path, allow_pickle=False)
        assert (values.shape, values.dtype) == ((FRAMES, 1, 58), np.float32)


def test_the_cut_of_the_matrix_is_who_plays_the_same_side(release: Path) -> None:
    plan = make_plan(PAIRS, FRAMES, SEED)
    for split in SPLITS:
        clips = plan.of_split(split)
        speaker = [(c.script, c.sides[0]) for c in clips] + [(c.script, c.sides[1]) for c in clips]
        cut = cut_neighbours(
            release / MATRIX_FILE, release / "data_indices.csv", release / f"{split}.csv"
        )
        assert cut.tolist() == [[a == b for b in speaker] for a in speaker]


def test_same_seed_same_bytes_for_any_number_of_workers(release: Path, tmp_path: Path) -> None:
    write_release(tmp_path / "again", pairs=PAIRS, frames=FRAMES, seed=SEED, workers=1)
    write_release(tmp_path / "other", pairs=PAIRS, frames=FRAMES, seed=SEED + 1, workers=1)
    for path in (p for p in release.rglob("*") if p.suffix in (".npy", ".csv")):
        name = path.relative_to(release)
        assert (tmp_path / "again" / name).read_bytes() == path.read_bytes()
    first = "train/3D_FV_files"
    same = {p.read_bytes() for p in (release / first).rglob("*.npy")}
    different = {p.read_bytes() for p in (tmp_path / "other" / first).rglob("*.npy")}
    assert not same & different


def test_video_is_visually_clean(tmp_path: Path) -> None:
    """PSNR of the brightness of the encoded pictures above 35 dB."""
    from reactdist.data.synth.picture import pictures
    from reactdist.data.synth.recording import record
    from reactdist.data.synth.video import encode_mp4

    plan = make_plan(3, 25, 0)
    person = record(plan, plan.clips[0])[0]
    drawn = list(pictures(person.performance.state, person.person.look))
    file = tmp_path / "clip.mp4"
    file.write_bytes(encode_mp4(drawn))
    with av.open(str(file)) as container:
        decoded = [f.to_ndarray(format="gray") for f in container.decode(video=0)]
    truth = [av.VideoFrame.from_ndarray(f, format="rgb24").reformat(format="gray").to_ndarray()
             for f in drawn]  # fmt: skip
    error = np.mean((np.stack(decoded).astype(float) - np.stack(truth)) ** 2)
    assert 10 * np.log10(255**2 / error) > 35


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(InputError, match="not an empty folder"):
        write_release(tmp_path / "out", pairs=3, frames=2, workers=1)
    (tmp_path / "new.partial").mkdir()
    (tmp_path / "new.partial" / "mine").touch()
    with pytest.raises(InputError, match="in the way"):
        write_release(tmp_path / "new", pairs=3, frames=2, workers=1)
    assert {p.name for p in tmp_path.rglob("*")} == {"out", "mine", "new.partial"}


def test_an_empty_folder_and_its_own_rest_are_used(tmp_path: Path) -> None:
    out, rest = tmp_path / "out", tmp_path / "out.partial"
    out.mkdir()
    (rest / "train").mkdir(parents=True)
    (rest / MARKER).touch()
    (rest / "train" / "half.npy").touch()
    write_release(out, pairs=3, frames=2, workers=1)
    assert not rest.exists()
    assert not list(out.rglob("half.npy"))
    assert not (out / MARKER).exists()


def _start(out: Path, frames: int, **options: object) -> "subprocess.Popen[str]":
    call = f"write_release(Path({str(out)!r}), pairs=6, frames={frames}, workers=2)"
    code = (
        "from pathlib import Path\n"
        "from reactdist.errors import InputError\n"
        "from reactdist.data.synth.release import write_release\n"
        "if __name__ == '__main__':\n"
        f"    try:\n        {call}\n"
        "    except InputError as error:\n        raise SystemExit(error.line())\n"
    )
    script = out.parent / "write.py"
    script.write_text(code)
    return subprocess.Popen(
        [sys.executable, str(script)], stderr=subprocess.PIPE, text=True, **options
    )  # type: ignore[call-overload]


def _wait_for_a_video(partial: Path, process: "subprocess.Popen[str]") -> None:
    limit = time.monotonic() + 60
    while not list(partial.glob("*/Video_files/*/*/*/*.mp4")):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < limit
        time.sleep(0.05)


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads the processes of Linux")
def test_a_killed_run_leaves_nothing_that_looks_finished_and_no_process(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = _start(out, 150)
    _wait_for_a_video(tmp_path / "out.partial", process)
    workers = _children(process.pid)
    with pytest.raises(InputError, match="another run"):
        write_release(out, pairs=3, frames=2, workers=1)
    process.kill()
    process.wait()
    assert not out.exists()
    limit = time.monotonic() + 20
    while any(_alive(pid) for pid in workers):
        assert time.monotonic() < limit
        time.sleep(0.1)
    write_release(out, pairs=3, frames=2, workers=1)
    assert {p.name for p in tmp_path.iterdir()} == {"out", "write.py"}


def test_ctrl_c_cleans_up(tmp_path: Path) -> None:
    process = _start(tmp_path / "out", 120)
    _wait_for_a_video(tmp_path / "out.partial", process)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    assert process.returncode != 0
    assert {p.name for p in tmp_path.iterdir()} == {"write.py"}


def test_a_file_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    def small_files_only() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    process = _start(tmp_path / "out", 30, preexec_fn=small_files_only)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert errors.strip().splitlines()[-1].startswith(str(tmp_path / "out"))
    assert "cannot be written (File too large)" in errors
    assert "Traceback" not in errors
    assert {p.name for p in tmp_path.iterdir()} == {"write.py"}


def test_a_disk_without_room_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match="MiB are free"):
        write_release(tmp_path / "out", pairs=3, frames=400, workers=1)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_and_refuses(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(synth)
    out = str(tmp_path / "out")
    words = [out, "--pairs", "3", "--frames", "3", "--seed", "1"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert len(list((tmp_path / "out").rglob("*.mp4"))) == 6
    again = CliRunner().invoke(app, words)
    assert isinstance(again.exception, InputError)
