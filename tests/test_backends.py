"""The contract that every backend under actors/ keeps; a new file is covered without an edit here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from geoflow import backends, contract, fields
from geoflow.errors import ConfigError
from geoflow.pipeline import Pipeline
from geoflow.registry import load_models
from geoflow.segments import Segment, VideoInfo

ALL = backends.names()
FOREIGN = {spec.backend for spec in Pipeline.load("embedded").stages if spec.env}


@pytest.mark.parametrize("name", ALL)
def test_contract(name: str) -> None:
    assert contract.problems(name, run=False) == []
    stage_class = backends.load(name)
    assert backends.make_params(stage_class, {}, slot="x") == stage_class.Params()


def test_what_breaks_the_contract_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "careless.py").write_text(CARELESS)
    monkeypatch.syspath_prepend(tmp_path)
    slot, field, twice, parameter, rung = contract.problems("careless:Careless")
    assert (
        "slot is empty" in slot and field.startswith("prior.pionts is no field") and "frames.rgb stand twice" in twice
    )
    assert "parameter window has no description" in parameter and "windw" in rung
    assert contract.problems("careless:Unwritten") == ["process is not written yet"]
    (wrong,) = contract.problems("careless:Wrong")
    assert "prior.mask should be bool, found uint8" in wrong
    assert contract.problems("careless:Wrong", run=False) == [] == contract.problems("careless:Wrong", {"right": True})
    with pytest.raises(ConfigError, match="Python finds no module 'absent'"):
        contract.problems("absent:Stage")


CARELESS = """
from dataclasses import dataclass
import numpy as np
from geoflow.stage import Stage, param

class Careless(Stage):
    inputs, outputs = ("frames.rgb",), ("prior.pionts", "frames.rgb")
    ladder = ({"windw": 3},)

    @dataclass(frozen=True)
    class Params(Stage.Params):
        window: int = 5

    def process(self, segment, fields): return {}

class Unwritten(Stage):
    slot, inputs, outputs = "prior", ("frames.rgb",), ("prior.mask",)

class Wrong(Unwritten):
    @dataclass(frozen=True)
    class Params(Stage.Params):
        right: bool = param(False, "give what was declared")

    def process(self, segment, fields):
        return {"prior.mask": np.zeros(fields["frames.rgb"].shape[:3], bool if self.params.right else np.uint8)}
"""


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
    with pytest.raises(ConfigError, match="exactly one Stage, found 5"):
        backends.load("engine_stages:")


def test_geoflow_exports_exactly_this() -> None:
    import geoflow

    assert sorted(geoflow.__all__) == ["GeoFlowError", "Pipeline", "Stage", "load_run", "open", "run"]
    assert all(getattr(geoflow, name) for name in geoflow.__all__)


def test_a_segment_prints_as_its_range() -> None:
    video = VideoInfo("kitchen", "k.mp4", "", 50, 30.0, 8, 8, 8, 8)
    assert str(Segment(video, 0, 0, 24)) == "kitchen[0:24]"


@pytest.mark.parametrize("with_optional", [False, True])
@pytest.mark.parametrize("name", [n for n in ALL if n.startswith("embedded.") or n.endswith(".stitch")])
def test_where_nothing_can_be_known_nothing_is_claimed(name: str, with_optional: bool) -> None:
    if name in FOREIGN:
        pytest.skip(f"{name} runs in an environment of its own, which the env tier builds")
    stage = backends.load(name)()
    video = VideoInfo("grey", "grey.mp4", "", 6, 30.0, 48, 64, 48, 64)
    segment = Segment(video, 0, 0, 6)
    stage.setup()
    given = contract.made_up((*stage.inputs, *(stage.optional if with_optional else ())), segment)
    result = stage.process(segment, given)
    fields.check(result, stage.outputs, optional=stage.optional_outputs, who=name, num_frames=6)
    for output, array in result.items():
        if output.endswith((".mask", ".valid", ".visible")):
            assert not array.any(), f"{output} claims something"
        if output in ("camera.depth", "prior.points", "geometry.points"):
            assert not array.any(), f"{output} should be 0 where nothing is known"
