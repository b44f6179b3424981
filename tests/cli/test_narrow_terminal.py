"""What is listed on a terminal of 80 columns: no column is cut off, and no line is longer."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import clips
import pytest
from rich.console import Console

from geoflow.backends.catalogue import describe_models, render_models
from geoflow.planning.environment_listing import list_environments, render_environments
from geoflow.planning.parameters import choose, render_parameters
from geoflow.planning.plan import make_plan
from geoflow.planning.plan_table import render_plan


def shown(what: Any) -> str:
    """The text at 80 columns; its lines must fit, and nothing may be shortened."""
    file = io.StringIO()
    Console(file=file, width=80).print(what)
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= 80 and "\u2026" not in text
    return "".join(text.split())  # long texts are folded


def test_models() -> None:
    text = shown(render_models(describe_models()))
    assert "stabilityai/stable-video-diffusion-img2vid-xt@9e439095" in text and "embedded.mediapipe_hands" in text


def test_environments() -> None:
    text = shown(render_environments(list_environments()))
    assert "dlr-utils3d==1.3" in text and "embedded.mediapipe_hands(embedded.hands)" in text


@pytest.mark.parametrize("name", ["embedded", "geometry"])
def test_parameters(name: str) -> None:
    text = shown(render_parameters(*choose([], name)))
    assert "stitch.median_depth2.0" in text and "STAGE.num_cpus" in text


@pytest.mark.parametrize("name", ["embedded", "geometry"])
def test_a_plan(name: str, tmp_path: Path) -> None:
    clips.write(tmp_path / "a_desk_by_day.mp4", 6)
    text = shown(render_plan(make_plan([str(tmp_path / "a_desk_by_day.mp4")], name, gpus=4)))
    assert "a_desk_by_day" in text and "licence" in text and "stitchCPU1of1thread" in text
