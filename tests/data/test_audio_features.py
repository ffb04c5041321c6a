"""Audio features against the published values and against a frame-by-frame computation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from reactdist.data.audio import mfcc_features, read_wav
from reactdist.data.bench_features import frame_by_frame
from reactdist.errors import DataError

GOLDEN = Path(__file__).parents[1] / "golden" / "audio_mono_44100.npz"


def test_agrees_with_the_published_features() -> None:
    golden = np.load(GOLDEN, allow_pickle=False)
    features = mfcc_features(golden["pcm_int16"], int(golden["sample_rate"]), int(golden["frames"]))
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, golden["features"], atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_any_rate_agrees_with_the_frame_by_frame_way(rate: int) -> None:
    mono = np.random.default_rng(rate).normal(0, 0.1, rate).astype(np.float32)
    got = mfcc_features(mono, rate, 27)  # longer than the audio: the end is silence
    np.testing.assert_allclose(got, frame_by_frame(mono, rate, 27), atol=1e-3)


def test_stereo_is_averaged() -> None:
    stereo = np.random.default_rng(0).normal(0, 0.1, (44100, 2)).astype(np.float32)
    got = mfcc_features(stereo, 44100, 25)
    np.testing.assert_array_equal(got, mfcc_features(stereo.mean(1), 44100, 25))


def test_a_rate_too_low_is_refused() -> None:
    with pytest.raises(DataError, match="100 Hz"):
        mfcc_features(np.zeros(100), 100, 25)


def test_a_wav_cut_short_is_refused_though_libsndfile_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(44100, np.float32), 44100)
    samples, rate = read_wav(path)
    assert (samples.shape, rate) == ((44100, 1), 44100)
    path.write_bytes(path.read_bytes()[:-1])
    assert len(soundfile.read(path)[0]) > 44000
    with pytest.raises(DataError, match="cut short"):
        read_wav(path)
