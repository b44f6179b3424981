"""Pipelines: what the files say, what may be overridden, how inputs bind, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from geoflow.engine.graph import PROBE, Graph
from geoflow.errors import ConfigError
from geoflow.pipeline import Pipeline

DECODE = {"slot": "decode", "backend": "engine_stages:Source"}
PRIOR = {"slot": "prior", "backend": "engine_stages:Prior"}
MASK = {"slot": "geometry", "backend": "engine_stages:Mask"}
SUM = {"slot": "stitch", "backend": "engine_stages:Sum"}


def make(*stages: dict[str, Any], **overrides: Any) -> Pipeline:
    return Pipeline.from_dict({"name": "t", "stages": list(stages)}, overrides or None)


def graph(pipe: Pipeline) -> Graph:
    return Graph.build([(s.slot, s.make_stage(), s.optional) for s in pipe.stages])


def test_inputs_bind_to_the_nearest_giver_above() -> None:
    built = graph(make(DECODE, PRIOR, MASK, SUM))
    assert built.steps[0].sources == {"video.index": PROBE}
    assert built.steps[2].sources == {"frames.rgb": 0, "prior.mask": 1}
    assert built.steps[3].sources == {"frames.index": 0, "prior.mask": 1, "geometry.mask": 2}
    assert [n.depth for n in built.steps] == [0, 1, 2, 3]
    assert built.consumers[1, "prior.mask"] == (2, 3)
    assert built.children[1] == (2, 3)


def test_branches_do_not_wait_for_each_other() -> None:
    built = graph(Pipeline.load("embedded"))
    by_slot = {n.slot: n for n in built.steps if not n.surveys}
    camera = {s.index for s in built.steps if s.slot in ("decode", "camera")}
    assert by_slot["prior"].parents <= camera  # it judges what the camera stage gives, and has its lens
    assert by_slot["tracks"].parents.isdisjoint({by_slot["prior"].index, by_slot["geometry"].index})
    survey = next(n for n in built.steps if n.surveys)
    assert survey.slot == "camera" and survey.parents == set()
    assert by_slot["camera"].parents == {by_slot["decode"].index, survey.index}
    assert by_slot["stitch"].index in by_slot["write"].parents


def test_overrides_reach_parameters_resources_and_segments() -> None:
    pipe = Pipeline.load("embedded", {"write.rgb": True, "camera.actors": 3, "segment.size": 60})
    assert pipe.spec("write").make_stage().params.rgb is True
    assert pipe.spec("camera").actors == 3
    assert pipe.segment.size == 60


def test_too_short_segments_name_the_overlap_and_values_that_go_together() -> None:
    with pytest.raises(ConfigError, match=r"set segment\.overlap=20, too, or segment\.size=48 or more") as error:
        Pipeline.load("embedded", {"segment.size": 40})
    assert "segment.overlap should be at most half of segment.size, found 24 and 40" in str(error.value)
    Pipeline.load("embedded", {"segment.size": 40, "segment.overlap": 20})
    Pipeline.load("embedded", {"segment.size": 48})


def test_stages_are_left_out_unless_others_need_them() -> None:
    pipe = Pipeline.load("embedded")
    slots = [spec.slot for spec in pipe.without(["hands", "tracks"]).stages]
    assert slots == ["decode", "camera", "prior", "geometry", "objects", "stitch", "write"]
    assert pipe.without([]) == pipe
    with pytest.raises(ConfigError, match="--without hnds: pipeline 'embedded' has no such stage; it has: decode, "):
        pipe.without(["hands", "hnds"])
    with pytest.raises(
        ConfigError, match=r"--without prior: geometry cannot work .*; add it: --without prior,geometry$"
    ):
        pipe.without(["prior"])
    assert {spec.slot for spec in pipe.without(["prior", "geometry"]).stages} == {*slots, "tracks", "hands"} - {
        "prior",
        "geometry",
    }
    with pytest.raises(ConfigError, match=r"--without decode: camera, .* add them: --without decode,camera,"):
        pipe.without(["decode"])


def test_whatever_is_a_pipelines_own_can_be_set() -> None:
    pipe = Pipeline.load("embedded", {"hung_after": 5, "keep_fields": True})
    assert (pipe.hung_after, pipe.keep_fields) == (5.0, True)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("camera.windw", 3, "camera.windw: no such parameter; camera has: "),
        ("camra.window", 3, "has no stage 'camra'"),
        ("write.compression", "lots", "write.compression: .*valid integer.*'lots'"),
        ("camera.actors", 0, "camera.actors: .*greater than or equal to 1, found 0"),
        ("segment.overlap", 90, "at most half"),
        ("camera", 1, "camera: no such parameter; .*stage.param=value"),
        ("hung_aftr", 5, "hung_aftr: no such parameter; pipeline 'embedded' has: .*hung_after"),
        ("hung_after", "soon", "hung_after: .*valid number.*found 'soon'"),
        ("hung_after", 0, "hung_after: .*greater than 0, found 0"),
        ("keep_fields", "perhaps", "keep_fields: .*valid boolean.*found 'perhaps'"),
        ("name", "mine", "name: no such parameter"),
    ],
)
def test_wrong_overrides_are_refused_by_name(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Pipeline.load("embedded", {key: value})


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([PRIOR], "prior needs frames.rgb, which no stage above it gives"),
        ([DECODE, DECODE], "more than once: decode"),
        ([{"slot": "decode", "backend": "nowhere"}], "unknown backend 'nowhere'; there are: .*embedded"),
        ([{**DECODE, "paramz": {}}], "paramz"),
    ],
)
def test_broken_pipelines_are_refused(stages: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(*stages)


def test_a_prior_of_some_frames_only_is_refused_where_all_are_fused() -> None:
    """Fused, one frame in ten would be a store with depth in one frame in ten that says "complete"."""
    sparse = {"geometry.from_camera": False}
    refusal = r"geometry needs prior\.points in every frame.*set prior\.every=1$"
    with pytest.raises(ConfigError, match=refusal):
        Pipeline.load("embedded", sparse)
    Pipeline.load("embedded", {**sparse, "prior.every": 1})
    stages = [{**row, "params": {}} for row in Pipeline.load("embedded").model_dump()["stages"]]
    other = [{**row, "backend": "geometrycrafter"} if row["slot"] == "geometry" else row for row in stages]
    with pytest.raises(ConfigError, match=refusal):
        Pipeline.from_dict({"name": "p", "stages": other})


def test_a_prior_without_a_camera_above_it_computes_all_frames() -> None:
    raw = Pipeline.load("embedded").model_dump()
    stages = {row["slot"]: row for row in raw["stages"]}
    geometry = {**stages["geometry"], "params": {}}
    order = [stages["decode"], stages["prior"], geometry, stages["camera"], stages["stitch"], stages["write"]]
    Pipeline.from_dict({"name": "p", "stages": order})


def test_files_are_checked(tmp_path: Path) -> None:
    broken = tmp_path / "p.yaml"
    broken.write_text("stages: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        Pipeline.load(broken)
    with pytest.raises(ConfigError, match="no such file"):
        Pipeline.load(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="there are: embedded"):
        Pipeline.load("embeded")


def test_another_environment_is_other_work(tmp_path: Path) -> None:
    def fingerprint(text: str) -> str:
        (tmp_path / "env.yaml").write_text(text)
        return Pipeline.load("embedded", {"hands.env": str(tmp_path / "env.yaml")}).fingerprint()

    assert fingerprint("pip: [a==1]") == fingerprint("pip: [a==1]  # the same") != fingerprint("pip: [a==2]")


def test_the_fingerprint_follows_what_shapes_results_only() -> None:
    base = Pipeline.load("embedded").fingerprint()
    assert Pipeline.load("embedded", {"camera.actors": 2}).fingerprint() == base
    assert Pipeline.load("embedded").bound({"out": "elsewhere", "pipeline": "{}"}).fingerprint() == base
    assert Pipeline.load("embedded", {"segment.size": 60}).fingerprint() != base
    assert Pipeline.load("embedded", {"write.rgb": True}).fingerprint() != base


def test_a_store_is_told_the_licence_and_the_weights_of_its_models() -> None:
    stages = {stage["slot"]: stage for stage in Pipeline.load("geometry").to_dict()["stages"]}
    (weights,) = stages["prior"]["weights"]
    assert stages["prior"]["licence"] == "MIT" and re.fullmatch(r"\S+/moge\S*@[0-9a-f]{40}", weights)
    assert "academic" in stages["geometry"]["licence"] and len(stages["geometry"]["weights"]) == 3
    assert stages["geometry"]["params"]["seed"] == 42 and "weights" not in stages["decode"]


def test_an_environment_that_is_named_like_its_backend_follows_it() -> None:
    """Another environment, and one without a backend's name, are the user's own choice."""
    pipe = Pipeline.load("geometry")
    assert (
        pipe.with_setting("geometry.backend", "geometrycrafter_jittor").spec("geometry").env == "geometrycrafter_jittor"
    )
    mine = pipe.with_setting("geometry.env", "moge").with_setting("geometry.backend", "geometrycrafter_jittor")
    assert mine.spec("geometry").env == "moge"
    assert Pipeline.load("embedded").with_setting("tracks.backend", "tapip3d").spec("tracks").env is None


def test_geometry_jittor_is_geometry_with_another_backend() -> None:
    other = Pipeline.load("geometry", {"geometry.backend": "geometrycrafter_jittor"})
    assert [spec.model_dump() for spec in Pipeline.load("geometry-jittor").stages] == [
        spec.model_dump() for spec in other.stages
    ]
