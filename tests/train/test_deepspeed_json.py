"""A DeepSpeed JSON that a user brings: against DeepSpeed's own field names, and merged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reactdist.config import parse
from reactdist.errors import InputError
from reactdist.train.deepspeed_json import merged
from reactdist.train.settings import TrainSettings


def settings(**engine: Any) -> TrainSettings:
    values = {"batch_size": 8, "workers": {"count": 2}, "accumulation": 2, "engine": engine}
    return parse(TrainSettings, values)


def test_a_file_is_read_into_the_resolved_settings(tmp_path: Path) -> None:
    content = {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": 2,
        "gradient_accumulation_steps": 2,
        "gradient_clipping": 1.0,
        "bf16": {"enabled": True},
        "zero_optimization": {"stage": 2, "overlap_comm": True},
    }
    file = tmp_path / "ds.json"
    file.write_text(json.dumps(content))
    read = settings(deepspeed=str(file), zero_stage=2, precision="bfloat16")
    assert read.engine.deepspeed == content
    again = parse(TrainSettings, read.model_dump(mode="json"))
    assert again == read


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"zero_optimisation": {}}, "did you mean 'zero_optimization'"),
        ({"zero_optimization": {"overlap_com": True}}, "did you mean 'overlap_comm'"),
        ({"zero_optimization": {"stage": 3}}, "zero_optimization.stage is 3, .* make it 0"),
        ({"train_batch_size": 16}, "train_batch_size is 16, .* make it 8"),
        ({"fp16": {"enabled": True}}, "fp16.enabled is True, .* make it False"),
        ({"optimizer": {"type": "Adam"}}, "optimizer may not be given; set optimizer.lr"),
        ({"zero_optimization": {"offload_optimizer": {}}}, "offload_optimizer may not be given"),
        ({"activation_checkpointing": {}}, "set model.checkpoint_video"),
        ({"zero_optimization": 2}, "must be a section"),
    ],
)
def test_what_cannot_be_merged_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        settings(deepspeed=given)


@pytest.mark.parametrize("content", [None, "{", "[1]"])
def test_a_file_that_is_none_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ds.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=r"ds\.json"):
        settings(deepspeed=str(file))


def test_merging_adds_and_never_overrides() -> None:
    own = {"a": 1, "zero": {"stage": 2}}
    given = {
        "a": "auto",
        "b": "auto",
        "c": 3,
        "zero": {"stage": "auto", "bucket": 5},
        "d": {"e": 1},
    }
    assert merged(own, given) == {"a": 1, "c": 3, "zero": {"stage": 2, "bucket": 5}, "d": {"e": 1}}
