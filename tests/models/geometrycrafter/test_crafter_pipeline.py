"""Priors, codec and both pipelines against the original ones, step by step."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import golden  # noqa: E402
import golden_geometrycrafter as runners  # noqa: E402

MODEL = "geometrycrafter"


def test_priors() -> None:
    case = golden.Strict(MODEL, "priors")
    runners.priors(case)
    assert case.not_compared() == []


@pytest.mark.long
@pytest.mark.parametrize("name", ["codec", "codec_eps"])
def test_codec(name: str) -> None:
    case = golden.Strict(MODEL, name)
    runners.codec(case)
    assert case.not_compared() == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "low_memory"),
    [
        ("pipeline_determ", False),
        ("pipeline_determ_resize", False),
        ("pipeline_diff", False),
        ("pipeline_diff_cfg_resize", False),
        ("pipeline_diff_cfg_resize", True),
    ],
)
def test_pipeline(name: str, low_memory: bool) -> None:
    case = golden.Strict(MODEL, name)
    runners.pipeline(case, low_memory_usage=low_memory)
    assert case.not_compared() == []
