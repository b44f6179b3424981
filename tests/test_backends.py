"""The contract that every backend under actors/ keeps; a new file is covered without an edit here."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from geoflow import backends, fields
from geoflow.errors import ConfigError
from geoflow.pipeline import Pipeline
from geoflow.registry import load_models
from geoflow.segments import Segment, VideoInfo
from geoflow.stage import Stage

ALL = backends.names()
FOREIGN = {spec.backend for spec in Pipeline.load("embedded").stages if spec.env}


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
        "heavy = {'ray', 'h5py', 'pydantic', 'pycolmap', 'cv2', 'av', 'torch', 'mediapipe', 'scipy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
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


def made_up(names: tuple[str, ...], segment: Segment) -> dict[str, np.ndarray]:
    """Fields of the right form in which nothing can be known: grey pictures, everything invalid."""
    size = {"T": len(segment), "F": len(segment), "H": segment.video.height, "W": segment.video.width, "N": 0}
    arrays = {}
    for name in names:
        row = fields.field(name)
        shape = [size.get(symbol) or int(symbol) if symbol != "N" else 0 for symbol in row.shape.split()]
        arrays[name] = np.full(shape, 128 if name == "frames.rgb" else 0, row.dtype)
        if name.endswith("intrinsics"):
            arrays[name][:] = segment_camera(segment)
        if name.endswith("cam_from_world"):
            arrays[name][:] = np.nan
        if name in ("frames.index", "frames.time"):
            arrays[name] = np.arange(len(segment)).astype(row.dtype)
        arrays[name].flags.writeable = False  # as they come out of the object store
    return arrays


def segment_camera(segment: Segment) -> np.ndarray:
    width, height = segment.video.width, segment.video.height
    return np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], np.float32)


@pytest.mark.parametrize("with_optional", [False, True])
@pytest.mark.parametrize("name", [n for n in ALL if n.startswith("embedded.") or n.endswith(".stitch")])
def test_where_nothing_can_be_known_nothing_is_claimed(name: str, with_optional: bool) -> None:
    if name in FOREIGN:
        pytest.skip(f"{name} runs in an environment of its own, which the env tier builds")
    stage = backends.load(name)()
    video = VideoInfo("grey", "grey.mp4", "", 6, 30.0, 48, 64, 48, 64)
    segment = Segment(video, 0, 0, 6)
    stage.setup()
    given = made_up((*stage.inputs, *(stage.optional if with_optional else ())), segment)
    result = stage.process(segment, given)
    fields.check(result, stage.outputs, optional=stage.optional_outputs, who=name, num_frames=6)
    for output, array in result.items():
        if output.endswith((".mask", ".valid", ".visible")):
            assert not array.any(), f"{output} claims something"
        if output in ("camera.depth", "prior.points", "geometry.points"):
            assert not array.any(), f"{output} should be 0 where nothing is known"
