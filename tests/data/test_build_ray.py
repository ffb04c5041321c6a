"""The build on a real Ray: the same bytes as on one machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from reactdist.data.shards import Shards
from reactdist.errors import InputError


@pytest.mark.cluster
@pytest.mark.slow
def test_ray_builds_the_same_bytes(
    built: Path, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    from reactdist.distributed.build import build_on_ray

    with pytest.raises(InputError, match="no Ray"):
        build_on_ray(release, tmp_path / "out")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        shards = build_on_ray(release, tmp_path / "out", image_size=32, pairs_a_shard=2)
    finally:
        ray.shutdown()
    assert shards.fingerprint == Shards.open(built).fingerprint
    for file in built.rglob("*.parquet"):
        there = tmp_path / "out" / file.relative_to(built)
        assert _hash(file) == _hash(there)


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
