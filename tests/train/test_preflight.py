"""What is found in the first seconds: in the driver, then before the first epoch."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from reactdist.checkpoints import write_checkpoint
from reactdist.config import parse
from reactdist.data.order import epoch_order
from reactdist.data.shards import Shards
from reactdist.errors import DataError, InputError, NonFiniteLoss
from reactdist.evaluate.validate import Validation
from reactdist.train.dry_run import dry_run
from reactdist.train.preflight import check_run, check_weights
from reactdist.train.settings import TrainSettings
from reactdist.train.worker import make_model
from tests.conftest import small_run
from tests.data.damage import damage, damage_audio

CPU = torch.device("cpu")


class Alone:
    """The only worker."""

    rank, world = 0, 1

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def broadcast(self, value: Any) -> Any:
        return value


def settings_of(shards: str, output: Path, **changes: Any) -> TrainSettings:
    return parse(TrainSettings, small_run(shards, output, **changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"profile": "900:901"}, "profile begins at step 900, the run has 8"),
        ({"model": {"image_size": 64}}, "the shards hold 40 pixel images"),
        ({"data": {"crop_frames": 81}}, "longer than the shortest training clip"),
        ({"data": {"shards": "nowhere"}}, "no finished shards"),
    ],
)
def test_what_does_not_fit_is_refused_in_the_driver(
    small_shards: str, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        check_run(settings_of(small_shards, tmp_path, **changes))


def test_weights_that_do_not_fit_the_model_are_refused_in_the_driver(
    small_shards: str, tmp_path: Path
) -> None:
    settings = settings_of(small_shards, tmp_path)
    check_weights(settings)  # nothing to resume
    tensors = make_model(settings).state_dict()
    for step, changed in ((1, {}), (2, {"past.extra": torch.zeros(2, 3)})):
        write_checkpoint(
            settings.folder / "checkpoints",
            step,
            tensors={"model": {**tensors, **changed}},
            state={},
            config_yaml="",
        )
        if not changed:
            check_weights(settings)
    with pytest.raises(InputError, match=r"past\.extra has shape \(2, 3\), the model wants None"):
        check_weights(settings)


def test_the_dry_run_meets_a_damaged_clip_and_leaves_the_model_alone(
    small_shards: str, tmp_path: Path
) -> None:
    settings = settings_of(small_shards, tmp_path)
    model = make_model(settings)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    dry_run(model, settings, Shards.open(small_shards), CPU, world=1)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in model.parameters())

    shards = shutil.copytree(small_shards, tmp_path / "shards")
    items = len(Shards.open(shards).items("train"))
    key = damage_audio(shards, "train", int(epoch_order(items, settings.seed, 0)[0]))
    with pytest.raises(DataError, match=key):
        dry_run(model, settings, Shards.open(shards), CPU, world=1)
    skipping = settings_of(str(shards), tmp_path, data={"damaged": "skip"})
    dry_run(model, skipping, Shards.open(shards), CPU, world=1)

    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(NonFiniteLoss, match="step 1: loss not finite: "):
        dry_run(model, settings, Shards.open(small_shards), CPU, world=1)


def test_a_damaged_validation_clip_is_met_before_the_first_epoch(
    small_shards: str, tmp_path: Path
) -> None:
    shards = shutil.copytree(small_shards, tmp_path / "shards")
    settings = settings_of(str(shards), tmp_path, validation={"items": None})
    whole = Validation(
        settings.model, Shards.open(shards), settings.validation, device=CPU, ranks=Alone()
    )
    whole.dry_run()
    assert whole.truth is not None
    key = damage_audio(shards, "val", 0)
    broken = Validation(
        settings.model, Shards.open(shards), settings.validation, device=CPU, ranks=Alone()
    )
    with pytest.raises(DataError, match=key):
        broken.dry_run()


def test_skipping_lets_the_mean_face_do_without_a_damaged_training_clip(
    small_shards: str, tmp_path: Path
) -> None:
    shards = shutil.copytree(small_shards, tmp_path / "shards")
    key = damage(shards, "train", 0, "listener", "coefficients")
    settings = settings_of(str(shards), tmp_path)
    for skip in (True, False):
        validation = Validation(
            settings.model,
            Shards.open(shards),
            settings.validation,
            device=CPU,
            ranks=Alone(),
            skip_damaged=skip,
        )
        if skip:
            validation.dry_run()
        else:
            with pytest.raises(DataError, match=key):
                validation.dry_run()
