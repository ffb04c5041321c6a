"""`reactdist doctor`: what works on this machine."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console
from rich.table import Table

from reactdist.errors import GateNotMet, ReactdistError

PACKAGES = ("torch", "torchaudio", "deepspeed", "ray", "mlflow", "pyarrow", "numba", "av")


def run(tracking: str | None, address: str | None) -> None:
    """Try every part for real and print what came of it.

    Raises:
        GateNotMet: a part does not work.
    """
    table = Table(title="reactdist doctor")
    for heading in ("part", "works", "detail"):
        table.add_column(heading)
    broken = []
    probes: list[tuple[str, Callable[[], str]]] = [
        ("python", _python),
        ("packages", _packages),
        ("torch", _torch),
        ("DeepSpeed", _deepspeed),
        ("audio features", _audio),
        ("storage", _storage),
        ("MLflow", lambda: _mlflow(tracking)),
        ("Ray", lambda: _ray(address)),
    ]
    for name, probe in probes:
        try:
            table.add_row(name, "[green]yes[/]", probe())
        except (ReactdistError, ImportError, OSError, RuntimeError) as error:
            said = error.line() if isinstance(error, ReactdistError) else str(error)
            table.add_row(name, "[red]no[/]", " ".join(said.split())[:200])
            broken.append(name)
    Console().print(table)
    if broken:
        raise GateNotMet(f"{', '.join(broken)} does not work here", fix="see the table")


def _python() -> str:
    return f"{sys.version.split()[0]}, {os.cpu_count()} cores"


def _packages() -> str:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            raise ImportError(f"{name} is not installed; run `make install`") from None
    return ", ".join(found)


def _torch() -> str:
    import torch

    value = float((torch.ones(8, 8) @ torch.ones(8, 8)).sum())
    if value != 512.0:
        raise RuntimeError(f"a matrix product came out as {value}")
    if not torch.cuda.is_available():
        return "CPU"
    return (
        f"CUDA {torch.version.cuda}, {torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    )


def _deepspeed() -> str:
    import torch
    from torch import nn

    from reactdist.train.deepspeed_engine import DeepSpeedEngine, start_process_group
    from reactdist.train.settings import EngineSettings, LossSettings, OptimizerSettings

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    start_process_group(device, 30.0)
    engine = DeepSpeedEngine(
        nn.Linear(2, 2),
        LossSettings(),
        OptimizerSettings(),
        EngineSettings(),
        device,
        micro_batch=1,
    )
    return engine.kind


def _audio() -> str:
    import numpy as np

    from reactdist.data.audio import mfcc_features

    features = mfcc_features(np.zeros(44_100, np.float32), 44_100, 25)
    return f"{features.shape[1]} features a frame"


def _storage() -> str:
    free = shutil.disk_usage(".").free
    probe = ".reactdist-doctor"
    with open(probe, "wb") as file:
        file.write(b"0" * 65536)
    os.remove(probe)
    return f"{free / 1e9:.0f} GB free here"


def _mlflow(tracking: str | None) -> str:
    from reactdist.tracking import prepare, tracking_uri

    uri = tracking_uri(tracking)
    prepare(uri)
    return uri


def _ray(address: str | None) -> str:
    from reactdist.distributed.session import ray_session

    with ray_session(address):
        import ray

        total = ray.cluster_resources()
        return f"{total.get('CPU', 0):g} CPU, {total.get('GPU', 0):g} GPU"
