"""What a study refuses before a trial is spent on it."""

from __future__ import annotations

from typing import Any

import pytest

from reactdist.config import parse
from reactdist.errors import InputError
from reactdist.tune.settings import StudySettings
from reactdist.tune.space import check_space, settings_of

BASE = {"model": {"task": "online", "image_size": 64}, "data": {"crop_frames": 64}}


def study(**changes: Any) -> StudySettings:
    return parse(StudySettings, {"study": "s", "base": BASE, **changes})


def test_a_trial_gets_its_values_and_keeps_the_rest() -> None:
    given = study(space={"loss.kl_weight": {"loguniform": [1e-6, 1e-2]}})
    settings = settings_of(given, {"loss.kl_weight": 3e-4, "model.window_size": 8}, "t")
    assert settings.loss.kl_weight == 3e-4
    assert settings.model["window_size"] == 8
    assert settings.data.crop_frames == 64
    assert str(settings.folder) == "runs/s/trials/t"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"space": {"loss.kl_wieght": {"choice": [1]}}}, "did you mean 'loss.kl_weight'?"),
        ({"space": {}}, "space"),
        ({"space": {"loss.kl_weight": {"choice": []}}}, "choice is empty"),
        ({"space": {"loss.kl_weight": {"loguniform": [0, 1]}}}, "positive"),
        ({"space": {"loss.kl_weight": {"uniform": [1, 0.5]}}}, "below the upper end"),
        ({"space": {"loss.kl_weight": {"choice": [1], "uniform": [0, 1]}}}, "exactly one"),
        # A condition between two keys: no window of 96 fits a crop of 64.
        ({"space": {"model.window_size": {"choice": [8, 96]}}}, "window_size 96 is larger"),
        ({"space": {"model.num_heads": {"choice": [4, 5]}}}, "num_heads"),
        # Both ends would do: 4 and 8 heads divide 128 features, 5 do not.
        ({"space": {"model.num_heads": {"integer": [4, 8]}}}, "num_heads=5"),
        ({"pareto": {"FRCorr": "max", "FRDits": "min"}}, "did you mean 'FRDist'?"),
        ({"trial": {"gpus": 1}, "base": {**BASE, "workers": {"count": 2}}}, "base.workers.gpu"),
        ({"scheduler": {"kind": "pbt"}}, "exchanges Tune's own checkpoints"),
        ({"searcher": {"first": [{"loss.kl_weight": 1e-5}]}}, "must name exactly the keys"),
        ({"base": {**BASE, "validation": {"objective": {"terms": {"val_loss": 1}}}}}, "KL weight"),
    ],
)
def test_bad_studies_are_refused_with_the_reason(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as raised:
        check_space(study(**changes))
    assert said in raised.value.line()
    assert "\n" not in raised.value.line()


def test_any_registered_model_can_be_searched() -> None:
    base = {**BASE, "model": {"name": "gru", "image_size": 64}}
    given = study(base=base, space={"model.smoothness": {"uniform": [0.5, 0.99]}})
    check_space(given)
    model = settings_of(given, {"model.smoothness": 0.7}, "t").model
    assert (model["name"], model["smoothness"], model["feature_dim"]) == ("gru", 0.7, 64)
    with pytest.raises(InputError, match="smoothness must be a number in"):
        check_space(study(base=base, space={"model.smoothness": {"uniform": [0.5, 1.5]}}))


def test_a_grid_needs_choices() -> None:
    given = study(searcher={"kind": "grid"}, space={"loss.kl_weight": {"loguniform": [1e-6, 1e-2]}})
    with pytest.raises(InputError, match="a grid needs choices"):
        check_space(given)
