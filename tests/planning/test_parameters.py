"""`geoflow params`: everything that can be set, nothing that cannot, and which names select what."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest
from plain_pipeline import PLAIN
from rich.console import Console

from geoflow.errors import ConfigError
from geoflow.pipeline import Pipeline
from geoflow.planning.parameters import EVERY_STAGE, choose, render_parameters, settings_of_pipeline, written
from geoflow.stage import bound_by_run
from geoflow.values.yaml_text import parse_yaml


@pytest.mark.parametrize("name", ["embedded", "geometry"])
def test_every_row_can_be_set_to_its_own_value(name: str) -> None:
    """As the command line would: the value is written, and read as YAML."""
    pipe = Pipeline.load(name)
    for row in settings_of_pipeline(pipe):
        assert row.meaning and row.kind, row.setting
        setting = row.setting.replace("STAGE", "camera" if name == "embedded" else "prior")
        if setting in ("prior.optional", "camera.env"):
            continue
        changed = pipe.with_setting(setting, parse_yaml(written(row.value), setting))
        assert changed.segment == pipe.segment, setting


def test_nothing_internal_is_listed() -> None:
    pipe = Pipeline.load("embedded")
    listed = {row.setting for row in settings_of_pipeline(pipe)}
    for spec in pipe.stages:
        params = spec.stage_class().Params
        own = {f"{spec.slot}.{row.name}" for row in dataclasses.fields(params)}
        hidden = {f"{spec.slot}.{name}" for name in bound_by_run(params)}
        assert own - hidden <= listed and not hidden & listed
    assert not {"name", "stages", "reading", "write.owner"} & listed


def test_a_name_selects_a_stage_a_parameter_or_a_pipeline(tmp_path: Path) -> None:
    assert {row.group for row in choose(["camera"])[1]} == {"camera"}
    assert [row.setting for row in choose(["hands.max_gap", "segment"])[1]] == [
        "hands.max_gap",
        "segment.size",
        "segment.overlap",
    ]
    pipe, rows, notes = choose(["geometry"])
    assert pipe.name == "embedded" and {row.group for row in rows} == {"geometry"}
    assert notes == ["geometry is a pipeline, too: geoflow params --pipeline geometry"]
    (tmp_path / "plain.yaml").write_text(PLAIN)
    pipe, rows, notes = choose([str(tmp_path / "plain.yaml")])
    assert pipe.name == "plain" and rows[-1].group == EVERY_STAGE and not notes
    assert choose([])[1] == settings_of_pipeline(Pipeline.load("embedded"))
    with pytest.raises(ConfigError, match=r"camra: .*no such stage or parameter; it has: pipeline, segment, decode"):
        choose(["camra"])


def test_a_value_that_differs_from_the_default_is_shown_with_it() -> None:
    pipe, rows, notes = choose(["geometry", "camera"])
    text = io.StringIO()
    Console(file=text, width=80).print(render_parameters(pipe, rows, notes))
    assert "true (default: false)" in " ".join(text.getvalue().split())
    assert "camera.chapter" in text.getvalue() and "geometry: embedded.temporal_fusion" in text.getvalue()
    assert max(map(len, text.getvalue().splitlines())) <= 80


def test_the_message_on_a_misspelt_parameter_lists_only_what_can_be_set() -> None:
    with pytest.raises(ConfigError, match="no such parameter") as error:
        Pipeline.load("embedded", {"write.rbg": True})
    assert "rgb" in str(error.value) and "owner" not in str(error.value)
