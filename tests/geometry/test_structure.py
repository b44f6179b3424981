"""Camera motion and structure from motion, on chains made exactly and on one rendered clip."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import plane_scene
import planes
import pytest

from actors.embedded.colmap import Colmap
from geoflow import fields
from geoflow.backends.contract import surveyed
from geoflow.geometry.cameras import pixel_grid
from geoflow.geometry.lens_distortion import nearest_pinhole, straighten
from geoflow.geometry.motion import structure
from geoflow.geometry.motion.camera_motion import Chains, chain_points, classify_motion
from geoflow.geometry.motion.picture_features import PictureFeatures, two_view
from geoflow.geometry.motion.structure import MEDIAN_DEPTH, Structure, join_structures, reconstruct
from geoflow.geometry.motion.wide_matches import wide_matches
from geoflow.geometry.rigid import Sim3, invert, umeyama
from geoflow.segments import Segment, VideoInfo
from geoflow.synth import Clip, render

SIZE = (planes.HEIGHT, planes.WIDTH)


def _chains(cam_from_world: np.ndarray, noise: float = 0.1, seed: int = 0) -> Chains:
    """Points of a box-shaped cloud as a camera path sees them, every frame a keyframe; `noise` in px."""
    rng = np.random.default_rng(seed)
    xyz = rng.uniform([-2, -1.5, 2], [2, 1.5, 6], (300, 3))
    here = np.einsum("tij,nj->tni", cam_from_world[:, :3, :3], xyz) + cam_from_world[:, None, :3, 3]
    uv = here @ planes.INTRINSICS.T
    uv = uv[..., :2] / uv[..., 2:] + rng.normal(0, noise, (*uv.shape[:2], 2))
    inside = (uv >= 0).all(-1) & (uv[..., 0] < SIZE[1]) & (uv[..., 1] < SIZE[0])
    uv[~inside] = np.nan
    return Chains(uv.astype(np.float32), list(range(len(uv))), *SIZE)


def _turning(count: int = 12, far: float = 1.0) -> np.ndarray:
    along = far * np.linspace(0, 1, count)[:, None]
    return planes.poses(np.zeros((count, 3)), along * [0.05, 0.5, 0.02])


def _blank(chains: Chains) -> list[np.ndarray]:
    return [np.zeros(SIZE, np.uint8)] * len(chains.uv)


def test_a_camera_that_does_not_move_is_still() -> None:
    poses = np.tile(np.eye(4), (8, 1, 1))
    assert classify_motion(_chains(poses)).code == fields.MOTION_STILL


def _with_crowd(chains: Chains, count: int = 500, seed: int = 0) -> Chains:
    """Return the chains with a thing that fills the middle of the picture, has most of the points, and moves."""
    rng = np.random.default_rng(seed)
    place = rng.uniform([0.2, 0.2], [0.8, 0.75], (count, 2)) * SIZE[::-1]
    steps = (
        np.cumsum(rng.normal([0.6, 0.3], 1.0, (len(chains.uv), 1, 2)), 0)
        + rng.normal(0, 0.3, (count, 2)) * (np.arange(len(chains.uv))[:, None, None])
    )
    uv = chains.uv.copy()
    behind = (np.abs(uv / SIZE[::-1] - 0.5) < 0.3).all(-1)
    uv[behind] = np.nan
    return Chains(np.concatenate([uv, (place + steps).astype(np.float32)], 1), chains.keyframes, *SIZE)


def test_a_crowd_before_a_still_or_turning_camera_is_not_taken_for_its_motion() -> None:
    still = _with_crowd(_chains(np.tile(np.eye(4), (8, 1, 1))))
    apart = np.linalg.norm(still.uv[-1] - still.uv[0], axis=1)
    assert np.nanmedian(apart) > 2  # most points move
    assert classify_motion(still).code == fields.MOTION_STILL
    assert classify_motion(_with_crowd(_chains(_turning(far=0.4)))).code == fields.MOTION_ROTATING
    assert classify_motion(_with_crowd(_chains(planes.handheld(10)))).code == fields.MOTION_MOVING


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("far_m", [0.01, 0.02, 0.04, 0.08])
def test_a_few_frames_of_a_travelling_camera_are_not_called_turning(count: int, far_m: float) -> None:
    """Points at 2 to 6 m: a step of a few cm shifts them by pixels, which a turn explains to about a pixel."""
    centres = np.linspace(0, 1, count)[:, None] * [far_m, 0.0, 0.0]
    for seed in range(5):
        code = classify_motion(_chains(planes.poses(centres, np.zeros((count, 3))), seed=seed)).code
        assert code != fields.MOTION_ROTATING


@pytest.mark.parametrize("known", [True, False])
def test_a_camera_that_only_turns_is_rotating_and_its_turns_are_found(known: bool) -> None:
    poses = _turning()
    motion = classify_motion(_chains(poses), planes.INTRINSICS if known else None)
    assert motion.code == fields.MOTION_ROTATING
    assert motion.intrinsics[0, 0] == pytest.approx(planes.INTRINSICS[0, 0], rel=0.03)
    assert motion.rotations is not None
    between = np.einsum("tij,tkj->tik", motion.rotations, poses[:, :3, :3])
    angle = np.arccos(np.clip((np.trace(between, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert angle.max() < 0.03 * 0.5  # as good as the focal length: 3% of half a radian


def test_a_camera_that_moves_sideways_is_moving() -> None:
    assert classify_motion(_chains(planes.handheld(10))).code == fields.MOTION_MOVING


@pytest.mark.parametrize("moves", [True, False])
def test_steps_of_a_third_of_the_picture_still_tell_how_the_camera_moves(moves: bool) -> None:
    along = np.arange(4)[:, None] - 1.5
    poses = planes.poses(along * [-0.3 * moves, 0.0, 0.0], along * [0.0, 0.25, 0.0])
    chains = _chains(poses)
    assert all(np.nanmedian(np.linalg.norm(b - a, axis=1)) > 0.2 * SIZE[1] for a, b in zip(chains.uv, chains.uv[1:]))
    found = classify_motion(chains, planes.INTRINSICS).code
    assert found == (fields.MOTION_MOVING if moves else fields.MOTION_ROTATING)


def test_too_few_points_leave_the_motion_unknown() -> None:
    chains = Chains(np.full((5, 10, 2), 20, np.float32), [0, 4], *SIZE)
    assert classify_motion(chains).code == fields.MOTION_UNKNOWN


def test_followed_points_land_where_geometry_says() -> None:
    poses = planes.handheld(9)
    seen = [planes.look(pose) for pose in poses]
    chains = chain_points([picture[..., 0] for _, _, picture in seen], max_points=300)
    assert chains.keyframes[0] == 0 and chains.keyframes[-1] == 8
    shared = chains.shared(0, 4)
    assert len(shared) > 50
    u, v = np.rint(chains.uv[0, shared]).astype(int).T
    expected = planes.exact_flow(poses[0], poses[4])[v, u]
    assert np.median(np.linalg.norm(chains.uv[4, shared] - chains.uv[0, shared] - expected, axis=1)) < 0.3


def test_masked_pixels_are_never_followed() -> None:
    grays = [planes.look(pose)[2][..., 0] for pose in planes.handheld(6)]
    masks = [np.zeros(SIZE, bool) for _ in grays]
    for mask in masks:
        mask[:, :80] = True
    uv = chain_points(grays, masks, max_points=300).uv
    assert np.isfinite(uv).any()
    assert np.nanmin(uv[..., 0]) > 79


def test_known_intrinsics_and_frames_between_keyframes_are_honoured() -> None:
    poses = planes.handheld(10)
    whole = _chains(poses)
    chains = Chains(whole.uv, [0, 2, 4, 6, 8, 9], *SIZE)
    (found,) = reconstruct(chains, _blank(chains), known_intrinsics=planes.INTRINSICS)
    assert found.valid.all()
    assert np.allclose(found.intrinsics, planes.INTRINSICS, atol=1e-3)
    assert np.allclose(found.cam_from_world[0], np.eye(4), atol=1e-6)
    ours, truth = invert(found.cam_from_world)[:, :3, 3], invert(poses)[:, :3, 3]
    error = np.linalg.norm(umeyama(ours, truth).apply(ours) - truth, axis=1)
    assert error.max() < 0.01 * np.linalg.norm(truth[-1])  # 1% of the path, at 0.1 px of noise
    z = found.xyz[np.isfinite(found.xyz[:, 0])][:, 2]
    assert np.median(z) == pytest.approx(MEDIAN_DEPTH, rel=0.3)  # the median is over all keyframes, this is the first


def _bent(uv: np.ndarray, radial: float) -> np.ndarray:
    """Where a lens with that distortion shows what a pinhole camera sees at uv."""
    centre, focal = planes.INTRINSICS[:2, 2], planes.INTRINSICS[0, 0]
    offset = (uv - centre) / focal
    return centre + focal * offset * (1 + radial * (offset**2).sum(-1, keepdims=True))


def test_radial_distortion_is_found_and_the_nearest_pinhole_given() -> None:
    rng = np.random.default_rng(3)
    poses = planes.poses(rng.uniform(-1, 1, (14, 3)) * [0.8, 0.5, 0.5], rng.uniform(-0.2, 0.2, (14, 3)))
    straight = _chains(poses, noise=0.05)
    chains = Chains(_bent(straight.uv, -0.1).astype(np.float32), straight.keyframes, *SIZE)
    found = reconstruct(chains, _blank(chains))[0]
    assert found.radial == pytest.approx(-0.1, abs=0.02)
    assert found.intrinsics[0, 0] == pytest.approx(planes.INTRINSICS[0, 0], rel=0.02)
    uv = np.array([[10.0, 10.0], [150.0, 60.0], [40.0, 100.0]])
    rays = (uv - planes.INTRINSICS[:2, 2]) / planes.INTRINSICS[0, 0]
    pinhole = found.pinhole(*SIZE)
    off = [np.abs(rays * k[0, 0] + k[:2, 2] - _bent(uv, -0.1)).max() for k in (pinhole, planes.INTRINSICS)]
    assert off[0] < 0.6 * off[1]


def test_structures_that_share_points_are_brought_together() -> None:
    poses = planes.handheld(10)
    chains = _chains(poses)
    (whole,) = reconstruct(chains, _blank(chains), known_intrinsics=planes.INTRINSICS)
    moved = Sim3(1.7, poses[5, :3, :3], np.array([1.0, -2.0, 0.5]))
    first, rest = np.arange(10) < 6, np.arange(10) >= 6
    parts = [
        replace(
            whole,
            cam_from_world=np.where(keep[:, None, None], world.apply_to_cameras(whole.cam_from_world), np.nan),
            valid=keep,
            xyz=world.apply(whole.xyz),
        )
        for keep, world in ((first, Sim3.identity()), (rest, moved))
    ]
    (joined,) = join_structures(parts)
    assert joined.valid.all()
    assert np.allclose(joined.cam_from_world, whole.cam_from_world, atol=1e-6)
    apart = replace(parts[1], xyz=np.where(np.arange(len(whole.xyz))[:, None] < 20, parts[1].xyz, np.nan))
    assert len(join_structures([parts[0], apart])) == 2  # twenty points are no proof


def test_a_turning_camera_has_no_structure() -> None:
    chains = _chains(_turning(4))
    assert reconstruct(chains, _blank(chains), known_intrinsics=planes.INTRINSICS) == []


def test_sift_finds_the_same_pixels_again() -> None:
    poses = planes.handheld(2, reach=0.3)
    seen = [planes.look(pose) for pose in poses]
    uv, matches = wide_matches(PictureFeatures([picture[..., 0] for _, _, picture in seen]), [0, 1])
    rows = matches[0, 1]
    u, v = np.rint(uv[0][rows[:, 0]]).astype(int).clip(0, (SIZE[1] - 1, SIZE[0] - 1)).T
    off = uv[1][rows[:, 1]] - uv[0][rows[:, 0]] - planes.exact_flow(*poses)[v, u]
    assert np.median(np.linalg.norm(off, axis=1)) < 0.5  # a half-pixel slip of the convention would show


@pytest.fixture(scope="module")
def clip() -> Clip:
    return render(num_frames=10, width=192, height=144, fps=8.0, seed=0)


def _segment(rgb: np.ndarray) -> Segment:
    height, width = rgb.shape[1:3]
    return Segment(VideoInfo("v", "v.mp4", "", len(rgb), 30.0, height, width, height, width), 0, 0, len(rgb))


def _cameras(rgb: np.ndarray) -> dict[str, np.ndarray]:
    """What the stage gives for a video of one segment."""
    stage, segment, given = Colmap(), _segment(rgb), {"frames.rgb": rgb}
    return stage.process(segment, {**given, **surveyed(stage, segment, given, "colmap")})


@pytest.mark.long
def test_the_stage_finds_cameras_and_depth_of_a_rendered_clip(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = _cameras(clip.frames)
    fields.check(found, Colmap.outputs, optional=Colmap.optional_outputs, who="colmap", num_frames=len(clip.frames))
    assert found["camera.valid"].all()
    assert (found["camera.motion"] == fields.MOTION_MOVING).all()
    ours, truth = (
        invert(np.asarray(p, float))[:, :3, 3] for p in (found["camera.cam_from_world"], clip.cam_from_world)
    )
    error = np.sqrt((np.linalg.norm(umeyama(ours, truth).apply(ours) - truth, axis=1) ** 2).mean())
    assert error < 0.02 * np.linalg.norm(np.diff(truth, axis=0), axis=1).sum()  # the 2% of path asked of a real run
    depth = found["camera.depth"].astype(np.float32)
    known = depth > 0
    ratio = clip.depth[known] / depth[known]
    assert known.mean() > 0.6
    assert np.abs(ratio / np.median(ratio) - 1).mean() < 0.1
    assert not list(tmp_path.iterdir())  # the reconstruction's scratch files are gone
    off = np.log(found["camera.intrinsics"][:, 0, 0] / clip.intrinsics[:, 0, 0])
    assert (np.abs(off) < 3 * found["camera.focal_error"]).all() and found["camera.focal_error"].max() < 1


def test_the_stage_hands_on_what_the_source_states_of_its_lens(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    stated = []
    monkeypatch.setattr(structure, "reconstruct", lambda *_, **given: stated.append(given["stated_focal"]) or [])
    segment = _segment(clip.frames)
    for focal in (None, 170.0):
        video = replace(segment.video, stated_focal=focal)
        surveyed(Colmap(), replace(segment, video=video), {"frames.rgb": clip.frames}, "colmap")
    assert stated == [None, 170.0]


def test_a_given_lens_has_no_error(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    count, lens = len(clip.frames), clip.intrinsics[0]
    poses = clip.cam_from_world.astype(float)

    def given(chains: Chains, *_: object, **__: object) -> list[Structure]:
        xyz = np.full((chains.uv.shape[1], 3), np.nan)
        return [Structure(lens, 0.0, poses, np.ones(count, bool), xyz, 5.0, np.zeros(count, np.uint8))]

    monkeypatch.setattr(structure, "reconstruct", given)
    found = _cameras(clip.frames)
    assert found["camera.valid"].all() and np.isnan(found["camera.focal_error"]).all()
    assert not found["camera.doubt"].any()


def test_the_stage_reports_a_still_camera_and_invents_nothing(clip: Clip) -> None:
    rgb = np.repeat(clip.frames[:1], 5, axis=0)
    found = _cameras(rgb)
    assert (found["camera.motion"] == fields.MOTION_STILL).all()
    assert not found["camera.valid"].any()
    assert np.isnan(found["camera.cam_from_world"]).all()
    assert not found["camera.depth"].any()


def test_the_stage_survives_one_frame_and_no_texture() -> None:
    for rgb in (np.full((1, 60, 80, 3), 90, np.uint8), np.full((6, 60, 80, 3), 90, np.uint8)):
        found = _cameras(rgb)
        assert (found["camera.motion"] == fields.MOTION_UNKNOWN).all()
        assert not found["camera.valid"].any()


def test_two_views_agree_on_what_stands_still_only() -> None:
    rng = np.random.default_rng(3)
    cameras = planes.handheld(2)
    xyz = planes.look(cameras[0])[1].reshape(-1, 3)[rng.choice(planes.WIDTH * planes.HEIGHT, 200, replace=False)]
    xyz = xyz * rng.uniform(0.5, 1.5, (200, 1))  # off the planes, which allow many motions
    uv = [(xyz @ pose[:3, :3].T + pose[:3, 3]) @ planes.INTRINSICS.T for pose in cameras]
    a, b = (p[:, :2] / p[:, 2:] for p in uv)
    b[:60] += rng.uniform(10, 40, (60, 2))
    fundamental, inlier = two_view(a, b)
    assert inlier[60:].all()
    assert inlier[:60].mean() < 0.3  # some happen to move along their epipolar line
    one = np.concatenate([a, np.ones((200, 1))], 1), np.concatenate([b, np.ones((200, 1))], 1)
    line = one[0] @ fundamental.T
    distance = np.abs((line * one[1]).sum(1)) / np.linalg.norm(line[:, :2], axis=1)
    assert distance[60:].max() < 0.1


@pytest.mark.parametrize("count", [0, 7, 14])
def test_too_few_matches_agree_on_nothing(count: int) -> None:
    uv = np.random.default_rng(0).uniform(0, 100, (count, 2))
    assert not two_view(uv, uv + 5)[1].any()


LENS = (0.3, 0.05, 1e-3, -1e-3, 0.0)  # pincushion: every pixel of the bent picture lies in the straight one


@pytest.mark.long
def test_the_stage_takes_a_known_lens_out_of_what_it_measures() -> None:
    clip = plane_scene.render(plane_scene.walk(16, step=(0.06, 0.008, 0.024), turn=0.006), *SIZE)
    rays = straighten(pixel_grid(*SIZE), clip.intrinsics, LENS).astype(np.float32)
    rgb = np.stack([cv2.remap(picture, rays, None, cv2.INTER_CUBIC) for picture in clip.rgb])
    depth = np.stack([cv2.remap(z, rays, None, cv2.INTER_NEAREST) for z in clip.depth])
    camera = tuple(float(clip.intrinsics[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))

    def off(lens: tuple[float, ...] | None) -> tuple[float, float]:
        """Of the path (root mean square, as a share of it), and of depth after one scale (median, relative)."""
        segment = _segment(rgb)
        video = replace(segment.video, intrinsics=camera, distortion=lens)
        stage, given = Colmap(), {"frames.rgb": rgb}
        segment = replace(segment, video=video)
        found = stage.process(segment, {**given, **surveyed(stage, segment, given, "colmap")})
        assert found["camera.valid"].all()
        expected = clip.intrinsics if lens is None else nearest_pinhole(clip.intrinsics, lens, *SIZE)
        np.testing.assert_allclose(found["camera.intrinsics"][0], expected, atol=1e-3)
        ours, truth = (
            invert(np.asarray(p, float))[:, :3, 3] for p in (found["camera.cam_from_world"], clip.cam_from_world)
        )
        apart = np.linalg.norm(umeyama(ours, truth).apply(ours) - truth, axis=1)
        z = found["camera.depth"].astype(np.float32)
        ratio = depth[z > 0] / z[z > 0]
        assert (z > 0).mean() > 0.6
        return float(np.sqrt((apart**2).mean()) / np.linalg.norm(truth[-1] - truth[0])), float(
            np.median(np.abs(ratio / np.median(ratio) - 1))
        )

    (path, error), (blind_path, blind_error) = off(LENS), off(None)
    assert path < 0.005 and path < 0.7 * blind_path  # 0.26 % and 0.50 % measured
    assert error < 0.04 and error < 0.4 * blind_error  # 2 % and 10 % measured
