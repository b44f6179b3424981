"""Films that show little or nothing of the scene, through the embedded stages: these claim the truth, or nothing."""

from __future__ import annotations

import html
from pathlib import Path

import hard_clips
import numpy as np
import planes
import pytest
from hard_clips import Film

import geoflow
from actors.embedded.colmap import Colmap
from actors.embedded.klt import Klt
from actors.embedded.motion_stereo import MotionStereo
from actors.embedded.temporal_fusion import TemporalFusion
from geoflow import fields as field_table
from geoflow.backends.contract import surveyed
from geoflow.fields import MOTION_ROTATING, MOTION_STILL, MOTION_UNKNOWN
from geoflow.geometry.views import classify_views
from geoflow.report.video_page import video_part
from geoflow.segments import Segment, VideoInfo
from geoflow.stage import SegmentRecord
from geoflow.stages.stitch import Stitch
from geoflow.stages.write import Write
from geoflow.store.paths import RunPaths
from geoflow.store.reader import Video
from geoflow.store.verify import verify_store

pytestmark = pytest.mark.long

FPS = 10.0
KNOWN = tuple(float(planes.INTRINSICS[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
BRANCHES = ("geometry", "camera")
_OFF = 0.25  # how far a depth that is claimed may be from the true one
_NEARLY_ALL = 0.95


def _process(film: Film, known: bool, out: Path) -> Video:
    """The whole pipeline but decoding, in this process, on one segment that is the whole video; its store."""
    count, height, width = film.depth.shape
    intrinsics = KNOWN if known else None
    video = VideoInfo("film", "film.mp4", "", count, FPS, height, width, height, width, intrinsics=intrinsics)
    segment, index = Segment(video, 0, 0, count), np.arange(count)
    fields = {
        "video.index": index,
        "video.pts": index,
        "frames.rgb": film.rgb,
        "frames.index": index,
        "frames.time": index / FPS,
        "frames.view": classify_views(film.rgb),
    }
    RunPaths(out).events.touch()  # as a run has it that writes here
    write = Write(Write.Params(out=str(out)))
    fusion = TemporalFusion(TemporalFusion.Params(from_camera=True))
    for stage in (MotionStereo(), Colmap(), fusion, Klt(), Stitch(), write):
        stage.setup()
        given = {name: fields[name] for name in (*stage.inputs, *stage.optional) if name in fields}
        found = stage.process(segment, {**given, **surveyed(stage, segment, given, stage.slot)})
        field_table.check(found, stage.outputs, optional=stage.optional_outputs, who=stage.slot, num_frames=None)
        fields |= found
    write.finish(video, [SegmentRecord(0, 0, count, "complete", {}, {})])
    path = RunPaths(out).video("film")
    assert verify_store(path) == []
    return geoflow.open(path)


def _claims(video: Video, branch: str) -> np.ndarray:
    """Depth (T, H, W) of a branch; 0 where it claims none."""
    return video.depth[:] if branch == "geometry" else video.camera_depth[:]


def _assert_true_or_nothing(claimed: np.ndarray, true: np.ndarray) -> None:
    """After one scale, nearly every depth claimed is near the true one; where there is none, none is claimed."""
    held = claimed > 0
    if not held.any():
        return
    known = held & (true > 0)
    assert known.sum() >= _NEARLY_ALL * held.sum(), f"{(held & ~known).mean():.0%} of all pixels claim what none knows"
    ratio = true[known] / claimed[known]
    near = np.abs(ratio / np.median(ratio) - 1) < _OFF
    assert near.mean() >= _NEARLY_ALL, f"{1 - near.mean():.0%} of the depths claimed are wrong"


def _assert_nothing(video: Video) -> None:
    assert video.cameras is not None and video.tracks is not None
    assert not video.cameras.valid.any()
    assert np.isnan(video.cameras.cam_from_world[:, :3, 3]).all()
    for branch in BRANCHES:
        assert not _claims(video, branch).any(), branch
    assert len(video.tracks) == 0


@pytest.mark.parametrize(
    ("film", "known", "motion", "sentence"),
    [
        (hard_clips.bare_wall(8), False, MOTION_UNKNOWN, "Frames 0 to 7: there is too little texture to follow"),
        (hard_clips.still(8), False, MOTION_STILL, "Frames 0 to 7: the camera stood still"),
        (hard_clips.turn(10), True, MOTION_ROTATING, "Frames 0 to 9: the camera only turned (its rotation is known"),
        (hard_clips.turn(10), False, MOTION_ROTATING, "Frames 0 to 9: the camera only turned"),
        (hard_clips.blurred(8), False, MOTION_UNKNOWN, "Frames 0 to 7: the camera's motion is unknown"),
        (hard_clips.walk(1), False, MOTION_UNKNOWN, "The video has only 1 frame."),
        (hard_clips.walk(2, 0.15), False, MOTION_UNKNOWN, "The video has only 2 frames."),
    ],
    ids=["bare wall", "still", "turning, focal known", "turning, focal unknown", "blurred", "one frame", "two frames"],
)
def test_where_nothing_can_be_known_nothing_is_claimed(
    film: Film, known: bool, motion: int, sentence: str, tmp_path: Path
) -> None:
    with _process(film, known, tmp_path) as video:
        _assert_nothing(video)
        assert video.cameras is not None
        assert (video.cameras.motion == motion).all()
        (said,) = video.remarks
        assert sentence in said and "there is no depth there" in said
        assert html.escape(said) in video_part(video, {}, None, "", frames=4).html


def test_the_turns_of_a_turning_camera_are_kept(tmp_path: Path) -> None:
    poses = hard_clips.turn_poses(10)
    with _process(hard_clips.turn(10), True, tmp_path) as video:
        assert video.cameras is not None
        found = video.cameras.cam_from_world[:, :3, :3]
        np.testing.assert_allclose(found, poses[:, :3, :3] @ poses[0, :3, :3].T, atol=np.radians(0.5))


@pytest.mark.parametrize(
    "known",
    [
        True,
        False,
    ],
)
def test_a_cut_parts_the_video(known: bool, tmp_path: Path) -> None:
    film = hard_clips.cut(8)
    with _process(film, known, tmp_path) as video:
        assert video.cameras is not None
        assert np.flatnonzero(video.views).tolist() == [8]
        assert not (video.cameras.valid[:8].any() and video.cameras.valid[8:].any())
        assert any("changes completely at frame 8 (a cut)" in said for said in video.remarks)
        assert any(said.startswith(("Frames 0 to 7:", "Frames 8 to 15:")) for said in video.remarks)
        for branch in BRANCHES:
            for part in (slice(0, 8), slice(8, 16)):  # no one can know one scale for both
                _assert_true_or_nothing(_claims(video, branch)[part], film.depth[part])


@pytest.mark.parametrize(
    ("count", "known"),
    [
        (3, True),
        (4, True),
        (5, True),
        (3, False),
        (4, False),
        (5, False),
    ],
)
def test_few_frames_claim_what_is_true_or_nothing(count: int, known: bool, tmp_path: Path) -> None:
    film = hard_clips.walk(count, 0.06 * count)
    with _process(film, known, tmp_path) as video:
        assert video.cameras is not None
        assert video.cameras.valid.all() or video.remarks
        for branch in BRANCHES:
            _assert_true_or_nothing(_claims(video, branch), film.depth)


def test_a_crowd_is_not_taken_for_the_scene(tmp_path: Path) -> None:
    film = hard_clips.crowd(8)
    with _process(film, False, tmp_path) as video:
        assert video.cameras is not None
        for branch in BRANCHES:
            _assert_true_or_nothing(_claims(video, branch), film.depth)
        assert video.cameras.valid.all() or video.remarks
