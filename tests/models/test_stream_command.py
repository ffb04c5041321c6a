"""A real file through a streaming model."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

from reactdist.errors import InputError
from reactdist.models import TransVAE, TransVAEConfig
from reactdist.models.stream_command import frames_at_rate, run


def film(path: Path, frames: int, rate: int | Fraction, size: tuple[int, int] = (256, 256)) -> Path:
    """An mp4 whose frame n has brightness 10 + 12 n."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt, stream.gop_size = "yuv420p", 1
        for number in range(frames):
            picture = np.full((size[1], size[0], 3), 10 + 12 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.fixture(scope="module")
def model() -> TransVAE:
    torch.manual_seed(0)
    return TransVAE(
        TransVAEConfig(
            task="online", feature_dim=16, latent_dim=8, window_size=8, image_size=48,
            video_norm="frame", num_heads=2, max_history_frames=16,
        )
    ).eval()  # fmt: skip


def test_a_file_gives_reactions_and_latencies(
    tmp_path: Path, model: TransVAE, capsys: pytest.CaptureFixture[str]
) -> None:
    video = film(tmp_path / "1.mp4", 20, 25, (320, 240))
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "1.wav", rng.normal(0, 0.1, 16_000), 16_000)
    mean_face = np.full(58, 100, np.float32)
    result = run(
        model, video, tmp_path / "1.wav", tmp_path / "out", num_samples=2, mean_face=mean_face
    )
    assert result.emotion.shape == (2, 20, 25)
    assert result.coefficients.mean() > 90
    assert len(result.latency_s) == 2
    assert "latency median" in capsys.readouterr().out
    assert np.array_equal(np.load(tmp_path / "out/emotion.npy"), result.emotion)
    table = np.loadtxt(tmp_path / "out/emotion.csv", delimiter=",", skiprows=1)
    assert table.shape == (40, 27)
    np.testing.assert_allclose(table[20:, 2:], result.emotion[1], rtol=1e-4, atol=1e-5)
    silent = run(model, video, None, tmp_path / "silent", num_samples=2, mean_face=mean_face)
    assert not np.allclose(silent.emotion, result.emotion)


@pytest.mark.parametrize(
    ("rate", "frames", "expected"),
    [
        (25, 10, list(range(10))),
        (50, 20, list(range(0, 20, 2))),
        (Fraction(25, 2), 5, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),
        (30, 12, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]),
    ],
)
def test_odd_rates_are_resampled_by_time(
    tmp_path: Path, rate: int | Fraction, frames: int, expected: list[int]
) -> None:
    pictures = frames_at_rate(film(tmp_path / "1.mp4", frames, rate))
    numbers = [round((float(picture.mean()) - 10) / 12) for picture in pictures]
    assert numbers == expected


def test_what_cannot_be_streamed_is_refused(tmp_path: Path, model: TransVAE) -> None:
    with pytest.raises(InputError, match="no such file"):
        run(model, tmp_path / "none.mp4", None, tmp_path)
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(InputError, match="cannot be opened as a video"):
        run(model, tmp_path / "text.mp4", None, tmp_path)
    whole = film(tmp_path / "whole.mp4", 20, 25).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut\.mp4: cannot be opened as a video"):
        run(model, tmp_path / "cut.mp4", None, tmp_path / "cut")
    middle = whole.index(b"mdat") + len(whole) // 3
    (tmp_path / "holes.mp4").write_bytes(whole[:middle] + bytes(200) + whole[middle + 200 :])
    with pytest.raises(InputError, match=r"holes\.mp4: (cannot be decoded after )?frame \d+"):
        run(model, tmp_path / "holes.mp4", None, tmp_path / "holes")
    assert not (tmp_path / "holes").exists()
    with pytest.raises(InputError, match="has 5 frames/s, expected 10 to 240"):
        run(model, film(tmp_path / "slow.mp4", 10, 5), None, tmp_path)
    with pytest.raises(InputError, match="shorter than a window of 8"):
        run(model, film(tmp_path / "short.mp4", 4, 25), None, tmp_path)
    with pytest.raises(InputError, match="cannot stream"):
        run(torch.nn.Linear(1, 1), tmp_path / "short.mp4", None, tmp_path)
