"""The model registry: versions, aliases, and the exported folder behind each."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reactdist.errors import InputError, StorageError
from reactdist.tracking.facts import resolve_run
from reactdist.tracking.store import client, every_page, quoted

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature

EXPORTED = "exported"
"""Artifact folder of a run, and inside a registered MLflow model below `artifacts/`, that holds the
exported model (`model.safetensors`, `config.yaml`)."""
EXPORTED_FILES = ("model.safetensors", "config.yaml")
DIGEST_TAG = "reactdist.weights_sha256"
EARLY_TEST_TAG = "reactdist.tested_before_promotion"
"""On a test-split evaluation of a model that was not promoted then: its `weights_digest`."""


@dataclass(frozen=True)
class Version:
    """A registered version: `source` is the folder of its MLflow model in the artifact store."""

    name: str
    version: str
    run_id: str
    source: str
    tags: Mapping[str, str]

    @property
    def uri(self) -> str:
        """`models:/NAME/VERSION`."""
        return f"models:/{self.name}/{self.version}"


def register_version(
    uri: str,
    name: str,
    run_id: str,
    model_folder: Path,
    *,
    tags: Mapping[str, Any] | None = None,
    description: str = "",
) -> str:
    """Register the exported model in `model_folder` as a version of `name`; its number as text.

    The folder (`model.safetensors`, `config.yaml`) is copied into the run's artifacts as an
    MLflow model with signature. The same weights of the same run are registered once: asked
    again, the version there is returned. When anything fails, what was made is taken back.

    Raises:
        InputError: files missing in the folder, run unknown, a name MLflow does not allow.
        StorageError: the artifact store or the registry failed; nothing is registered.
    """
    there = find_version(uri, name, run_id, model_folder)
    if there is not None:
        return there.version
    digest = _digest(model_folder)
    run = resolve_run(uri, run_id)
    mlflow = client(uri)
    place = _place(name, digest)
    with tempfile.TemporaryDirectory(prefix="reactdist-register-") as scratch:
        packed = Path(scratch) / "model"
        _pack(model_folder, packed)
        try:
            mlflow.log_artifacts(run_id, str(packed), place)
        except Exception as error:
            _remove_artifacts(uri, run_id, place)
            raise _failed(name, error) from error
    all_tags = {key: str(value) for key, value in (tags or {}).items()} | {DIGEST_TAG: digest}
    source = f"{run.info.artifact_uri}/{place}"
    return _create_version(mlflow, uri, name, run_id, place, source, all_tags, description)


def find_version(uri: str, name: str, run_id: str, model_folder: Path) -> Version | None:
    """The version that already holds this exported model of this run, None without one."""
    digest = _digest(model_folder)
    for version in _versions(client(uri), name):
        if version.run_id == run_id and version.tags.get(DIGEST_TAG) == digest:
            return _plain(version)
    return None


def early_tests(uri: str, model_folder: Path) -> list[str]:
    """Evaluations on the test split of these weights, made before they were promoted: run ids."""
    mlflow = client(uri)
    experiments = [e.experiment_id for e in every_page(mlflow.search_experiments)]
    same = f"tags.`{EARLY_TEST_TAG}` = '{weights_digest(model_folder)}'"
    found = every_page(mlflow.search_runs, experiments, same)
    return [run.info.run_id for run in found]


def withdraw_version(uri: str, name: str, version: str) -> None:
    """Take a version back, its files, and the registered model if that leaves it empty."""
    mlflow = client(uri)
    found = mlflow.get_model_version(name, version)
    mlflow.delete_model_version(name, version)
    if not _versions(mlflow, name):
        mlflow.delete_registered_model(name)
    _remove_artifacts(uri, found.run_id, _place(name, found.tags[DIGEST_TAG]))


def set_alias(uri: str, name: str, alias: str, version: str) -> None:
    """Let `models:/NAME@ALIAS` mean `version`. Raises InputError when there is no such version."""
    from mlflow.exceptions import MlflowException

    try:
        client(uri).set_registered_model_alias(name, alias, version)
    except MlflowException as error:
        raise InputError(
            f"cannot set alias {alias!r} ({_first_line(error)})", where=f"models:/{name}/{version}"
        ) from None


def set_version_tags(uri: str, name: str, version: str, tags: Mapping[str, Any]) -> None:
    """Set tags of a version, as text (test numbers, promotion)."""
    for key, value in tags.items():
        client(uri).set_model_version_tag(name, version, key, str(value))


def delete_alias(uri: str, name: str, alias: str) -> None:
    """Take an alias away; no error when it is not set."""
    client(uri).delete_registered_model_alias(name, alias)


def version_by_alias(uri: str, name: str, alias: str) -> Version | None:
    """The version that `alias` means, None when the model or the alias does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        return _plain(client(uri).get_model_version_by_alias(name, alias))
    except MlflowException as error:
        # A missing alias is INVALID_PARAMETER_VALUE, a missing model RESOURCE_DOES_NOT_EXIST.
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def resolve_version(uri: str, reference: str) -> Version:
    """The version behind `models:/NAME@ALIAS` or `models:/NAME/3`.

    Raises:
        InputError: not such a reference, no such model, alias or version; says which there are.
    """
    match = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", reference)
    if match is None:
        raise InputError(
            "not a model reference",
            where=reference,
            fix="write models:/NAME@ALIAS or models:/NAME/3",
        )
    name, alias, number = match.groups()
    versions = _versions(client(uri), name)
    if not versions:
        raise InputError(
            f"no model {name!r} is registered", where=uri, fix="`reactdist promote` registers one"
        )
    if number is not None:
        found = next((v for v in versions if str(v.version) == number), None)
        known = ", ".join(sorted((str(v.version) for v in versions), key=int))
        if found is None:
            raise InputError(f"no version {number}", where=reference, fix=f"there are: {known}")
        return _plain(found)
    by_alias = version_by_alias(uri, name, alias)
    if by_alias is None:
        aliases = sorted(client(uri).get_registered_model(name).aliases)
        raise InputError(
            f"alias {alias!r} is not set",
            where=reference,
            fix=f"there are: {', '.join(aliases) or 'none; `reactdist promote` sets champion'}",
        )
    return by_alias


def download_model(uri: str, reference: str, to: Path | None = None) -> Path:
    """A local folder with the exported model behind a run (`resolve_run`) or a `models:/` address.

    Args:
        to: folder to download into; default a new temporary one. With a local artifact store the
            stored folder itself may be returned: read it, never write to it.

    Raises:
        InputError: unknown run, model, alias or version, or its files are gone.
    """
    if reference.startswith("models:/"):
        source = f"{resolve_version(uri, reference).source}/artifacts/{EXPORTED}"
    else:
        source = f"{resolve_run(uri, reference).info.artifact_uri}/{EXPORTED}"
    folder = _download(uri, source, reference, to)
    missing = [name for name in EXPORTED_FILES if not (folder / name).is_file()]
    if missing:
        raise _gone(reference, source, f"no {', '.join(missing)}")
    return folder


def _download(uri: str, source: str, reference: str, to: Path | None) -> Path:
    import mlflow

    try:
        got = mlflow.artifacts.download_artifacts(
            artifact_uri=source, dst_path=None if to is None else str(to), tracking_uri=uri
        )
    except Exception as error:
        # Every kind of artifact store has exceptions of its own for a missing file.
        raise _gone(reference, source, _first_line(error)) from error
    return Path(got)


def _gone(reference: str, source: str, reason: str) -> InputError:
    return InputError(
        f"its exported model cannot be read at {source} ({reason})",
        where=reference,
        fix="restore the files, or use another version or run",
    )


def _pack(model_folder: Path, packed: Path) -> None:
    """Write the MLflow model folder: this package's pyfunc code and the exported files."""
    from importlib import metadata

    import mlflow

    with tempfile.TemporaryDirectory(prefix="reactdist-export-") as scratch:
        # The folder's name becomes its name inside the MLflow model.
        exported = Path(scratch) / EXPORTED
        shutil.copytree(model_folder, exported)
        with warnings.catch_warnings():
            # MLflow asks for type hints and an input example; the signature says it all.
            warnings.simplefilter("ignore", UserWarning)
            mlflow.pyfunc.save_model(
                str(packed),
                python_model=str(Path(__file__).with_name("reaction_model.py")),
                artifacts={EXPORTED: str(exported)},
                signature=signature(),
                pip_requirements=[
                    f"{package}=={metadata.version(package)}"
                    for package in ("mlflow", "torch", "numpy", "safetensors", "pydantic", "PyYAML")
                ],
            )


def signature() -> ModelSignature:
    """Inputs, outputs and params of the registered model, see `reaction_model`."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    any_size = -1
    return ModelSignature(
        inputs=Schema(
            [
                TensorSpec(np.dtype("uint8"), (any_size, any_size, 3, any_size, any_size), "video"),
                TensorSpec(np.dtype("float32"), (any_size, any_size, 78), "audio"),
            ]
        ),
        outputs=Schema(
            [
                TensorSpec(np.dtype("float32"), (any_size, any_size, any_size, 25), "emotion"),
                TensorSpec(np.dtype("float32"), (any_size, any_size, any_size, 58), "coefficients"),
            ]
        ),
        params=ParamSchema([ParamSpec("num_samples", "long", 10), ParamSpec("seed", "long", 0)]),
    )


def _create_version(
    mlflow: MlflowClient,
    uri: str,
    name: str,
    run_id: str,
    place: str,
    source: str,
    tags: dict[str, str],
    description: str,
) -> str:
    from mlflow.exceptions import MlflowException

    made_model = False
    try:
        try:
            mlflow.create_registered_model(name)
            made_model = True
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        version = mlflow.create_model_version(
            name, source, run_id=run_id, tags=tags, description=description or None
        )
    except Exception as error:
        if made_model:
            mlflow.delete_registered_model(name)
        _remove_artifacts(uri, run_id, place)
        raise _failed(name, error) from error
    return str(version.version)


def _failed(name: str, error: Exception) -> InputError | StorageError:
    code = getattr(error, "error_code", "")
    if code == "INVALID_PARAMETER_VALUE":
        return InputError(f"MLflow refused it ({_first_line(error)})", where=f"models:/{name}")
    return StorageError(
        f"registering failed ({_first_line(error)}); nothing is registered",
        where=f"models:/{name}",
        fix="look at the artifact store and the MLflow server, then run the same command",
    )


def _remove_artifacts(uri: str, run_id: str, place: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    root = client(uri).get_run(run_id).info.artifact_uri
    try:
        get_artifact_repository(root, tracking_uri=uri).delete_artifacts(place)
    except Exception:
        # The store that just failed may fail here too; leftovers are never looked at.
        return


def _versions(mlflow: MlflowClient, name: str) -> list[ModelVersion]:
    return every_page(mlflow.search_model_versions, f"name = {quoted(name)}", max_results=10_000)


def _plain(version: ModelVersion) -> Version:
    return Version(
        name=version.name,
        version=str(version.version),
        run_id=version.run_id,
        source=version.source,
        tags=dict(version.tags),
    )


def _place(name: str, digest: str) -> str:
    """Artifact folder of a version in its run."""
    return f"registered/{name}-{digest[:12]}"


def weights_digest(folder: Path) -> str:
    """sha256 of the weights alone: the same for an exported model and the checkpoint it is of."""
    return hashlib.sha256((folder / EXPORTED_FILES[0]).read_bytes()).hexdigest()


def _digest(folder: Path) -> str:
    """sha256 over weights and settings; raises InputError when one is missing."""
    digest = hashlib.sha256()
    for name in EXPORTED_FILES:
        path = folder / name
        if not path.is_file():
            raise InputError(f"no {name}", where=folder, fix="give a folder of an exported model")
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
