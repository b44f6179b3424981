"""The contract that every backend under actors/ keeps; a new file is covered without an edit here."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from geoflow import backends, fields
from geoflow.errors import ConfigError
from geoflow.licences import load_models
from geoflow.segments import Segment, VideoInfo
from geoflow.stage import Stage

ALL = backends.names()


@pytest.mark.parametrize("name", ALL)
def test_contract(name: str) -> None:
    stage_class = backends.load(name)
    assert stage_class.slot
    declared = [*stage_class.inputs, *stage_class.optional, *stage_class.outputs, *stage_class.optional_outputs]
    assert all(row in fields.FIELDS for row in declared)
    assert len(set(declared)) == len(declared) or stage_class.ordered  # only ordered stages rewrite what they read
    assert stage_class.process is not Stage.process
    for row in dataclasses.fields(stage_class.Params):
        assert row.metadata.get("help"), f"{name}: parameter {row.name} has no description"
    for rung in stage_class.ladder:
        backends.make_params(stage_class, rung, slot=stage_class.slot)
    assert backends.make_params(stage_class, {}, slot="x") == stage_class.Params()


@pytest.mark.parametrize("name", [name for name in ALL if not name.startswith("geoflow.")])
def test_licence_is_stated(name: str) -> None:
    assert name in load_models(), f"configs/models.yaml has no entry for {name}"


def test_declarations_import_without_the_heavy_libraries() -> None:
    """A model's environment has only numpy: importing a backend must not pull in what the core runs on."""
    code = (
        "import sys; from geoflow import backends\n"
        f"for name in {ALL!r}: backends.load(name)\n"
        "heavy = {'ray', 'h5py', 'pydantic', 'pycolmap', 'cv2', 'av', 'torch', 'mediapipe', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_wrong_names_are_explained() -> None:
    with pytest.raises(ConfigError, match=r"there are: .*embedded\."):
        backends.load("embedded.nothing")
    with pytest.raises(ConfigError, match="exactly one Stage, found 4"):
        backends.load("engine_stages:")


def test_geoflow_exports_exactly_this() -> None:
    import geoflow

    assert sorted(geoflow.__all__) == ["GeoFlowError", "Pipeline", "Stage", "load_run", "open", "run"]
    assert all(getattr(geoflow, name) for name in geoflow.__all__)


def test_a_segment_prints_as_its_range() -> None:
    video = VideoInfo("kitchen", "k.mp4", "", 50, 30.0, 8, 8, 8, 8)
    assert str(Segment(video, 0, 0, 24)) == "kitchen[0:24]"
