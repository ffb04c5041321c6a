"""A small generated release and the shards built from it, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reactdist.data.build import build
from reactdist.data.shards import Shards
from reactdist.data.synth.release import write_release

FRAMES = 44
PAIRS = 8
SIZE = 32


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 pairs of 44 frames over train, val and test; do not change it, copy it."""
    root = tmp_path_factory.mktemp("release") / "root"
    write_release(root, pairs=PAIRS, frames=FRAMES, seed=3)
    return root


@pytest.fixture
def copied(release: Path, tmp_path: Path) -> Path:
    """A copy of the release to damage."""
    return Path(shutil.copytree(release, tmp_path / "copy"))


@pytest.fixture(scope="session")
def built(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of the release at 32x32; do not change them, copy them."""
    out = tmp_path_factory.mktemp("built") / "shards"
    build(release, out, image_size=SIZE, pairs_a_shard=2)
    return out


@pytest.fixture(scope="session")
def shards(built: Path) -> Shards:
    return Shards.open(built)
