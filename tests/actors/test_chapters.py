"""Cameras recovered for a chapter of the video at a time, and geometry that takes their depth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import plane_scene
import pytest

from actors.embedded.colmap import Colmap, chapter_of
from actors.embedded.temporal_fusion import TemporalFusion
from geoflow import fields
from geoflow.engine.graph import Graph
from geoflow.geometry.depth.edge_aware import spread
from geoflow.geometry.motion import structure
from geoflow.pipeline import Pipeline
from geoflow.segments import Segment, VideoInfo, plan_segments
from geoflow.video.probe import probe

COUNT = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of a walk past two planes."""
    out = tmp_path_factory.mktemp("walk")
    for i, rgb in enumerate(plane_scene.render(plane_scene.walk(COUNT, turn=0.006), 120, 160).rgb):
        cv2.imwrite(str(out / f"{i:03d}.png"), rgb[..., ::-1])
    return out


def _segments(folder: Path) -> tuple[list[Segment], dict[str, np.ndarray]]:
    info, found = probe(str(folder), "walk")
    return list(plan_segments(info, 14, 4)), found


def _process(stage: Colmap, segment: Segment, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    from geoflow.video import frame_reader

    rgb = frame_reader.read_frames(segment.video, found["video.index"], found["video.pts"], segment.start, segment.stop)
    out = stage.process(segment, {**found, "frames.rgb": rgb})
    fields.check(out, stage.outputs, who="camera", num_frames=len(segment))
    return out


@pytest.mark.long
def test_the_segments_of_a_chapter_share_one_world_worked_out_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    whole = structure.reconstruct
    monkeypatch.setattr(structure, "reconstruct", lambda *args, **kw: (calls.append(1), whole(*args, **kw))[1])
    segments, found = _segments(folder)
    stage = Colmap()
    first, second = (_process(stage, segment, found) for segment in segments)
    assert len(segments) == 2 and len(calls) == 1
    shared = segments[0].stop - segments[1].start
    assert np.array_equal(first["camera.cam_from_world"][-shared:], second["camera.cam_from_world"][:shared])
    assert np.array_equal(first["camera.intrinsics"][0], second["camera.intrinsics"][0])
    again = _process(Colmap(), segments[1], found)  # as another actor would, which has not seen the first
    for name, value in second.items():
        assert np.array_equal(value, again[name], equal_nan=value.dtype.kind == "f"), f"{name} has other bits"


@pytest.mark.long
def test_a_frame_that_cannot_be_read_costs_other_segments_nothing(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    segments, found = _segments(tmp_path)
    (tmp_path / f"{COUNT - 1:03d}.png").write_bytes(b"no picture")
    assert _process(Colmap(), segments[0], found)["camera.valid"].all()


@pytest.mark.parametrize("count", [50, 300, 500, 1000, 5003])
def test_every_segment_lies_in_one_chapter(count: int) -> None:
    video = VideoInfo("v", "v", "", count, 30.0, 4, 4, 4, 4)
    segments = list(plan_segments(video, 96, 24))
    chapters = [chapter_of(segment, 288) for segment in segments]
    assert all(c[0] <= s.start and s.stop <= c[1] <= count for s, c in zip(segments, chapters))
    assert len(set(chapters)) <= max(1, round((count - 96) / 288))
    assert max(stop - start for start, stop in chapters) <= 1.5 * 288 + 96


def test_geometry_takes_the_cameras_depth_and_believes_no_prior_where_there_is_none() -> None:
    count, height, width = 6, 48, 64
    valid = np.arange(count) < 4
    k = np.tile(np.array([[60, 0, 31.5], [0, 60, 23.5], [0, 0, 1]], np.float32), (count, 1, 1))
    given = {
        "frames.rgb": np.zeros((count, height, width, 3), np.uint8),
        "prior.points": np.ones((count, height, width, 3), np.float16),
        "prior.mask": np.ones((count, height, width), bool),
        "prior.intrinsics": k,
        "camera.intrinsics": 1.1 * k,
        "camera.depth": np.where(valid[:, None, None], np.float16(3), np.float16(0))
        * np.ones((height, width), np.float16),
    }
    segment = Segment(VideoInfo("v", "v", "", count, 30.0, height, width, height, width), 0, 0, count)
    fusion = TemporalFusion(TemporalFusion.Params(from_camera=True))
    out = fusion.process(segment, given)
    fields.check(out, fusion.outputs, who="geometry", num_frames=count)
    assert np.array_equal(out["geometry.mask"].all((1, 2)), valid)
    assert np.array_equal(out["geometry.mask"].any((1, 2)), valid)
    assert np.allclose(out["geometry.points"][valid][..., 2], 1)
    assert out["geometry.intrinsics"][0, 0, 0] == pytest.approx(66)
    given["camera.intrinsics"] = np.full_like(k, np.nan)
    given["camera.depth"] = np.zeros_like(given["camera.depth"])
    unknown = fusion.process(segment, given)
    assert not unknown["geometry.mask"].any() and np.isnan(unknown["geometry.intrinsics"]).all()


def test_the_embedded_pipeline_gives_geometry_the_cameras() -> None:
    stages = Pipeline.load("embedded").stages
    graph = Graph.build([(spec.slot, spec.make_stage(), spec.optional) for spec in stages])
    geometry = next(node for node in graph.nodes if node.slot == "geometry")
    assert {graph.nodes[parent].slot for parent in geometry.parents} == {"decode", "prior", "camera"}


def test_what_is_known_is_carried_over_even_surfaces_and_not_over_edges() -> None:
    guide = np.zeros((40, 60, 3), np.uint8)
    guide[:, 30:] = 200
    known = np.zeros((40, 60), bool)
    known[:, :10] = known[:, 50:] = True
    values = np.where(np.arange(60) < 30, 2.0, 5.0) * np.ones((40, 1))
    carried, support = spread(values * known, known, guide, reach=30)
    assert np.allclose(carried[:, 20], 2.0, atol=0.01) and np.allclose(carried[:, 40], 5.0, atol=0.01)
    assert (support[:, 20] > 0.1).all() and (support[:, :5] > support[:, 25:30]).all()
    nowhere, support = spread(0 * values, np.zeros_like(known), guide, reach=30)
    assert not support.any() and np.isfinite(nowhere).all()
