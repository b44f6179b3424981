"""The synthetic clip: its ground truth must agree with itself, with its picture, and with the file it is written to."""

from __future__ import annotations

import numpy as np
import pytest

from geoflow.errors import ConfigError, InputError, StoreError
from geoflow.geometry.cameras import project, unproject
from geoflow.geometry.rigid import apply, invert
from geoflow.synth import load_ground_truth, render, render_clip
from geoflow.synth.camera_path import cam_from_world_at
from geoflow.synth.scene import build_scene

SMALL = {"width": 64, "height": 48, "num_frames": 8, "fps": 4.0}  # as `small_clip` is rendered


@pytest.fixture(scope="module")
def clip(small_clip):
    return small_clip


def test_shapes_and_types(clip):
    assert clip.frames.shape == (8, 48, 64, 3) and clip.frames.dtype == np.uint8
    assert clip.depth.shape == (8, 48, 64) and clip.depth.dtype == np.float32
    assert clip.moving.dtype == bool and 0 < clip.moving.mean() < 0.5
    assert np.isfinite(clip.depth).all() and clip.depth.min() > 0.2
    assert clip.frames.std() > 20  # textured, not flat


def test_labels_number_the_bodies(clip):
    assert clip.label.shape == (8, 48, 64) and clip.label.dtype == np.uint8
    moving = build_scene(0, 1).moving
    assert len(np.unique(clip.label)) > 5 and clip.label.max() == len(moving) - 1
    assert np.array_equal(moving[clip.label], clip.moving)


def test_bodies_that_move_have_other_poses_and_what_they_show_lies_within_their_size(clip):
    poses, moving = clip.bodies.world_from_body.astype(np.float64), build_scene(0, 1).moving
    assert poses.shape == (8, len(moving), 4, 4) and clip.bodies.size.shape == moving.shape
    assert np.array_equal((np.ptp(poses, axis=0) > 0).any((1, 2)), moving)
    for body in np.unique(clip.label[5])[1:]:
        v, u = np.nonzero(clip.label[5] == body)
        z = clip.depth[5, v, u].astype(np.float64)
        points = (
            np.stack([u, v, np.ones_like(u)], 1) @ np.linalg.inv(clip.intrinsics[5].astype(np.float64)).T * z[:, None]
        )
        own = apply(invert(poses[5, body]) @ invert(clip.cam_from_world[5].astype(np.float64)), points)
        assert np.linalg.norm(own, axis=1).max() < 0.501 * clip.bodies.size[body]


def test_same_seed_same_clip_other_seed_other_clip(clip):
    again, other = render(**SMALL), render(**SMALL | {"num_frames": 1}, seed=1)
    assert np.array_equal(again.frames, clip.frames) and np.array_equal(again.depth, clip.depth)
    assert not np.allclose(other.depth[0], clip.depth[0], rtol=0.01)


def test_rotations_are_rotations(clip):
    rotation = clip.cam_from_world[:, :3, :3].astype(np.float64)
    assert np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(3), atol=1e-6)
    assert np.allclose(np.linalg.det(rotation), 1, atol=1e-6)


def test_depth_poses_and_picture_agree(clip):
    """Static surfaces carried from frame 0 to frame 1 by depth and pose must land on the same depth and colour."""
    points = unproject(clip.depth[0], clip.intrinsics[0]).astype(np.float64)
    in_b = apply(clip.cam_from_world[1].astype(float) @ invert(clip.cam_from_world[0].astype(float)), points)
    uv = np.rint(project(in_b, clip.intrinsics[1].astype(float))).astype(int)
    inside = (uv >= 0).all(-1) & (uv[..., 0] < 64) & (uv[..., 1] < 48) & ~clip.moving[0]
    u, v = uv[inside].T
    agree = np.abs(clip.depth[1][v, u] / in_b[inside][:, 2] - 1) < 0.03
    assert agree.mean() > 0.85  # the rest is occluded, or half a pixel off a silhouette
    moved = np.abs(clip.frames[1][v, u].astype(float) - clip.frames[0][inside])[agree].mean()
    stayed = np.abs(clip.frames[1].astype(float) - clip.frames[0])[inside][agree].mean()
    assert moved < 0.7 * stayed


def test_tracks_agree_with_depth(clip):
    tracks = clip.tracks
    assert (~tracks.static).any() and tracks.static.any()
    for i in range(8):
        seen = tracks.visible[i]
        in_camera = apply(clip.cam_from_world[i], tracks.xyz[i, seen])
        uv = project(in_camera, clip.intrinsics[i])
        assert np.allclose(uv, tracks.uv[i, seen], atol=1e-2)  # float32 poses, a focal of 58 px
        u, v = np.rint(uv).astype(int).T
        # Half a pixel away the depth of a slanted surface differs, so most agree closely, not all.
        assert (np.abs(clip.depth[i][v, u] / in_camera[:, 2] - 1) < 0.03).mean() > 0.8
    still = tracks.xyz[:, tracks.static]
    assert np.ptp(still, axis=0).max() < 1e-5
    assert np.ptp(tracks.xyz[:, ~tracks.static], axis=0).max() > 0.05


def test_camera_motions():
    def path(motion):
        poses = np.stack([cam_from_world_at(i / 2, motion, seed=0) for i in range(8)])
        return np.ptp(invert(poses)[:, :3, 3], axis=0).max(), np.ptp(poses[:, :3, :3], axis=0).max()

    assert path("still") == (0, 0)
    travel, turn = path("rotate")
    assert travel < 1e-12 and turn > 0.1
    for motion in ("handheld", "orbit"):
        assert path(motion)[0] > 0.1


@pytest.mark.parametrize("motion", ["handheld", "orbit"])
@pytest.mark.parametrize("seed", range(5))
def test_the_camera_never_enters_a_body(motion, seed):
    scene = build_scene(seed, moving=2)
    for time_s in np.arange(0, 30, 0.25):
        center = invert(cam_from_world_at(time_s, motion, seed))[:3, 3]
        for body in scene.bodies:
            local = apply(invert(body.world_from_body(time_s)), center)
            if body.inside:
                assert (np.abs(local) < body.half - 0.1).all()
            else:
                assert (np.abs(local) > body.half + 0.1).any()


@pytest.mark.parametrize("bad", [{"motion": "teleport"}, {"num_frames": 0}, {"width": 8}, {"moving": -1}])
def test_bad_arguments_are_refused(bad):
    with pytest.raises(ConfigError):
        render(**{**SMALL, **bad})


def test_files_hold_the_clip(tmp_path, clip):
    import av

    video, truth = tmp_path / "clip.mp4", tmp_path / "clip.h5"
    render_clip(video, truth, **SMALL)
    with av.open(str(video)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        assert float(container.streams.video[0].average_rate) == 4.0
    assert frames.shape == clip.frames.shape
    # 4:2:0 chroma on pictures this small and coloured costs most of this; brightness is far closer.
    assert np.abs(frames.mean(-1) - clip.frames.mean(-1)).mean() < 8
    with load_ground_truth(truth) as gt:
        assert gt.fps == 4.0 and gt.num_frames == 8 and gt.size == (48, 64)
        assert np.array_equal(gt.depth[2], clip.depth[2]) and np.array_equal(gt.moving[2], clip.moving[2])
        assert np.array_equal(gt.cam_from_world, clip.cam_from_world)
        assert gt.tracks is not None and np.array_equal(gt.tracks.static, clip.tracks.static)


def test_same_seed_same_file(tmp_path):
    found = set()
    for k in range(3):
        other = [np.random.default_rng(k).bytes(300_000) for _ in range(30)]  # what lies in memory is another each time
        del other
        render_clip(tmp_path / "a.mp4", tmp_path / "a.gt.h5", num_frames=8, width=160, height=120, seed=5)
        found.add((tmp_path / "a.mp4").read_bytes())
    assert len(found) == 1


def test_a_folder_is_made_and_a_place_that_cannot_be_is_named(tmp_path):
    render_clip(tmp_path / "new" / "a.mp4", tmp_path / "new" / "a.gt.h5", num_frames=2, width=32, height=32)
    assert load_ground_truth(tmp_path / "new" / "a.gt.h5").depth.shape == (2, 32, 32)
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "a.mp4", tmp_path / "new"):
        with pytest.raises(StoreError, match=rf"{place} cannot be written \(.*\); name another file"):
            render_clip(place, tmp_path / "b.gt.h5", num_frames=2, width=32, height=32)


def test_odd_size_cannot_be_a_video(tmp_path):
    with pytest.raises(ConfigError, match="even"):
        render_clip(tmp_path / "a.mp4", tmp_path / "a.h5", width=63, height=48, num_frames=2)


def test_what_is_no_ground_truth_is_named(tmp_path):
    import h5py

    with pytest.raises(InputError, match="no ground truth"):
        load_ground_truth(tmp_path / "missing.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(InputError, match="not a readable HDF5"):
        load_ground_truth(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["depth"] = np.zeros(3)
    with pytest.raises(InputError, match="schema"):
        load_ground_truth(tmp_path / "other.h5")
