"""FRRea's Fréchet arithmetic against closed forms, its frame subset, and the weights' checks."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from reactdist.errors import InputError
from reactdist.metrics.frrea import (
    FRAME_STEP,
    FeatureStatistics,
    feature_statistics,
    frechet_distance,
    frrea,
)
from reactdist.metrics.inception import InceptionFeatures, load_inception


def _gaussian(mean: np.ndarray, covariance: np.ndarray) -> FeatureStatistics:
    return FeatureStatistics(11, mean, covariance * 10)


def test_gaussians_with_the_same_axes_have_a_closed_form() -> None:
    generator = np.random.default_rng(0)
    axes, _ = np.linalg.qr(generator.normal(size=(6, 6)))
    one, other = generator.random(6) + 0.1, generator.random(6) + 0.1
    step = generator.normal(size=6)
    distance = frechet_distance(
        _gaussian(np.zeros(6), axes * one @ axes.T), _gaussian(step, axes * other @ axes.T)
    )
    assert distance == pytest.approx(step @ step + ((one**0.5 - other**0.5) ** 2).sum())


def test_gaussians_in_the_plane_have_another() -> None:
    # For 2x2 matrices trace(sqrt(AB)) = sqrt(trace(AB) + 2 sqrt(det(AB))), axes unrelated.
    generator = np.random.default_rng(1)
    a, b = (m @ m.T for m in generator.normal(size=(2, 2, 2)))
    root = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    distance = frechet_distance(_gaussian(np.zeros(2), a), _gaussian(np.zeros(2), b))
    assert distance == pytest.approx(np.trace(a) + np.trace(b) - 2 * root)


def test_a_set_is_no_distance_from_itself_and_singular_sets_are_fine() -> None:
    features = np.random.default_rng(2).normal(size=(5, 40))  # rank 4 in 40 dimensions
    one = FeatureStatistics.of(features)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    moved = FeatureStatistics.of(features + 2)
    assert frechet_distance(one, moved) == pytest.approx(4 * 40)


def test_parts_add_up() -> None:
    features = np.random.default_rng(3).normal(size=(50, 4)) + 100
    whole = FeatureStatistics.of(features)
    parts = FeatureStatistics.of(features[:13]) + FeatureStatistics.of(features[13:])
    np.testing.assert_allclose(parts.mean, whole.mean)
    np.testing.assert_allclose(parts.covariance, np.cov(features.T))
    assert parts.count == whole.count == 50


def _colours(pictures: torch.Tensor) -> torch.Tensor:
    return pictures.float().mean(dim=(2, 3))


def _clips(seed: int, clips: int, frames: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (clips, frames, 8, 8, 3), np.uint8)


def test_the_frames_that_count_do_not_depend_on_the_batch() -> None:
    predicted, real = _clips(0, 4, 120), _clips(1, 4, 101)
    seen: list[torch.Tensor] = []

    def watching(pictures: torch.Tensor) -> torch.Tensor:
        seen.append(pictures)
        return _colours(pictures)

    statistics = feature_statistics(predicted, watching, batch=2)
    assert statistics is not None
    assert statistics.count == 4 * 5
    shown = torch.cat(seen).permute(0, 2, 3, 1).numpy()
    assert (shown == predicted[:, ::FRAME_STEP].reshape(-1, 8, 8, 3)).all()
    values = {frrea(predicted, real, _colours, batch=batch) for batch in (1, 3, 32)}
    assert max(values) == pytest.approx(min(values), rel=1e-9)
    assert max(values) > 0


def test_bad_frames_are_one_line() -> None:
    with pytest.raises(InputError, match="uint8 is needed"):
        frrea([np.zeros((30, 8, 8, 3))], _clips(0, 1, 60), _colours)
    with pytest.raises(InputError, match="fewer than two predicted"):
        frrea(_clips(0, 1, 5), _clips(0, 1, 60), _colours)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights saved as the usual file is: its hash in its name."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    state = InceptionFeatures().state_dict()
    torch.save({k: v for k, v in state.items() if "num_batches" not in k}, folder / "plain.pth")
    digest = hashlib.sha256((folder / "plain.pth").read_bytes()).hexdigest()
    return (folder / "plain.pth").rename(folder / f"pt_inception-{digest[:8]}.pth")


def test_inception_gives_2048_features_a_picture(weights: Path) -> None:
    model = load_inception(weights)
    with torch.inference_mode():
        features = model(torch.from_numpy(_clips(4, 1, 2)[0]).permute(0, 3, 1, 2))
    assert features.shape == (2, 2048)
    # torchvision documents 27,161,264 parameters; less the auxiliary head, 1,008 classes not 1,000.
    auxiliary = 3_326_696
    assert sum(p.numel() for p in model.parameters()) == 27_161_264 - auxiliary + 8 * 2049


def test_other_weights_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_inception(tmp_path / "none-01234567.pth")
    unnamed = tmp_path / "weights.pth"
    unnamed.write_bytes(weights.read_bytes())
    with pytest.raises(InputError, match="hash is not known"):
        load_inception(unnamed)
    with pytest.raises(InputError, match="does not start with 0123"):
        load_inception(unnamed, sha256="0123")
    other = tmp_path / "other.pth"
    torch.save({"a": torch.zeros(1)}, other)
    with pytest.raises(InputError, match="not the Inception weights"):
        load_inception(other, hashlib.sha256(other.read_bytes()).hexdigest())
