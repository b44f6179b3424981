"""The contract that every backend under actors/ keeps; a new file is covered without an edit here."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from geoflow import fields
from geoflow.backends import contract, loading
from geoflow.backends.catalogue import load_models
from geoflow.errors import ConfigError
from geoflow.files import resources
from geoflow.pipeline import Pipeline
from geoflow.segments import Segment, VideoInfo
from geoflow.store.paths import RunPaths

ALL = loading.names()
FOREIGN = {spec.backend for spec in Pipeline.load("embedded").stages if spec.env}


# What cannot run here, and where it does.
NOT_HERE = {
    **dict.fromkeys(FOREIGN, "its environment is built in the env tier"),
    "moge": "it needs weights; tests/models runs it on small ones",
    "geometrycrafter": "it needs weights; tests/models runs it on small ones",
    "instantmesh": "it needs weights; tests/models runs it on small ones",
    "lingbot": "it needs weights; tests/models runs it on small ones",
    "vipe": "it needs weights; tests/models runs it on made-up ones",
    "vipe_upstream": "it needs nvidia-vipe and a GPU; tests/models runs it with a stand-in",
    "wilor": "it needs weights and MediaPipe; tests/models runs it on small ones",
    "tapip3d": "it needs weights; tests/models runs it on small ones",
    "sam2": "it needs weights; tests/models runs it on small ones",
    "geometrycrafter_jittor": "it needs Jittor; tests/models/geometrycrafter_jittor runs it",
    "geoflow.stages.decode": "it reads a file; tests/video/test_video.py runs it",
}


@pytest.mark.parametrize("name", ALL)
def test_contract(name: str) -> None:
    assert contract.problems(name, run=False) == []
    stage_class = loading.load(name)
    assert loading.make_params(stage_class, {}, slot="x") == stage_class.Params()


@pytest.mark.parametrize("name", ALL)
def test_contract_with_a_run(name: str, tmp_path: Path) -> None:
    if name in NOT_HERE:
        pytest.skip(NOT_HERE[name])
    params = {}
    if name.endswith(".write"):
        params["out"] = str(tmp_path)
        RunPaths(tmp_path).events.touch()  # as a run has it that writes here
    assert contract.problems(name, params) == []


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


def test_a_stage_that_works_on_spans_surveys_before_it_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spanning.py").write_text(SPANNING)
    monkeypatch.syspath_prepend(tmp_path)
    assert contract.problems("spanning:Good") == []
    assert contract.problems("spanning:Unwritten") == ["survey is not written yet, and span is video"]
    (unknown,) = contract.problems("spanning:Unknown")
    assert unknown == "span should be one of segment, chapter, video, object, found 'scene'"
    (ordered,) = contract.problems("spanning:Ordered")
    assert "an ordered stage sees all segments of a video anyway" in ordered
    (listed,) = contract.problems("spanning:Listed")
    assert "survey should return a dict of numpy arrays, found list" in listed
    (fickle,) = contract.problems("spanning:Fickle")
    assert "gave another span.frames for the same segment a second time" in fickle


SPANNING = """
import itertools
import numpy as np
from geoflow.stage import Stage

class Good(Stage):
    slot, span, inputs, outputs = "hands", "chapter", ("frames.rgb",), ("camera.valid",)

    def survey(self, span, read):
        return {"frames": np.concatenate([piece["frames.index"] for piece in read()])}

    def process(self, segment, fields):
        start, stop = fields["span.range"]
        assert start <= segment.start < segment.stop <= stop and len(fields["span.frames"]) == stop - start
        return {"camera.valid": np.zeros(len(segment), bool)}

class Unwritten(Good):
    span, survey = "video", Stage.survey

class Unknown(Good):
    span = "scene"

class Ordered(Good):
    ordered = True

class Listed(Good):
    def survey(self, span, read): return [1]

class Fickle(Good):
    count = itertools.count()
    def survey(self, span, read): return {"frames": super().survey(span, read)["frames"] + next(self.count)}
"""


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


LEAKY = """
import numpy as np
from geoflow.stage import Stage

class Leaky(Stage):
    slot, inputs, outputs = "prior", ("frames.rgb",), ("prior.mask",)
    count = 0

    def process(self, segment, fields):
        Leaky.count += 1
        return {"prior.mask": np.full(fields["frames.rgb"].shape[:3], Leaky.count % 2 == 0)}

class Torn(Leaky):
    ladder = ({},)
    def process(self, segment, fields):
        if len(segment) < 6: return {"prior.mask": np.zeros((9, 48, 64), bool)}
        return {"prior.mask": np.zeros(fields["frames.rgb"].shape[:3], bool)}

class Claims(Leaky):
    outputs = ("camera.depth", "camera.valid")
    def process(self, segment, fields):
        return {"camera.depth": np.full((6, 48, 64), np.inf, np.float16), "camera.valid": np.ones(6, bool)}

class Forgets(Stage):
    slot, inputs, outputs, ordered = "stitch", ("frames.index",), ("stitch.scale",), True
    def setup(self): self.seen = 0
    def process(self, segment, fields):
        self.seen += 1
        return {"stitch.scale": np.array([self.seen], np.float32)}
    def state(self): return {"seen": self.seen}

class Pickles(Forgets):
    def state(self): return {"seen": {1, 2}}

class Ends(Forgets):
    def restore(self, state): self.seen = state.get("seen", 0)
    def finish(self, video, records): return {"records": {len(records)}}
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Leaky", "gave another prior.mask for the same segment a second time"),
        ("Torn", "leaky:Torn in halves: prior.mask should have T=6"),
        ("Claims", "camera.depth should be finite, found 3072 infinite values"),
        ("Forgets", "gave another stitch.scale after a new actor took over"),
        ("Pickles", "state should hold arrays and plain values that JSON has"),
        ("Ends", "finish should return plain values that JSON has"),
    ],
)
def test_what_only_a_run_shows_is_named(name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaky.py").write_text(LEAKY)
    monkeypatch.syspath_prepend(tmp_path)
    assert contract.problems(f"leaky:{name}", run=False) == []
    (found,) = contract.problems(f"leaky:{name}")
    assert said in found


def test_what_is_missing_around_a_backend_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = load_models()
    monkeypatch.setattr(contract, "load_models", lambda: {k: v for k, v in known.items() if k != "embedded.klt"})
    (entry,) = contract.problems("embedded.klt")
    assert entry == "configs/models.yaml has no entry embedded.klt: state its licence, weights and memory"
    monkeypatch.setattr("actors.moge.MoGe.weights", lambda self: {"v9": ""})
    (weights,) = contract.problems("moge")
    assert "moge needs the weights 'v9', which configs/models.yaml does not pin" in weights
    monkeypatch.undo()
    (tmp_path / "mediapipe.yaml").write_text("pip: [mediapipe==")
    monkeypatch.setattr(resources, "find_yaml", lambda folder, name: tmp_path / f"{name}.yaml")
    monkeypatch.setattr(
        "geoflow.planning.environment_listing.users", lambda: {"mediapipe": [{"backend": "embedded.mediapipe_hands"}]}
    )
    (environment,) = contract.problems("embedded.mediapipe_hands")
    assert environment.startswith("environment mediapipe: ") and "is not valid YAML" in environment


def test_declarations_import_without_the_heavy_libraries() -> None:
    """A model's environment has only numpy: importing a backend must not pull in what the core runs on."""
    code = (
        "import sys; from geoflow.backends import loading\n"
        f"for name in {ALL!r}: loading.load(name)\n"
        "heavy = {'ray', 'h5py', 'pydantic', 'pycolmap', 'cv2', 'av', 'torch', 'mediapipe', 'scipy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_wrong_names_are_explained() -> None:
    with pytest.raises(ConfigError, match=r"there are: .*embedded\."):
        loading.load("embedded.nothing")
    with pytest.raises(ConfigError, match=r"exactly one Stage, found [2-9]"):
        loading.load("engine_stages:")


def test_geoflow_exports_exactly_this() -> None:
    import geoflow

    classes = ["GeoFlowError", "Pipeline", "Run", "RunResult", "Stage", "Video"]
    assert sorted(geoflow.__all__) == [*classes, "__version__", "compare", "load_run", "open", "run", "scan"]
    assert dir(geoflow) == sorted(geoflow.__all__) and all(getattr(geoflow, name) for name in geoflow.__all__)
    assert geoflow.__version__ == importlib.metadata.version("geoflow-video")
    with pytest.raises(AttributeError, match="'geoflow' has no attribute 'opne'"):
        geoflow.opne  # noqa: B018


def test_a_segment_prints_as_its_range() -> None:
    video = VideoInfo("kitchen", "k.mp4", "", 50, 30.0, 8, 8, 8, 8)
    assert str(Segment(video, 0, 0, 24)) == "kitchen[0:24]"


@pytest.mark.parametrize("with_optional", [False, True])
@pytest.mark.parametrize("name", [n for n in ALL if n.startswith("embedded.") or n.endswith(".stitch")])
def test_where_nothing_can_be_known_nothing_is_claimed(name: str, with_optional: bool) -> None:
    if name in FOREIGN:
        pytest.skip(f"{name} runs in an environment of its own, which the env tier builds")
    stage = loading.load(name)()
    if stage.span == "object":
        pytest.skip(f"{name} works on objects, and has no segments; the contract gives it one")
    video = VideoInfo("grey", "grey.mp4", "", 6, 30.0, 48, 64, 48, 64)
    segment = Segment(video, 0, 0, 6)
    stage.setup()
    given = contract.made_up((*stage.inputs, *(stage.optional if with_optional else ())), segment)
    result = stage.process(segment, {**given, **contract.surveyed(stage, segment, given, name)})
    fields.check(result, stage.outputs, optional=stage.optional_outputs, who=name, num_frames=6)
    for output, array in result.items():
        if output.endswith((".mask", ".valid", ".visible")):
            assert not array.any(), f"{output} claims something"
        if output in ("camera.depth", "prior.points", "geometry.points"):
            assert not array.any(), f"{output} should be 0 where nothing is known"
