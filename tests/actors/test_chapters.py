"""Cameras recovered for a chapter of the video at a time, and geometry that takes their depth."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import plane_scene
import pytest

from actors.embedded.colmap import Colmap
from actors.embedded.temporal_fusion import TemporalFusion
from geoflow import fields
from geoflow.engine.graph import Graph
from geoflow.errors import InputError
from geoflow.fields import GEOMETRY_OF_CAMERA, GEOMETRY_OF_NOTHING, GEOMETRY_OF_PRIOR
from geoflow.geometry.depth.edge_aware import spread
from geoflow.geometry.motion.camera_motion import Chains, chain_points
from geoflow.geometry.motion.structure import Structure, reconstruct
from geoflow.pipeline import Pipeline
from geoflow.segments import Segment, VideoInfo, plan_chapters, plan_segments
from geoflow.stage import shared_fields
from geoflow.video import frame_reader
from geoflow.video.pieces import read_pieces
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


def _survey(stage: Colmap, segments: list[Segment], found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the segments find of the survey of their one chapter."""
    (span,) = plan_chapters(segments[0].video, 14, 4, length=stage.chapter_length, reach=stage.chapter_reach)
    assert (span.first, span.last) == (0, len(segments) - 1)
    return shared_fields(stage.survey(span, lambda: read_pieces(span, found, masks=True)), span, "camera")


def _process(
    stage: Colmap, segment: Segment, found: dict[str, np.ndarray], shared: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    rgb = frame_reader.read_frames(segment.video, found["video.index"], found["video.pts"], segment.start, segment.stop)
    out = stage.process(segment, {**shared, "frames.rgb": rgb})
    fields.check(out, stage.outputs, optional=stage.optional_outputs, who="camera", num_frames=len(segment))
    return out


@pytest.mark.long
def test_the_segments_of_a_chapter_share_one_world(folder: Path) -> None:
    segments, found = _segments(folder)
    stage = Colmap()
    shared = _survey(stage, segments, found)
    first, second = (_process(stage, segment, found, shared) for segment in segments)
    assert len(segments) == 2 and first["camera.valid"].all()
    both = segments[0].stop - segments[1].start
    assert np.array_equal(first["camera.cam_from_world"][-both:], second["camera.cam_from_world"][:both])
    assert np.array_equal(first["camera.intrinsics"][0], second["camera.intrinsics"][0])
    other = Colmap()  # as another actor would
    again = _process(other, segments[1], found, _survey(other, segments, found))
    for name, value in second.items():
        assert np.array_equal(value, again[name], equal_nan=value.dtype.kind == "f"), f"{name} has other bits"


@pytest.mark.long
def test_what_a_survey_found_is_whole_after_its_way_as_arrays(folder: Path) -> None:
    grays = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in sorted(folder.iterdir())]
    chains = chain_points(grays)
    (structure,) = reconstruct(chains, grays)
    back, camera = Chains.from_arrays(chains.to_arrays()), Structure.from_arrays(structure.to_arrays())
    assert np.array_equal(back.uv, chains.uv, equal_nan=True) and back.uv.dtype == chains.uv.dtype
    assert (back.keyframes, back.height, back.width) == (chains.keyframes, chains.height, chains.width)
    for name, value in vars(structure).items():
        assert np.array_equal(value, getattr(camera, name), equal_nan=np.asarray(value).dtype.kind == "f"), name
    arrays = chains.to_arrays().values()
    assert sum(array.nbytes for array in arrays) <= chains.uv.nbytes


@pytest.mark.long
def test_a_frame_of_a_chapter_that_cannot_be_read_fails_the_video(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    segments, found = _segments(tmp_path)
    (tmp_path / f"{COUNT - 1:03d}.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=re.escape(str(tmp_path))):
        _survey(Colmap(), segments, found)


def test_geometry_takes_the_cameras_depth_and_the_prior_where_a_segment_has_none() -> None:
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
    fields.check(out, fusion.outputs, optional=fusion.optional_outputs, who="geometry", num_frames=count)
    assert np.array_equal(out["geometry.mask"].all((1, 2)), valid)
    assert np.array_equal(out["geometry.mask"].any((1, 2)), valid)
    assert np.array_equal(out["geometry.source"] == GEOMETRY_OF_CAMERA, valid)
    assert np.allclose(out["geometry.points"][valid][..., 2], 1)
    assert out["geometry.intrinsics"][0, 0, 0] == pytest.approx(66)
    given["camera.intrinsics"] = np.full_like(k, np.nan)
    given["camera.depth"] = np.zeros_like(given["camera.depth"])
    fallen_back = fusion.process(segment, given)
    assert fallen_back["geometry.mask"].any() and (fallen_back["geometry.source"] == GEOMETRY_OF_PRIOR).all()
    assert fallen_back["geometry.intrinsics"][0, 0, 0] == pytest.approx(60), "of the prior, as its depth is"
    given["prior.mask"] = np.zeros_like(given["prior.mask"])
    unknown = fusion.process(segment, given)
    assert not unknown["geometry.mask"].any() and np.isnan(unknown["geometry.intrinsics"]).all()
    assert (unknown["geometry.source"] == GEOMETRY_OF_NOTHING).all()


def test_the_embedded_pipeline_gives_geometry_the_cameras() -> None:
    stages = Pipeline.load("embedded").stages
    graph = Graph.build([(spec.slot, spec.make_stage(), spec.optional) for spec in stages])
    geometry = next(step for step in graph.steps if step.slot == "geometry")
    assert {graph.steps[parent].slot for parent in geometry.parents} == {"decode", "prior", "camera"}


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
