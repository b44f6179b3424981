"""What is kept of a run for the pools of the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from geoflow.engine.profile import Measured, apply_profile, keep_profile, known_stages, profile_path
from geoflow.pipeline import Pipeline


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOFLOW_CACHE", str(tmp_path))


def pipeline(**settings: Any) -> Pipeline:
    stages = [
        {"slot": "decode", "backend": "engine_stages:Source"},
        {"slot": "prior", "backend": "engine_stages:Prior", "weight": 1.0, "num_gpus": "auto", "gpu_memory": "auto"},
        {"slot": "geometry", "backend": "engine_stages:Mask", "weight": 1.0},
    ]
    return Pipeline.from_dict({"name": "p", "stages": stages}, {k.replace("__", "."): v for k, v in settings.items()})


def stage(pipe: Pipeline, slot: str) -> Any:
    return next(spec for spec in pipe.stages if spec.slot == slot)


def test_the_next_run_starts_with_what_was_measured() -> None:
    keep_profile(pipeline(), {"prior": Measured(4.0, 100, 20, 80), "geometry": Measured(0.5, 100)})
    known = apply_profile(pipeline())
    assert (stage(known, "prior").weight, stage(known, "geometry").weight) == (4.0, 0.5)
    assert stage(known, "prior").gpu_memory == stage(known, "prior").num_gpus == pytest.approx(1 / 3)
    assert stage(known, "decode").weight == 0, "it has no part in sizing, and stays out of it"


def test_other_parameters_are_another_stage() -> None:
    keep_profile(pipeline(), {"prior": Measured(4.0, 100, 20, 80), "geometry": Measured(0.5, 100)})
    other = pipeline(prior__mode="slow")
    assert apply_profile(other) == other


def test_weights_are_taken_over_all_or_none() -> None:
    keep_profile(pipeline(), {"prior": Measured(4.0, 100, 20, 80)})
    known = apply_profile(pipeline())
    assert stage(known, "prior").weight == 1.0 and stage(known, "prior").gpu_memory == pytest.approx(1 / 3)


def test_the_largest_frames_count() -> None:
    keep_profile(pipeline(), {"prior": Measured(4.0, 400, 40, 80), "geometry": Measured(0.5, 400)})
    keep_profile(pipeline(), {"prior": Measured(1.0, 100, 10, 80), "geometry": Measured(9.0, 100)})
    assert stage(apply_profile(pipeline()), "prior").weight == 4.0


def test_a_run_without_a_measurement_keeps_the_old_one() -> None:
    keep_profile(pipeline(), {"prior": Measured(4.0, 100, 20, 80), "geometry": Measured(0.5, 100)})
    keep_profile(pipeline(), {"prior": Measured(5.0, 100), "geometry": Measured(0.5, 100)})
    assert stage(apply_profile(pipeline()), "prior").gpu_memory == pytest.approx(1 / 3)


@pytest.mark.parametrize("text", ["", "[1]", '{"a": {"bad": 1}}', '{"a": 3}'])
def test_a_damaged_cache_is_ignored(text: str) -> None:
    profile_path().write_text(text)
    assert apply_profile(pipeline()) == pipeline()


def test_another_kind_of_gpu_is_measured_anew() -> None:
    keep_profile(pipeline(), {"prior": Measured(4.0, 100, 20, 80), "geometry": Measured(0.5, 100)}, "A100")
    assert stage(apply_profile(pipeline(), "A100"), "prior").gpu_memory == pytest.approx(1 / 3)
    assert stage(apply_profile(pipeline(), "T4"), "prior").gpu_memory == "auto"
    assert known_stages(pipeline(), "T4") == {"geometry": Measured(0.5, 100)}, "that one does not need a GPU"
