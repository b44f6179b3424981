"""Lengths in metres stay what they are: over seams, beside a branch of another scale, and down to the store."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from segment_fields import Truth, fields_of, make_truth

import geoflow
from geoflow import fields as field_table
from geoflow.geometry.rigid import Sim3
from geoflow.pipeline import Pipeline
from geoflow.segments import Segment
from geoflow.stage import SegmentRecord, Stage, param
from geoflow.stages.stitch import Stitch
from geoflow.stages.write import Write
from geoflow.store.index import write_segments
from geoflow.store.paths import RunPaths
from geoflow.store.verify import verify_store

HALF = 2**-11  # relative, of one rounding to float16
Fields = dict[str, np.ndarray]


def nothing(segment: Segment, fields: Fields) -> None:
    """Leave the fields as they are."""


def without(slot: str, *segments: int) -> Callable[[Segment, Fields], None]:
    """The stage of a slot fails on some segments."""

    def edit(segment: Segment, fields: Fields) -> None:
        if segment.index in segments:
            for name in [name for name in fields if name.startswith(f"{slot}.")]:
                del fields[name]

    return edit


def run(truth: Truth, metric: tuple[str, ...], edit: Callable[[Segment, Fields], None] = nothing) -> list[Fields]:
    """Stitch all segments, each by a fresh stage."""
    state: dict[str, Any] = {}
    results = []
    for segment in truth.segments:
        given = fields_of(truth, segment)
        edit(segment, given)
        stage = Stitch(Stitch.Params(metric=metric))
        stage.restore(state)
        results.append(stage.process(segment, given))
        field_table.check(results[-1], stage.outputs, optional=stage.optional_outputs, who="stitch")
        state = stage.state()
    return results


def joined(results: list[Fields], name: str) -> np.ndarray:
    return np.concatenate([result[name] for result in results])


def metric_truth(*branches: str) -> Truth:
    """Segments whose camera and geometry have scales of their own, except those that are in metres."""
    truth = make_truth()
    if "camera" in branches:
        truth.worlds = [Sim3(1.0, world.rotation, world.translation) for world in truth.worlds]
    if "geometry" in branches:
        truth.geometry_scales = [1.0] * len(truth.segments)
    return truth


def assert_in_metres(truth: Truth, results: list[Fields]) -> None:
    """Depth of both branches, and poses, are those of the truth; the first camera is the world."""
    depth, mask = joined(results, "geometry.points")[..., 2], joined(results, "geometry.mask")
    np.testing.assert_allclose(depth[mask], truth.depth[mask], rtol=4 * HALF)
    np.testing.assert_allclose(joined(results, "camera.depth"), truth.depth, rtol=4 * HALF)
    first = truth.cam_from_world[0]
    expected = Sim3(1.0, first[:3, :3], first[:3, 3]).apply_to_cameras(truth.cam_from_world)
    assert joined(results, "camera.valid").all()
    found = joined(results, "camera.cam_from_world")
    np.testing.assert_allclose(found, expected, atol=4 * HALF * np.abs(expected).max())
    assert joined(results, "stitch.metric").all()


@pytest.mark.parametrize("metric", [("geometry",), ("camera",), ("camera", "geometry")])
def test_the_other_branch_is_brought_to_metres(metric: tuple[str, ...]) -> None:
    truth = metric_truth(*metric)
    results = run(truth, metric)
    assert_in_metres(truth, results)
    # What is in metres is not scaled by as much as a rounding: only seams mix it, with itself.
    if "geometry" in metric:
        given = np.concatenate(
            [fields_of(truth, s)["geometry.points"][: len(s) - s.overlap_after] for s in truth.segments]
        )
        assert np.array_equal(joined(results, "geometry.points"), given)
    if "camera" in metric:
        given = np.concatenate(
            [fields_of(truth, s)["camera.depth"][: len(s) - s.overlap_after] for s in truth.segments]
        )
        assert np.array_equal(joined(results, "camera.depth"), given)


def test_without_the_statement_the_same_fields_are_scaled() -> None:
    truth = metric_truth("geometry")
    results = run(truth, ())
    mask = joined(results, "geometry.mask")
    ratio = joined(results, "geometry.points")[..., 2][mask] / truth.depth[mask]
    assert abs(np.median(ratio) - 1) > 0.1 and "stitch.metric" not in results[0]


def test_two_metric_branches_that_disagree_are_left_alone_and_the_ratio_is_kept() -> None:
    truth = metric_truth("camera")
    truth.geometry_scales = [1.25] * len(truth.segments)  # a network whose metres are too long
    results = run(truth, ("camera", "geometry"))
    mask = joined(results, "geometry.mask")
    depth = joined(results, "geometry.points")[..., 2]
    np.testing.assert_allclose(depth[mask], 1.25 * truth.depth[mask], rtol=4 * HALF)
    np.testing.assert_allclose(joined(results, "camera.depth"), truth.depth, rtol=4 * HALF)
    np.testing.assert_allclose(joined(results, "stitch.depth_ratio"), 1 / 1.25, rtol=2 * HALF)


@pytest.mark.parametrize(("metric", "failed"), [("geometry", 1), ("geometry", 2), ("camera", 1)])
def test_where_the_metric_branch_failed_the_other_goes_on_in_metres(metric: str, failed: int) -> None:
    truth = metric_truth(metric)
    results = run(truth, (metric,), without(metric, failed))
    other, depth_of = (
        ("camera.depth", lambda a: a) if metric == "geometry" else ("geometry.points", lambda a: a[..., 2])
    )
    depth = depth_of(joined(results, other))
    there = depth > 0
    assert there[:, 2:].all()  # nothing of the other branch is lost
    np.testing.assert_allclose(depth[there], truth.depth[there], rtol=6 * HALF)
    assert joined(results, "stitch.metric").all()


def test_a_scale_that_was_found_before_anything_was_in_metres_stays_and_is_no_metre() -> None:
    truth = metric_truth("geometry")
    results = run(truth, ("geometry",), without("geometry", 0))
    first = truth.segments[0]
    scale = 2.0 / float(np.median(truth.depth[first.start : first.stop]))
    np.testing.assert_allclose(joined(results, "camera.depth"), scale * truth.depth, rtol=4 * HALF)
    late = [r for r in results if "geometry.mask" in r]
    mask = joined(late, "geometry.mask")
    rows = truth.depth[-len(mask) :]
    np.testing.assert_allclose(joined(late, "geometry.points")[..., 2][mask], scale * rows[mask], rtol=6 * HALF)
    assert not joined(results, "stitch.metric")[1:].any() and not joined(results, "stitch.metric").all()


def test_cameras_that_share_no_depth_with_metric_geometry_have_no_place_yet() -> None:
    truth = metric_truth("geometry")

    def edit(segment: Segment, fields: Fields) -> None:
        if segment.index == 0:
            fields["camera.depth"] = np.zeros_like(fields["camera.depth"])

    results = run(truth, ("geometry",), edit)
    start = truth.segments[1].start
    valid, poses = joined(results, "camera.valid"), joined(results, "camera.cam_from_world")
    assert not valid[:start].any() and valid[truth.segments[1].stop :].all()
    assert np.isfinite(poses[:, :3, :3]).all()  # which way they look needs no scale
    assert np.isnan(results[0]["tracks.xyz"]).all()
    steps = np.linalg.norm(np.diff(_centers(poses[valid]), axis=0), axis=1)
    np.testing.assert_allclose(
        steps, np.linalg.norm(np.diff(_centers(truth.cam_from_world[valid]), axis=0), axis=1), rtol=0.01
    )
    depth = joined(results, "geometry.points")[..., 2]
    np.testing.assert_allclose(depth[:, 2:], truth.depth[:, 2:], rtol=4 * HALF)


@pytest.mark.parametrize("metric", [True, False])
def test_known_poses_keep_their_unit_and_metric_geometry_keeps_its_own_only_beside_metres(metric: bool) -> None:
    truth = make_truth(metric=metric)
    truth.video = dataclasses.replace(truth.video, given_world=True)
    truth.segments = [dataclasses.replace(segment, video=truth.video) for segment in truth.segments]
    truth.worlds = [Sim3.identity()] * len(truth.segments)  # that of the known poses
    truth.geometry_scales = [1.25] * len(truth.segments)
    results = run(truth, ("geometry",))
    np.testing.assert_allclose(joined(results, "camera.cam_from_world"), truth.cam_from_world, atol=1e-5)
    mask, depth = joined(results, "geometry.mask"), joined(results, "geometry.points")[..., 2]
    np.testing.assert_allclose(depth[mask], (1.25 if metric else 1) * truth.depth[mask], rtol=4 * HALF)
    assert all(bool(result.get("stitch.metric", [False])[0]) is metric for result in results)
    if metric:
        np.testing.assert_allclose(joined(results, "stitch.depth_ratio"), 0.8, rtol=2 * HALF)


def _centers(poses: np.ndarray) -> np.ndarray:
    return -np.einsum("nji,nj->ni", poses[:, :3, :3], poses[:, :3, 3])


@pytest.mark.parametrize(("edit", "metric"), [(nothing, True), (without("geometry", 0), False)])
def test_the_store_says_what_stitch_did(tmp_path: Path, edit: Callable[[Segment, Fields], None], metric: bool) -> None:
    truth = metric_truth("geometry")
    write = Write(Write.Params(out=str(tmp_path)))
    for segment, result in zip(truth.segments, run(truth, ("geometry",), edit)):
        write.process(segment, result)
    records = [SegmentRecord(s.index, s.start, s.stop, "complete", {}, {}) for s in truth.segments]
    done = write.finish(truth.video, records)
    assert done["metric"] is metric and verify_store(done["path"]) == []
    with geoflow.open(done["path"]) as video:
        assert video.metric is metric
        assert [row["metric"] for row in video.segments][-1] is metric
        assert any("although a stage states metres" in remark for remark in video.remarks) is not metric
        write_segments(RunPaths(str(tmp_path)), {"clip": video.file["segments"][()]})


def test_the_store_says_by_how_much_two_metres_differ(tmp_path: Path) -> None:
    truth = metric_truth("camera")
    truth.geometry_scales = [1.25] * len(truth.segments)
    write = Write(Write.Params(out=str(tmp_path)))
    for segment, result in zip(truth.segments, run(truth, ("camera", "geometry"))):
        write.process(segment, result)
    records = [SegmentRecord(s.index, s.start, s.stop, "complete", {}, {}) for s in truth.segments]
    with geoflow.open(write.finish(truth.video, records)["path"]) as video:
        assert (
            video.metric and "Depth of the camera stage is 0.80 times that of the geometry stage." in video.remarks[0]
        )


class Depth(Stage):
    """A geometry stage whose parameters say whether it gives metres."""

    slot = "geometry"
    inputs = ("frames.rgb",)
    outputs = ("geometry.points", "geometry.mask", "geometry.intrinsics")

    @dataclass(frozen=True)
    class Params(Stage.Params):
        metres: bool = param(True, "the network gives metres")

    def __init__(self, params: Stage.Params | None = None) -> None:
        super().__init__(params)
        self.metric = self.params.metres


def _pipeline(**params: object) -> Pipeline:
    slots = {
        "decode": "geoflow.stages.decode",
        "camera": "embedded.colmap",
        "geometry": f"{__name__}:Depth",
        "stitch": "geoflow.stages.stitch",
        "write": "geoflow.stages.write",
    }
    stages = [{"slot": slot, "backend": name} for slot, name in slots.items()]
    return Pipeline.from_dict({"name": "p", "stages": stages}, {f"geometry.{k}": v for k, v in params.items()})


def test_a_stage_states_metres_and_the_run_tells_stitch() -> None:
    pipe = _pipeline()
    assert pipe.metric_branches() == ("geometry",)
    bound = pipe.bound({"out": "somewhere"})
    assert bound.spec("stitch").make_stage().params.metric == ("geometry",)
    assert bound.fingerprint() == pipe.fingerprint()
    assert [row.get("metric", False) for row in pipe.to_dict()["stages"]] == [False, False, True, False, False]
    assert _pipeline(metres=False).bound({}).spec("stitch").make_stage().params.metric == ()
    assert Pipeline.load("embedded").metric_branches() == () == Pipeline.load("geometry").metric_branches()


def test_which_depth_of_tracks_needs_a_scene_at_rest() -> None:
    needs = {
        name: Pipeline.load(name).tracks_need_rest() for name in ("embedded", "tracks", "vipe", "lingbot", "objects")
    }
    assert needs == {"embedded": True, "tracks": True, "vipe": False, "lingbot": False, "objects": False}
    assert Pipeline.load("vipe").without(["prior"]).tracks_need_rest()  # then its depth is of many views
    bound = Pipeline.load("tracks").bound({})
    assert bound.spec("write").make_stage().params.tracks_need_rest
    assert bound.fingerprint() == Pipeline.load("tracks").fingerprint()


def test_cameras_that_could_not_take_the_priors_unit_are_not_in_metres() -> None:
    from geoflow.fields import UNIT_PRIOR, UNIT_TOO_FEW
    from geoflow.stages.stitch import _keeps_unit

    valid = np.array([True, True, False])
    kept = {"camera.valid": valid, "camera.unit": np.array([UNIT_PRIOR, UNIT_PRIOR, 0], np.uint8)}
    assert _keeps_unit(kept) and _keeps_unit({"camera.valid": valid})
    assert not _keeps_unit({**kept, "camera.unit": np.array([UNIT_PRIOR, UNIT_TOO_FEW, 0], np.uint8)})
