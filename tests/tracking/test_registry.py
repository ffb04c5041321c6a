"""The registry on a real SQLite store: versions, aliases, downloads, and what goes wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from reactdist.errors import InputError, ReactdistError
from reactdist.tracking import (
    download_model,
    open_run,
    register_version,
    set_alias,
    version_by_alias,
)
from reactdist.tracking.registry import resolve_version
from reactdist.tracking.store import client


def exported_folder(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.yaml").write_text("model: {name: transvae}\n")
    (folder / "manifest.json").write_text("{}")
    return folder


@pytest.fixture
def run_id(uri: str, tmp_path: Path) -> str:
    run = open_run(uri, "e", "r", key="k")
    run.log_folder(exported_folder(tmp_path / "of run"), "exported")
    run.finish()
    return run.run_id


def test_versions_aliases_and_downloads(uri: str, run_id: str, tmp_path: Path) -> None:
    one = exported_folder(tmp_path / "one", b"1")
    two = exported_folder(tmp_path / "two", b"2")
    first = register_version(uri, "m", run_id, one, tags={"a": 1}, description="why")
    again = register_version(uri, "m", run_id, one)
    second = register_version(uri, "m", run_id, two)
    assert (first, again, second) == ("1", "1", "2")
    set_alias(uri, "m", "champion", "1")
    set_alias(uri, "m", "champion", "2")
    found = version_by_alias(uri, "m", "champion")
    assert found is not None
    assert (found.version, found.run_id, found.uri) == ("2", run_id, "models:/m/2")
    assert version_by_alias(uri, "m", "previous") is None
    assert version_by_alias(uri, "other", "champion") is None
    assert client(uri).get_model_version("m", "1").tags["a"] == "1"

    for reference, weights in (
        ("models:/m@champion", b"2"), ("models:/m/1", b"1"), (run_id, b"weights"),
    ):  # fmt: skip
        folder = download_model(uri, reference)
        assert (folder / "model.safetensors").read_bytes() == weights
        assert (folder / "manifest.json").exists()
    copy = download_model(uri, "models:/m/1", tmp_path / "copy")
    assert copy.is_relative_to(tmp_path / "copy")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("models:/m@nobody", "alias 'nobody' is not set - there are: champion"),
        ("models:/m/9", "no version 9 - there are: 1"),
        ("models:/other@champion", "no model 'other' is registered"),
        ("models:/m", "not a model reference"),
        ("0123456789abcdef0123456789abcdef", "no run '0123456789abcdef0123456789abcdef'"),
        ("not an id", "no run 'not an id'"),
    ],
)
def test_references_to_nothing(
    uri: str, run_id: str, tmp_path: Path, reference: str, message: str
) -> None:
    register_version(uri, "m", run_id, exported_folder(tmp_path / "one"))
    set_alias(uri, "m", "champion", "1")
    with pytest.raises(InputError, match=message) as caught:
        download_model(uri, reference)
    assert "\n" not in str(caught.value)


def test_a_version_whose_files_are_gone(uri: str, run_id: str, tmp_path: Path) -> None:
    register_version(uri, "m", run_id, exported_folder(tmp_path / "one"))
    shutil.rmtree(resolve_version(uri, "models:/m/1").source)
    with pytest.raises(InputError, match=r"models:/m/1: its exported model cannot be read"):
        download_model(uri, "models:/m/1")
    shutil.rmtree(tmp_path / "mlartifacts" / run_id)
    with pytest.raises(InputError, match="cannot be read"):
        download_model(uri, run_id)


def test_nothing_is_half_registered(uri: str, run_id: str, tmp_path: Path) -> None:
    folder = exported_folder(tmp_path / "one")
    with pytest.raises(InputError, match=r"no model\.safetensors"):
        register_version(uri, "m", run_id, tmp_path)
    with pytest.raises(InputError, match="no run"):
        register_version(uri, "m", "f" * 32, folder)
    with pytest.raises(ReactdistError, match="MLflow refused it"):
        register_version(uri, "a/b:c", run_id, folder)
    # The artifact store refuses: the run's artifact folder has become a file.
    artifacts = tmp_path / "mlartifacts" / run_id / "artifacts"
    shutil.rmtree(artifacts)
    artifacts.write_text("not a folder")
    with pytest.raises(ReactdistError, match="nothing is registered"):
        register_version(uri, "m", run_id, folder)
    assert client(uri).search_registered_models() == []
    artifacts.unlink()
    assert register_version(uri, "m", run_id, folder) == "1"


def test_an_upload_that_breaks_off_is_taken_back(uri: str, run_id: str, tmp_path: Path) -> None:
    folder = exported_folder(tmp_path / "one")
    assert register_version(uri, "m", run_id, folder) == "1"
    place = Path(resolve_version(uri, "models:/m/1").source)
    client(uri).delete_registered_model("m")
    # In the way of one folder of the upload there is a file now: the others are copied.
    shutil.rmtree(place / "artifacts")
    (place / "artifacts").write_text("")
    with pytest.raises(ReactdistError, match="nothing is registered"):
        register_version(uri, "m", run_id, folder)
    assert not place.exists()
    assert client(uri).search_registered_models() == []
    assert register_version(uri, "m", run_id, folder) == "1"


def test_a_version_the_registry_refuses_leaves_no_model(
    uri: str, run_id: str, tmp_path: Path
) -> None:
    folder = exported_folder(tmp_path / "one")
    too_long = {"reason": "x" * 200_000}
    with pytest.raises(ReactdistError, match="MLflow refused it"):
        register_version(uri, "m", run_id, folder, tags=too_long)
    assert client(uri).search_registered_models() == []
    assert not list((tmp_path / "mlartifacts" / run_id / "artifacts" / "registered").iterdir())
    # A model that was there stays, with the versions it had.
    register_version(uri, "m", run_id, folder)
    other = exported_folder(tmp_path / "two", b"other")
    with pytest.raises(ReactdistError, match="MLflow refused it"):
        register_version(uri, "m", run_id, other, tags=too_long)
    assert [v.version for v in client(uri).search_model_versions("name = 'm'")] in (["1"], [1])


def test_the_registered_model_predicts_without_pickles(uri: str, tmp_path: Path) -> None:
    import mlflow
    import torch

    from reactdist.checkpoints import export_model, load_exported
    from reactdist.models import TransVAE, TransVAEConfig

    settings = {"task": "online", "feature_dim": 16, "latent_dim": 8, "window_size": 4,
                "image_size": 40, "video_norm": "frame", "num_heads": 4}  # fmt: skip
    torch.manual_seed(0)
    model = TransVAE(TransVAEConfig(**settings))
    folder = export_model(
        tmp_path / "exported", model.state_dict(), {"name": "transvae", **settings}
    )
    run = open_run(uri, "e", "r", key="k")
    run.finish()
    register_version(uri, "m", run.run_id, folder)
    source = Path(resolve_version(uri, "models:/m/1").source)
    assert not [p for p in source.rglob("*") if p.suffix in {".pkl", ".pickle", ".pt", ".pth"}]

    mlflow.set_registry_uri(uri)
    mlflow.set_tracking_uri(uri)
    loaded = mlflow.pyfunc.load_model("models:/m/1")
    rng = np.random.default_rng(0)
    inputs = {
        "video": rng.integers(0, 256, (2, 6, 3, 40, 40), dtype=np.uint8),
        "audio": rng.normal(size=(2, 6, 78)).astype(np.float32),
    }
    out = loaded.predict(inputs, params={"num_samples": 3, "seed": 5})
    assert out["emotion"].shape == (2, 3, 6, 25)
    assert out["coefficients"].shape == (2, 3, 6, 58)
    own = load_exported(folder).sample(
        torch.from_numpy(inputs["video"]),
        torch.from_numpy(inputs["audio"]),
        num_samples=3,
        generator=torch.Generator().manual_seed(5),
    )
    np.testing.assert_array_equal(out["emotion"], own.emotion.detach().numpy())
    other = loaded.predict(inputs, params={"num_samples": 3, "seed": 6})
    assert not np.array_equal(out["emotion"], other["emotion"])
    with pytest.raises(mlflow.exceptions.MlflowException, match="audio"):
        loaded.predict({"video": inputs["video"]})
