"""Settings: what a YAML, an override and a typo lead to."""

from __future__ import annotations

from pathlib import Path

import pytest

from reactdist.config import apply_overrides, flatten, load, parse, resolved, to_yaml
from reactdist.errors import InputError
from reactdist.train.settings import TrainSettings
from reactdist.tune.settings import StudySettings

CONFIGS = Path(__file__).parent.parent / "configs"


def test_overrides_are_read_as_yaml_and_scientific_numbers_are_numbers() -> None:
    values = apply_overrides({"a": {"b": 1}}, ["a.b=1e-4", "a.c=[8, 16]", "d=text", "e=null"])
    assert values == {"a": {"b": 1e-4, "c": [8, 16]}, "d": "text", "e": None}


def test_overrides_leave_what_they_are_given() -> None:
    given = {"a": {"b": 1}}
    apply_overrides(given, ["a.b=2"])
    assert given == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optimizer.lrr=1", "did you mean 'lr'?"),
        ("optimiser.lr=1", "did you mean 'optimizer'?"),
        ("model.window_sise=8", "did you mean 'window_size'?"),
        ("model.num_heads=3", "num_heads"),
        ("model.window_size=64", "window"),
        ("epochs=0", "epochs"),
        ("batch_size=6", "batch_size 6"),
        ("optimizer.schedule=linear", "schedule"),
        ("engine.compile=true", "engine.compile needs whole parameters"),
        ("validation.objective.terms={loss: 1}", "KL weight being searched"),
        ("validation.objective.terms={FRCor: 1}", "did you mean 'FRCorr'?"),
        ("optimizer", "not key=value"),
    ],
)
def test_bad_settings_are_one_line_that_names_the_key(
    tmp_path: Path, override: str, said: str
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(
        "model: {task: online, window_size: 8}\ndata: {crop_frames: 32}\nworkers: {count: 4}\n"
        "engine: {zero_stage: 3}\n"
    )
    with pytest.raises(InputError) as raised:
        load(TrainSettings, config, [override])
    line = raised.value.line()
    assert said in line
    assert "\n" not in line


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1\n"])
def test_a_config_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(text)
    with pytest.raises(InputError, match=r"run\.yaml"):
        load(TrainSettings, config)


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml"):
        load(TrainSettings, tmp_path / "nowhere.yaml")


def test_resolved_settings_load_again_and_say_everything() -> None:
    settings = TrainSettings(model={"name": "transvae", "task": "online"})
    again = parse(TrainSettings, resolved(settings))
    assert again == settings
    assert resolved(settings)["model"]["feature_dim"] == 128
    assert "kl_weight: 1.0e-05" in to_yaml(settings)


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda p: p.name)
def test_every_shipped_config_resolves_and_builds_its_model(path: Path) -> None:
    from reactdist.models.registry import build_model
    from reactdist.train.quality import QualitySettings
    from reactdist.tune.space import check_space

    if "models:" in path.read_text():
        quality = load(QualitySettings, path)
        run = quality.run(list(quality.models)[-1], 0, Path())
    elif "space:" in path.read_text() or "study:" in path.read_text():
        study = load(StudySettings, path)
        check_space(study)
        run = study.base
    else:
        run = load(TrainSettings, path)
    values = dict(run.model)
    model = build_model(values.pop("name"), values)
    assert sum(p.numel() for p in model.parameters()) > 1000


def test_study_settings_survive_a_round_trip() -> None:
    study = StudySettings()
    assert parse(StudySettings, resolved(study)) == study
    assert "base.optimizer.lr" in flatten(resolved(study))


def test_only_a_model_with_parts_to_compile_is_compiled() -> None:
    parse(TrainSettings, {"engine": {"compile": True}})
    with pytest.raises(InputError, match=r"engine\.compile: gru has no parts to compile"):
        parse(TrainSettings, {"engine": {"compile": True}, "model": {"name": "gru"}})
