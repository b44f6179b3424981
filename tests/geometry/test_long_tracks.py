"""Tracks that last from segment to segment, held to exact truth: one number for one point, over 1, 3 and 10 seams."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from long_clip import OVERLAP, SIZE, LongClip, followed, long_clip

from actors.embedded.klt import Klt
from geoflow.errors import ConfigError
from geoflow.geometry.motion.asked_points import asked_points, asked_so_far
from geoflow.geometry.motion.carried_tracks import hand_over, take_over
from geoflow.geometry.motion.lifting import CamerasWithDepth
from geoflow.geometry.motion.track_queries import depth_edges, query_frames, uncovered
from geoflow.segments import Segment, VideoInfo
from geoflow.stage import Fields
from geoflow.synth.groundtruth import TrueTracks

clips = functools.cache(long_clip)


def _judged(clip: LongClip, found: Fields) -> tuple[TrueTracks, np.ndarray]:
    """The truth, and where a track is visible on its own point, within 2 % of the width: (T, N) bool."""
    truth = clip.truth(found)
    off = np.linalg.norm(found["uv"] - truth.uv, axis=-1)
    return truth, found["visible"] & (off < 0.02 * clip.video.width)


@pytest.mark.long
@pytest.mark.parametrize(("seams", "least"), [(1, 0.97), (3, 0.95), (10, 0.9)])
def test_static_points_seen_throughout_keep_one_number(seams: int, least: float) -> None:
    clip = clips(seams, seed=seams, width=256)
    found = followed(clip, Klt)
    truth, right = _judged(clip, found)
    throughout = truth.visible.all(0) & truth.static & (found["born"] < SIZE)
    assert throughout.sum() > 20
    assert right[-OVERLAP:, throughout].any(0).mean() >= least
    seen = found["visible"] & truth.static
    assert (right & seen).sum() > 0.96 * seen.sum(), "what is called visible is the point"
    error = np.linalg.norm(found["xyz"] - truth.xyz, axis=-1)[seen]
    assert np.median(error) < 0.02 * np.median(clip.shots[0].depth)


@pytest.mark.long
def test_moving_points_go_on_over_a_seam() -> None:
    clip = clips(1, seed=1, width=256)
    found = followed(clip, Klt)
    truth, right = _judged(clip, found)
    throughout = truth.visible.all(0) & ~truth.static & (found["born"] < SIZE)
    assert throughout.sum() > 5
    assert right[-OVERLAP:, throughout].any(0).mean() > 0.5
    seen = found["visible"] & ~truth.static
    assert (right & seen).sum() > 0.9 * seen.sum()


@pytest.mark.long
def test_new_points_begin_only_where_the_picture_holds_none() -> None:
    clip = clips(3, seed=3)
    found = followed(clip, Klt)
    first = (found["born"] < SIZE).sum()
    assert 0 < len(found["ids"]) - first < 1.5 * first, (
        "three more segments picked from nothing would be three times as many"
    )
    assert (np.diff(found["ids"]) > 0).all()
    counts = found["visible"].sum(1)
    assert counts.min() > 0.6 * counts.max(), "no part of the video is without points"


def test_a_place_does_not_jump_where_segments_meet() -> None:
    clip = clips(3, seed=3)
    found = followed(clip, Klt)
    steps = np.linalg.norm(np.diff(found["xyz"], axis=0), axis=-1)
    steps[~(found["visible"][1:] & found["visible"][:-1] & clip.truth(found).static)] = np.nan
    start = clip.segments[1].start
    at_edges = np.nanpercentile(steps[[start - 1, start + OVERLAP - 1]], 90)
    inside = np.nanpercentile(steps[start : start + OVERLAP - 1], 90)
    assert at_edges < 1.5 * inside, "the shared frames fade from one place to the other"


@pytest.mark.long
def test_a_static_point_hidden_at_a_seam_is_found_again_under_its_number() -> None:
    clip = clips(3, seed=5, moving=0, same_world=True)
    seam = slice(clip.segments[1].start, clip.segments[1].start + OVERLAP + 2)

    def hide(segment: Segment, fields: Fields) -> None:
        """Something passes before everything at the first seam."""
        for t in range(segment.start, segment.stop):
            if seam.start <= t < seam.stop:
                fields["frames.rgb"] = fields["frames.rgb"].copy()
                fields["frames.rgb"][t - segment.start] = 30
                fields["camera.depth"] = fields["camera.depth"].copy()
                fields["camera.depth"][t - segment.start] = 0.1

    found = followed(clip, Klt, hide)
    truth, right = _judged(clip, found)
    begun = (found["born"] < seam.start) & truth.visible.all(0) & right[: seam.start].any(0)
    assert begun.sum() > 20
    assert not found["visible"][seam][:, begun].any()
    assert right[seam.stop :, begun].any(0).mean() > 0.8


@pytest.mark.long
def test_after_a_gap_without_poses_points_are_the_same_ones() -> None:
    clip = clips(3, seed=6, moving=0)

    def lose(segment: Segment, fields: Fields) -> None:
        if segment.index == 1:
            fields["camera.valid"] = np.zeros(len(segment), bool)
            fields["camera.cam_from_world"] = np.full_like(fields["camera.cam_from_world"], np.nan)

    found = followed(clip, Klt, lose)
    alone = slice(clip.segments[0].stop, clip.segments[2].start)  # frames that only the second segment has
    assert not found["visible"][alone].any() and np.isnan(found["xyz"][alone]).all(), "no pose, no place"
    assert np.isfinite(found["uv"][alone]).all(-1).any(), "in the image they are still followed"
    born = found["born"] < SIZE
    assert np.isfinite(found["uv"][clip.segments[3].start :, born]).all(-1).any(0).sum() > 20, "under the same number"


def test_the_users_points_are_followed_whatever_the_grid_does(tmp_path: Path) -> None:
    clip = clips(1, seed=1)
    path = tmp_path / "points.csv"
    path.write_text("frame,x,y\n0,100.5,70\n20,40,60\n3,96,20\n")
    params = Klt.Params(queries=str(path), grid=False)
    state: dict[str, object] = {}
    rows: dict[int, tuple[int, np.ndarray]] = {}
    for segment in clip.segments:
        stage = Klt(params)
        stage.restore(state)
        given = clip.fields(segment)
        found = stage.process(segment, {k: v for k, v in given.items() if k in (*stage.inputs, *stage.optional)})
        state = stage.state()
        for k, row in enumerate(found["tracks.row"].tolist()):
            rows.setdefault(row, (int(found["tracks.query"][k, 0]), found["tracks.uv"][:, k]))
    assert {row: born for row, (born, _) in rows.items()} == {0: 0, 1: 20, 2: 3}
    assert np.allclose(rows[0][1][0], [100.5, 70], atol=0.6) and np.allclose(rows[2][1][3], [96, 20], atol=0.6)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("0,500,3\n", "row 0 .*outside of clip, which has 192x144"),
        ("0,5,3\n90,5,5\n", "row 1 .*no frame after 26"),
        ("0,1,2,3\n", "world of a video is known before the run only from --cameras"),
    ],
)
def test_points_that_cannot_be_asked_for_are_named(tmp_path: Path, text: str, told: str) -> None:
    clip = clips(1, seed=1)
    path = tmp_path / "points.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        followed(clip, lambda: Klt(Klt.Params(queries=str(path))))


@pytest.mark.parametrize("overlap", [0, 3])
def test_a_row_between_two_segments_is_asked_for_once(tmp_path: Path, overlap: int) -> None:
    path = tmp_path / "points.csv"
    path.write_text("\n".join(f"{frame},5,5" for frame in range(88)))
    video = VideoInfo("v", "v.mp4", "", 30, 10.0, 48, 64, 48, 64)
    index = np.arange(30) * 3  # every third frame of the source
    whole = np.tile(np.eye(4), (30, 1, 1))
    cameras = CamerasWithDepth(whole[:, :3, :3], whole, np.ones((30, 48, 64)), np.ones(30, bool))
    found: list[tuple[int, int]] = []
    state: dict[str, int] = {}
    for k, start in enumerate((0, 10, 20)):
        segment = Segment(video, k, max(0, start - overlap), start + 10, overlap if k else 0, overlap if k < 2 else 0)
        here = index[segment.start : segment.stop]
        asked = asked_points(str(path), segment, here, cameras, state)
        found += zip(asked.rows.tolist(), here[asked.frame].tolist())
        state = asked_so_far(segment, here)
    assert [row for row, _ in found] == list(range(88))
    assert all(0 <= frame - row < 3 for row, frame in found), "the next frame that is processed"


def test_rows_of_a_segment_that_failed_are_not_asked_for_in_another_frame(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("4,5,5\n14,5,5\n24,5,5\n")
    video = VideoInfo("v", "v.mp4", "", 30, 10.0, 48, 64, 48, 64)
    whole = np.tile(np.eye(4), (30, 1, 1))
    cameras = CamerasWithDepth(whole[:, :3, :3], whole, np.ones((30, 48, 64)), np.ones(30, bool))
    state = asked_so_far(Segment(video, 0, 0, 10), np.arange(10))
    asked = asked_points(str(path), Segment(video, 2, 20, 30), np.arange(20, 30), cameras, state)
    assert asked.rows.tolist() == [2] and asked.frame.tolist() == [4]


def test_places_in_the_world_of_known_cameras_are_asked_for_where_they_are_seen(tmp_path: Path) -> None:
    clip = clips(1, seed=1)
    segment = replace(clip.segments[0], video=replace(clip.video, given_world=True))
    given = clip.fields(segment)
    cameras = CamerasWithDepth.of(given)
    from geoflow.geometry.motion.lifting import lift_points

    pixels = np.broadcast_to(np.array([[60.0, 100.0], [150.0, 30.0]]), (len(segment), 2, 2))
    places = lift_points(pixels, cameras)[2]
    np.save(tmp_path / "places.npy", np.column_stack([np.full(2, 2), places]))
    stage = Klt(Klt.Params(queries=str(tmp_path / "places.npy"), grid=False))
    found = stage.process(segment, {k: v for k, v in given.items() if k in (*stage.inputs, *stage.optional)})
    assert np.allclose(found["tracks.uv"][2], pixels[2], atol=1.0)


def test_points_on_objects_know_their_object() -> None:
    clip = clips(1, seed=1)
    segment = clip.segments[0]
    given = clip.fields(segment)
    label = np.zeros(given["frames.rgb"].shape[:3], np.uint8)
    label[:, 60:, 100:] = 4
    stage = Klt(Klt.Params(objects_only=True))
    found = stage.process(segment, {**{k: v for k, v in given.items() if k in stage.inputs}, "objects.label": label})
    assert len(found["tracks.object"]) > 3 and (found["tracks.object"] == 4).all()
    begun = found["tracks.query"][:, 0].astype(int)
    start = found["tracks.uv"][begun, np.arange(len(begun))]
    assert (start > [98, 58]).all()


def test_a_segment_that_failed_breaks_the_tracks_and_not_the_numbers() -> None:
    clip = clips(3, seed=3)
    stage = Klt()
    numbers = []
    for segment in (clip.segments[0], clip.segments[2]):  # the second one failed
        given = clip.fields(segment)
        found = stage.process(segment, {k: v for k, v in given.items() if k in (*stage.inputs, *stage.optional)})
        numbers.append(set(found["tracks.id"].tolist()))
    assert numbers[0] and numbers[1] and not numbers[0] & numbers[1]


def _state(scale: float, shared: int = 4) -> tuple[dict[str, object], Segment, CamerasWithDepth, np.ndarray]:
    video = VideoInfo("v", "v.mp4", "", 20, 30.0, 48, 64, 48, 64)
    first, second = Segment(video, 0, 0, 12, 0, shared), Segment(video, 1, 8, 20, shared, 0)
    rng = np.random.default_rng(0)
    depth = np.full((12, 48, 64), 2.0, np.float32)
    poses = np.tile(np.eye(4), (12, 1, 1))
    poses[:, :3, 3] = rng.normal(0, 0.1, (12, 3))
    cameras = CamerasWithDepth(
        np.tile(np.array([[60, 0, 32], [0, 60, 24], [0, 0, 1]]), (12, 1, 1)), poses, depth, np.ones(12, bool)
    )
    from geoflow.geometry.motion.lifting import lift_points

    uv = np.broadcast_to(rng.uniform(5, 40, (15, 2)), (12, 15, 2)).astype(np.float32)
    xyz = lift_points(uv, cameras)
    numbers = np.arange(15, dtype=np.int32)
    common = {"ids": numbers + 1, "born": numbers * 0, "objects": numbers * 0, "rows": numbers * 0 - 1}
    state = hand_over(first, cameras, np.ones(15, bool), **common, uv=uv, xyz=xyz, next_id=16)  # type: ignore[arg-type]
    later = poses[[8, 9, 10, 11, *range(8)]].copy()
    later[:, :3, 3] *= scale
    return state, second, CamerasWithDepth(cameras.intrinsics, later, depth * scale, np.ones(12, bool)), xyz[8:]


def test_places_are_handed_over_into_the_next_segments_world() -> None:
    state, segment, cameras, xyz = _state(3.0)
    carried = take_over(state, segment, cameras)
    assert len(carried) == 15 and carried.next_id == 16
    assert np.allclose(carried.xyz, 3 * xyz, atol=1e-4)
    assert carried.world is not None and np.isclose(carried.world.scale, 3)


def test_the_same_cameras_at_rest_are_in_one_world_though_no_point_is_seen() -> None:
    state, segment, cameras, xyz = _state(1.0)
    poses = np.tile(cameras.cam_from_world[:1], (12, 1, 1)).astype(np.float32)
    hidden = {**state, "poses": poses[:4], "uv": np.full_like(state["uv"], np.nan)}
    resting = CamerasWithDepth(cameras.intrinsics, poses, cameras.depth, cameras.valid)
    assert np.allclose(take_over(hidden, segment, resting).xyz, xyz, atol=1e-6)
    elsewhere = CamerasWithDepth(cameras.intrinsics, np.tile(np.eye(4), (12, 1, 1)), cameras.depth, cameras.valid)
    assert np.isnan(take_over(hidden, segment, elsewhere).xyz).all(), "nothing tells one world's scale by the other's"


def test_without_common_poses_no_place_is_handed_over() -> None:
    state, segment, cameras, _ = _state(3.0)
    blind = CamerasWithDepth(cameras.intrinsics, cameras.cam_from_world, cameras.depth, np.zeros(12, bool))
    carried = take_over(state, segment, blind)
    assert carried.world is None and np.isnan(carried.xyz).all() and np.isfinite(carried.uv).all()


def test_frames_of_queries() -> None:
    video = VideoInfo("v", "v.mp4", "", 40, 30.0, 48, 64, 48, 64)
    segment = Segment(video, 1, 10, 30, 5, 5)
    usable = np.ones(20, bool)
    assert query_frames(segment, usable, 8) == [6, 14], "frames 16 and 24 of the video; 10 to 14 are the one's before"
    assert query_frames(segment, usable, 0) == [10] and query_frames(segment, usable, 0, default=4) == [4]
    assert query_frames(segment, ~usable, 0) == [] and query_frames(segment, usable, 100) == []
    assert query_frames(replace(segment, index=0, overlap_before=0), usable, 100) == [10], "the first one always picks"


def test_a_living_point_covers_its_cell() -> None:
    grid = np.array([[10.0, 10], [20, 10], [30, 10]])
    living = np.array([[12.0, 9], [np.nan, np.nan]])
    assert uncovered(grid, living, 10.0).tolist() == [False, True, True]
    assert uncovered(grid, living[1:], 10.0).all()


def test_edges_of_depth_are_where_two_surfaces_meet() -> None:
    depth = np.full((30, 40), 2.0)
    depth[:, 20:] = 3.0
    depth[:5] = 0  # unknown
    edges = depth_edges(depth)
    assert edges[15, 17:23].all() and not edges[15, :14].any() and not edges[15, 26:].any()
