"""The import rules of the design: downwards only, and the core knows no cluster."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import reactdist

ROOT = Path(reactdist.__file__).parent
# Lowest first; a package may import from its own layer's packages and from those below.
LAYERS = [
    {"errors", "schema", "config", "terminal"},
    {"data", "models", "metrics"},
    {"tracking", "render", "checkpoints"},
    {"evaluate"},
    {"distributed"},
    {"promote"},
    {"train"},
    {"tune"},
    {"cli", "demo", "doctor"},
]
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}
CLUSTER_LIBRARIES = {"ray", "mlflow", "deepspeed"}
FILES = sorted(ROOT.rglob("*.py"))


def _imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def _package(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def test_every_package_has_a_layer() -> None:
    packages = {_package(path) for path in FILES} - {"__init__"}
    assert packages <= set(LAYER)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downwards(path: Path) -> None:
    own = LAYER.get(_package(path), len(LAYERS))
    above = {
        module
        for module in _imports(path)
        if module.startswith("reactdist.") and LAYER[module.split(".")[1]] > own
    }
    assert not above


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if _package(p) in ("data", "models", "metrics", "checkpoints")],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_core_imports_no_cluster_library(path: Path) -> None:
    assert not {module.split(".")[0] for module in _imports(path)} & CLUSTER_LIBRARIES


def test_only_tracking_imports_mlflow() -> None:
    importers = {
        _package(path)
        for path in FILES
        if any(module.split(".")[0] == "mlflow" for module in _imports(path))
    }
    assert importers == {"tracking"}


def test_only_one_file_imports_deepspeed() -> None:
    importers = [
        path.name
        for path in FILES
        if any(module.split(".")[0] == "deepspeed" for module in _imports(path))
    ]
    assert importers == ["deepspeed_engine.py"]


@pytest.mark.parametrize("module", ["reactdist.models", "reactdist.metrics"])
def test_models_and_metrics_import_without_the_cluster_libraries(module: str) -> None:
    """They must run on a GPU machine that has torch but none of these."""
    blocked = sorted(CLUSTER_LIBRARIES | {"pydantic", "tslearn"})
    code = (
        "import sys\n"
        f"for name in {blocked!r}: sys.modules[name] = None\n"
        f"import {module}\n"
        "print('imported')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "imported", done.stderr[-500:]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['reactdist', '--help']\n"
        "from reactdist.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'mlflow', 'deepspeed', 'pandas', 'numba', 'av', 'numpy'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "HEAVY []" in done.stdout, done.stdout[-300:] + done.stderr[-300:]
