from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from segment_fields import HEIGHT, WIDTH, Truth, fields_of, make_truth, video_world

from geoflow import fields as field_table
from geoflow.errors import StageError
from geoflow.fields import MOTION_ROTATING, MOTION_STILL, MOTION_UNKNOWN
from geoflow.geometry import alignment
from geoflow.geometry.rigid import Sim3, only_turns
from geoflow.segments import Segment
from geoflow.stages.stitch import Stitch

# float16 keeps 11 bits: a relative error of 2**-11 = 5e-4 per value, less for a median of many.
HALF = 2**-11
Fields = dict[str, np.ndarray]
Edit = Callable[[Segment, Fields], None]


def run(truth: Truth, edit: Edit | None = None) -> list[Fields]:
    """Stitch all segments, each by a fresh stage, so that only the state connects them."""
    state: dict = {}
    results = []
    for segment in truth.segments:
        fields = fields_of(truth, segment)
        if edit is not None:
            edit(segment, fields)
        stage = Stitch()
        stage.restore(state)
        given = {name for name in (*stage.inputs, *stage.optional) if name in fields}
        result = stage.process(segment, {name: fields[name] for name in given})
        field_table.check(result, Stitch.outputs, optional=stage.optional_outputs, who="stitch")
        state = stage.state()
        results.append(result)
    return results


def joined(results: list[Fields], name: str) -> np.ndarray:
    return np.concatenate([result[name] for result in results])


def test_perfect_segments_become_one_video():
    truth = make_truth()
    results = run(truth)
    world = video_world(truth)
    assert len(results) == 4
    assert np.array_equal(joined(results, "frames.index"), 2 * np.arange(40))
    expected = truth.depth * world.scale
    # Four values were rounded to float16 on the way (in, held, faded, scale): well under four half-steps in all.
    np.testing.assert_allclose(joined(results, "camera.depth"), expected, rtol=4 * HALF)
    geometry, mask = joined(results, "geometry.points"), joined(results, "geometry.mask")
    np.testing.assert_allclose(geometry[..., 2][mask], expected[mask], rtol=4 * HALF)
    assert not mask[:, :2].any() and mask[:, 2:].all() and not geometry[~mask].any()
    poses = world.apply_to_cameras(truth.cam_from_world)
    found = joined(results, "camera.cam_from_world")
    assert joined(results, "camera.valid").all()
    np.testing.assert_allclose(found[0], np.eye(4), atol=1e-6)
    np.testing.assert_allclose(found[:, :3, :3], poses[:, :3, :3], atol=1e-5)
    length = np.abs(poses[:, :3, 3]).max()
    np.testing.assert_allclose(found[:, :3, 3], poses[:, :3, 3], atol=4 * HALF * length)


@pytest.mark.parametrize("turned, quality", [(False, 0.9), (True, 0.0)])
def test_cameras_that_contradict_the_prior_about_near_and_far_lose_their_quality(turned: bool, quality: float):
    def edit(segment: Segment, fields: Fields) -> None:
        depth = fields["camera.depth"].astype(np.float32)
        ramp = np.linspace(1, 2, depth[0].size, dtype=np.float32).reshape(depth[0].shape)
        points = np.ones((*depth.shape, 3), np.float32) * (3 - ramp if turned else ramp)[..., None]
        fields |= {
            "camera.depth": np.where(depth > 0, ramp, 0).astype(np.float16),
            "camera.quality": np.full(len(depth), 0.9, np.float32),
            "prior.points": points.astype(np.float16),
            "prior.mask": np.ones(depth.shape, bool),
        }

    results = run(make_truth(), edit)
    np.testing.assert_allclose(joined(results, "camera.quality"), quality, atol=1e-6)
    assert joined(results, "camera.valid").all()  # nothing here tells which of both is wrong


def test_seams_of_perfect_segments_are_closed():
    residuals = joined(run(make_truth()), "stitch.seam_residual")
    assert np.isnan(residuals[0])
    assert (residuals[1:] <= 2 * HALF).all()


def test_where_two_estimates_of_the_cameras_meet_both_are_given_on():
    truth = make_truth()
    assert not any("joint.frame" in result for result in run(truth))  # parts of one reconstruction

    def edit(segment: Segment, fields: Fields) -> None:
        if segment.index >= 2:
            poses = fields["camera.cam_from_world"].copy()
            poses[:, :3, 3] += np.random.default_rng(segment.index).normal(0, 0.05, (len(poses), 3))
            fields["camera.cam_from_world"] = poses

    results = run(truth, edit)
    assert ["joint.frame" in result for result in results] == [False, False, True, True]
    segment, joint = truth.segments[2], results[2]
    assert joint["joint.frame"].tolist() == list(range(segment.start, segment.start + segment.overlap_before))
    before, after = joint["joint.before"], joint["joint.after"]
    assert before.shape == after.shape == (segment.overlap_before, 4, 4) and not np.allclose(before, after, atol=1e-3)
    faded = joint["camera.cam_from_world"][: segment.overlap_before]
    nearer = [np.linalg.norm(faded[k] - side[k]) for k, side in ((0, before), (0, after), (-1, before), (-1, after))]
    assert nearer[0] < nearer[1] and nearer[3] < nearer[2]


def test_tracks_and_hands_follow_their_segment():
    truth = make_truth()
    world = video_world(truth)
    for segment, result in zip(truth.segments, run(truth)):
        expected = world.apply(truth.tracks[segment.index])
        assert result["tracks.xyz"].shape == expected.shape  # whole, not cut at the overlap
        np.testing.assert_allclose(result["tracks.xyz"], expected, atol=4 * HALF * np.abs(expected).max())
        np.testing.assert_allclose(result["tracks.query"][:, 1:], result["tracks.xyz"][0], atol=1e-5)
        assert (result["tracks.query"][:, 0] == segment.start).all()
        valid = result["hands.left.valid"]
        assert np.array_equal(valid, result["frames.index"] // 2 % 3 == 0)
        np.testing.assert_allclose(result["hands.left.joints"][valid][..., 2], 2 * world.scale, rtol=2 * HALF)
        np.testing.assert_allclose(result["hands.left.wrist"][valid][:, 2, 3], 2 * world.scale, rtol=2 * HALF)
        assert np.isnan(result["hands.left.joints"][~valid]).all()


@pytest.mark.parametrize("branch", ["camera", "geometry"])
def test_what_cameras_see_has_the_scale_of_the_depth_it_was_measured_by(branch: str):
    """Of both branches' depth that of the camera is taken, and that of geometry where it has none."""
    truth = make_truth()

    def edit(segment: Segment, fields: Fields) -> None:
        scale = truth.worlds[segment.index].scale if branch == "camera" else truth.geometry_scales[segment.index]
        shape = fields["tracks.xyz"].shape
        fields["tracks.camera_xyz"] = np.full(shape, 2 * scale, np.float32)
        fields["tracks.id"] = np.arange(1, shape[1] + 1, dtype=np.int32)
        if branch == "geometry":
            for name in [name for name in fields if name.startswith("camera.")]:
                del fields[name]
            fields["tracks.xyz"] = np.full(shape, np.nan, np.float32)
            fields["tracks.visible"] = np.zeros(shape[:2], bool)

    results = run(truth, edit)
    expected = 2 * np.median(results[0]["geometry.points"][..., 2][results[0]["geometry.mask"]].astype(np.float32))
    expected /= np.median(truth.depth[: len(results[0]["geometry.mask"])][:, 2:])
    for result in results:
        np.testing.assert_allclose(result["tracks.camera_xyz"], expected, rtol=6 * HALF)


def test_disagreement_shows_in_the_residual_and_is_faded():
    truth = make_truth()

    def edit(segment: Segment, fields: Fields) -> None:
        if segment.index == 1:  # its first frames are 8 % too deep, the others right
            points = fields["geometry.points"].copy()
            points[: segment.overlap_before] *= np.float16(1.08)
            fields["geometry.points"] = points

    results = run(truth, edit)
    residuals = joined(results, "stitch.seam_residual")
    # The segment's own geometry-to-camera ratio moves by less than the wrong share of its frames.
    assert 0.04 < residuals[1] < 0.09
    assert residuals[2] < 4 * HALF
    segment = truth.segments[1]
    depth = joined(results, "geometry.points")[..., 2][:, 2:]
    ratio = np.median(depth / (truth.depth * video_world(truth).scale)[:, 2:], axis=(1, 2))
    rise = ratio[segment.start - 1 : segment.start + segment.overlap_before]
    assert np.diff(rise).max() < 0.02  # no jump: it grows frame by frame


def test_frames_where_only_one_segment_holds_are_kept():
    truth = make_truth()

    def edit(segment: Segment, fields: Fields) -> None:
        mask = fields["geometry.mask"].copy()
        mask[:, :, : WIDTH // 2] &= segment.index % 2 == 0  # odd segments lack the left half
        fields["geometry.mask"] = mask

    mask = joined(run(truth, edit), "geometry.mask")
    seam = truth.segments[1]
    in_both = slice(seam.start, seam.start + seam.overlap_before)
    assert mask[in_both, 2:].all()
    assert not mask[seam.start + seam.overlap_before, :, : WIDTH // 2].any()


def test_camera_without_a_shared_frame_is_not_connected():
    truth = make_truth()

    def edit(segment: Segment, fields: Fields) -> None:
        if segment.index == 2:
            fields["camera.valid"] = np.zeros(len(segment), bool)

    results = run(truth, edit)
    valid = joined(results, "camera.valid")
    last_posed = truth.segments[1].stop  # frames kept back from segment 1 still have their pose
    assert valid[:last_posed].all() and not valid[last_posed:].any()
    assert np.isnan(joined(results, "camera.cam_from_world")[last_posed:]).all()
    assert np.isnan(results[3]["tracks.xyz"]).all() and np.isnan(results[3]["tracks.query"][:, 1:]).all()
    assert not results[3]["tracks.visible"].any() and results[0]["tracks.visible"].all()
    # Depth does not need poses: it stays connected.
    np.testing.assert_allclose(joined(results, "camera.depth"), truth.depth * video_world(truth).scale, rtol=4 * HALF)


def still_edit(truth: Truth, moves: bool) -> Edit:
    """Segment 2 has neither pose nor depth, since the camera stands still; or it moved unseen."""

    def edit(segment: Segment, fields: Fields) -> None:
        frames = np.arange(segment.start, segment.stop)
        quiet = (frames >= truth.segments[2].start) & (frames < truth.segments[2].stop)
        if segment.index == 2:
            fields["camera.depth"] = np.zeros_like(fields["camera.depth"])
            fields["geometry.mask"] = np.zeros_like(fields["geometry.mask"])
        fields["camera.valid"] = ~quiet
        fields["camera.depth"] = np.where(quiet[:, None, None], 0, fields["camera.depth"])
        fields["geometry.mask"] = fields["geometry.mask"] & ~quiet[:, None, None]
        fields["camera.motion"] = np.where(quiet & (not moves), MOTION_STILL, 1).astype(np.uint8)

    return edit


def make_still_truth() -> Truth:
    """From the first frame of segment 2 to the frame after its last one nothing changes."""
    truth = make_truth()
    quiet = slice(truth.segments[2].start - 1, truth.segments[2].stop + 1)
    truth.cam_from_world[quiet] = truth.cam_from_world[quiet.start]
    truth.depth[quiet] = truth.depth[quiet.start]
    return truth


def test_a_still_camera_is_bridged():
    truth = make_still_truth()
    results = run(truth, still_edit(truth, moves=False))
    world = video_world(truth)
    valid = joined(results, "camera.valid")
    quiet = truth.segments[2]
    assert valid[: quiet.start].all() and not valid[quiet.start : quiet.stop].any() and valid[quiet.stop :].all()
    poses = world.apply_to_cameras(truth.cam_from_world)[valid]
    np.testing.assert_allclose(
        joined(results, "camera.cam_from_world")[valid], poses, atol=4 * HALF * np.abs(poses).max()
    )


def test_a_gap_in_which_the_camera_moved_is_not_bridged():
    truth = make_still_truth()
    results = run(truth, still_edit(truth, moves=True))
    after = truth.segments[2].stop
    assert not joined(results, "camera.valid")[after:].any()
    assert np.isnan(results[3]["stitch.scale"]).all()
    assert not joined(results, "camera.depth")[after:].any()  # its scale cannot be known
    assert not joined(results, "geometry.mask")[after:].any()


def uneven_depth(segment: Segment, fields: Fields) -> None:
    """Depth that is 4 % too long or too short in the frames a segment shares: its ratio misleads, as noise does."""
    depth = fields["camera.depth"].astype(np.float32)
    if segment.overlap_before:
        depth[: segment.overlap_before] *= 1.04
    if segment.overlap_after:
        depth[-segment.overlap_after :] *= 0.96
    fields["camera.depth"] = depth.astype(np.float16)


def test_segments_of_one_world_are_joined_by_their_cameras_alone():
    truth = make_truth()
    results = run(truth, uneven_depth)
    scales = joined(results, "stitch.scale") * [world.scale for world in truth.worlds]
    np.testing.assert_allclose(scales, scales[0], rtol=1e-5)  # float32; by depth it would be 8 % a seam
    first = truth.cam_from_world[0]
    world = Sim3(scales[0], first[:3, :3], scales[0] * first[:3, 3])
    poses = world.apply_to_cameras(truth.cam_from_world)
    found = joined(results, "camera.cam_from_world")
    np.testing.assert_allclose(found, poses, atol=1e-5 * np.ptp(poses[:, :3, 3], axis=0).max())


def test_cameras_estimated_twice_are_joined_by_depth():
    truth, rng = make_truth(), np.random.default_rng(5)

    def edit(segment: Segment, fields: Fields) -> None:
        poses = fields["camera.cam_from_world"].copy()
        step = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).mean()
        poses[:, :3, 3] += rng.normal(0, 0.03 * step, (len(poses), 3))
        fields["camera.cam_from_world"] = poses

    scales = joined(run(truth, edit), "stitch.scale") * [world.scale for world in truth.worlds]
    np.testing.assert_allclose(scales, scales[0], rtol=4 * HALF)  # as exact as depth, not as the centres


def test_what_makes_two_worlds_one():
    truth = make_truth()
    poses, world = truth.cam_from_world[:8], Sim3(0.4, truth.cam_from_world[3, :3, :3], np.array([5.0, -2, 1]))
    source = world.apply_to_cameras(poses).astype(np.float32)
    found = alignment.same_world(poses, source)
    assert found is not None
    assert found.scale == pytest.approx(1 / 0.4, rel=1e-5)
    np.testing.assert_allclose(found.apply_to_cameras(source.astype(float)), poses, atol=1e-5)
    straight = poses.copy()  # centres on a line leave a turn about it open: the orientations tell it
    straight[:, :3, 3] = -np.einsum("nij,j->ni", straight[:, :3, :3], [1.0, 0, 0]) * np.arange(8)[:, None]
    line = alignment.same_world(straight, world.apply_to_cameras(straight))
    assert line is not None and line.scale == pytest.approx(1 / 0.4)
    assert alignment.same_world(poses[:2], source[:2]) is None
    still = np.repeat(poses[:1], 8, axis=0)
    assert alignment.same_world(still, world.apply_to_cameras(still)) is None
    other = source.copy()
    other[4, :3, 3] += 0.01 * np.linalg.norm(np.ptp(source[:, :3, 3], axis=0))
    assert alignment.same_world(poses, other) is None


def turning_edit(truth: Truth, kinds: str) -> Edit:
    """Per segment `m`: it moves, as made; `r`: only its turns are known, from its first frame; `-`: nothing is."""

    def edit(segment: Segment, fields: Fields) -> None:
        kind = kinds[segment.index]
        if kind == "m":
            return
        poses = np.full((len(segment), 4, 4), np.nan, np.float32)
        if kind == "r":
            turns = truth.cam_from_world[segment.start : segment.stop, :3, :3]
            poses[:, :3, :3] = turns @ turns[0].T
            poses[:, 3] = 0, 0, 0, 1
        fields["camera.cam_from_world"] = poses
        fields["camera.valid"] = np.zeros(len(segment), bool)
        fields["camera.depth"] = np.zeros_like(fields["camera.depth"])
        fields["geometry.mask"] = np.zeros_like(fields["geometry.mask"])
        code = MOTION_ROTATING if kind == "r" else MOTION_UNKNOWN
        fields["camera.motion"] = np.full(len(segment), code, np.uint8)

    return edit


def orientations(truth: Truth, results: list[Fields]) -> np.ndarray:
    """Return which frames (T,) have a rotation; each must be the true one, counted from the first frame's."""
    poses = joined(results, "camera.cam_from_world")
    known = np.isfinite(poses[:, :3, :3]).all((1, 2))
    true = truth.cam_from_world[:, :3, :3] @ truth.cam_from_world[known.argmax(), :3, :3].T
    np.testing.assert_allclose(poses[known, :3, :3], true[known], atol=1e-5)
    valid = joined(results, "camera.valid")
    assert np.array_equal(known & ~valid, only_turns(poses))
    assert np.isfinite(poses[valid]).all()
    return known


@pytest.mark.parametrize("kinds", ["rrrr", "rrmm", "mmrr", "rmrm", "mrrm"])
def test_turns_are_told_in_one_frame_throughout(kinds):
    truth = make_truth()
    results = run(truth, turning_edit(truth, kinds))
    assert orientations(truth, results).all()
    valid = joined(results, "camera.valid")
    posed = {frame for s in truth.segments if kinds[s.index] == "m" for frame in range(s.start, s.stop)}
    if kinds in ("rrmm", "mmrr"):
        assert set(np.flatnonzero(valid)) == posed
    elif "m" in kinds:  # where it has turned in between, nothing tells how far it is from where it was
        first = next(s for s in truth.segments if kinds[s.index] == "m")
        assert np.array_equal(np.flatnonzero(valid), range(first.start, first.stop))
    else:
        assert not valid.any()


def test_the_world_has_its_origin_at_the_first_pose_and_its_axes_from_the_first_turn():
    truth = make_truth()
    found = joined(run(truth, turning_edit(truth, "rrmm")), "camera.cam_from_world")
    origin = truth.segments[2].start
    np.testing.assert_allclose(found[0, :3, :3], np.eye(3), atol=1e-6)
    np.testing.assert_allclose(found[origin, :3, 3], 0, atol=1e-5)
    scale = 2.0 / np.median(truth.depth[origin : truth.segments[2].stop])
    true = truth.cam_from_world
    center = -true[origin, :3, :3].T @ true[origin, :3, 3]
    world = Sim3(scale, true[0, :3, :3], -scale * true[0, :3, :3] @ center)
    moved = world.apply_to_cameras(true[origin:])
    np.testing.assert_allclose(found[origin:], moved, atol=4 * HALF * np.abs(moved[:, :3, 3]).max())


def test_turns_after_a_gap_are_left_out_and_poses_are_not():
    truth = make_truth()
    known = orientations(truth, run(truth, turning_edit(truth, "mr-r")))
    after = truth.segments[1].stop
    assert known[:after].all() and not known[after:].any()
    results = run(truth, turning_edit(truth, "r-mm"))
    valid = joined(results, "camera.valid")
    origin = truth.segments[2].start
    assert valid[origin:].all()  # poses are worth more than turns: they found the world
    np.testing.assert_allclose(joined(results, "camera.cam_from_world")[origin], np.eye(4), atol=1e-6)


def test_the_first_posed_segment_founds_the_world():
    truth = make_truth()

    def edit(segment: Segment, fields: Fields) -> None:
        if segment.index < 2:
            fields["camera.valid"] = np.zeros(len(segment), bool)
            fields["camera.depth"] = np.zeros_like(fields["camera.depth"])

    results = run(truth, edit)
    origin = truth.segments[2].start
    found = joined(results, "camera.cam_from_world")[origin:]
    first = truth.cam_from_world[origin]
    # Scale comes from segment 0's geometry, whose rows 0 and 1 are masked, through the chain.
    scale = video_world(truth, truth.depth[: truth.segments[0].stop, 2:]).scale
    poses = Sim3(scale, first[:3, :3], scale * first[:3, 3]).apply_to_cameras(truth.cam_from_world[origin:])
    np.testing.assert_allclose(found, poses, atol=4 * HALF * np.abs(poses).max())
    mask = joined(results, "geometry.mask")
    depth = joined(results, "geometry.points")[..., 2]
    np.testing.assert_allclose(depth[mask], (truth.depth * scale)[mask], rtol=6 * HALF)


def test_without_depth_the_centres_give_the_scale():
    truth = make_truth()

    def edit(segment: Segment, fields: Fields) -> None:
        for name in ("camera.depth", "geometry.points", "geometry.mask", "geometry.intrinsics"):
            del fields[name]

    results = run(truth, edit)
    found = joined(results, "camera.cam_from_world")
    first = truth.cam_from_world[0]
    scale = truth.worlds[0].scale  # nothing says how large the world is: the first segment's scale stays
    poses = Sim3(scale, first[:3, :3], scale * first[:3, 3]).apply_to_cameras(truth.cam_from_world)
    # Centres come as float32 and their distances are short: 1e-5 of the extent.
    np.testing.assert_allclose(found, poses, atol=1e-5 * np.abs(poses).max() * len(results))


def test_metric_depth_keeps_its_scale():
    truth = make_truth(metric=True)
    truth.worlds = [Sim3(1.0, world.rotation, world.translation) for world in truth.worlds]
    results = run(truth)
    np.testing.assert_allclose(joined(results, "camera.depth"), truth.depth, rtol=4 * HALF)
    np.testing.assert_allclose(joined(results, "stitch.scale"), 1, rtol=HALF)


def test_a_group_that_failed_on_one_segment():
    truth = make_truth()
    camera = [name for name in fields_of(truth, truth.segments[0]) if name.startswith("camera.")]

    def edit(segment: Segment, fields: Fields) -> None:
        if segment.index == 1:
            for name in camera:
                del fields[name]

    results = run(truth, edit)
    valid = np.concatenate([r.get("camera.valid", np.zeros(len(r["frames.index"]), bool)) for r in results])
    assert valid[: truth.segments[0].stop].all() and not valid[truth.segments[0].stop :].any()
    depth, mask = joined(results, "geometry.points")[..., 2], joined(results, "geometry.mask")
    expected = truth.depth * video_world(truth).scale
    np.testing.assert_allclose(depth[mask], expected[mask], rtol=6 * HALF)  # chained by its own overlap meanwhile


def test_segments_out_of_order_are_refused():
    truth = make_truth()
    stage = Stitch()
    stage.process(truth.segments[0], fields_of(truth, truth.segments[0]))
    with pytest.raises(StageError, match="in order"):
        stage.process(truth.segments[2], fields_of(truth, truth.segments[2]))


def test_state_holds_only_the_overlap():
    truth = make_truth()
    stage = Stitch()
    segment = truth.segments[0]
    stage.process(segment, fields_of(truth, segment))
    for name, value in stage.state().items():
        assert isinstance(value, np.ndarray | bool | int | float | str), name
        if isinstance(value, np.ndarray) and name.startswith("held."):
            assert len(value) == segment.overlap_after and value.base is None


def test_depth_ratio_ignores_outliers_and_small_samples():
    rng = np.random.default_rng(1)
    depth = rng.uniform(1, 5, (4, HEIGHT, WIDTH))
    target = 3 * depth
    target[rng.uniform(size=depth.shape) < 0.3] *= 10
    assert alignment.depth_ratio(target, depth) == pytest.approx(3, rel=1e-9)
    assert alignment.depth_ratio(target[0, :2], depth[0, :2]) is None


def test_contradicting_cameras_are_not_connected():
    truth = make_truth()
    poses = truth.cam_from_world[:8]
    spun = Sim3(1.0, np.eye(3), np.zeros(3)).apply_to_cameras(poses)
    spun[::2, :3, :3] = np.diag([-1.0, -1.0, 1.0]) @ spun[::2, :3, :3]
    assert alignment.connect(poses, poses, 1.0) is not None
    assert alignment.connect(poses, spun, 1.0) is None


def test_blend_maps_never_floats_between_surfaces():
    before = np.array([[2.0, 2.0, 0.0, 0.0]])
    after = np.array([[2.2, 4.0, 3.0, 0.0]])
    np.testing.assert_allclose(alignment.blend_maps(before, after, 0.25), [[2.05, 2.0, 3.0, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(alignment.blend_maps(before, after, 0.75), [[2.15, 4.0, 3.0, 0.0]], rtol=1e-6)


def test_what_leaves_float16_becomes_invalid():
    depth = np.array([[60000, 2, np.inf]], np.float16)
    assert alignment.to_half(depth, 2.0).tolist() == [[0, 4, 0]]
    points = np.array([[[1, 60000, 2], [1, 2, 3]]], np.float16)
    assert alignment.to_half(points, 2.0).tolist() == [[[0, 0, 0], [2, 4, 6]]]


@pytest.mark.parametrize("factor", [3.0, None])
def test_hands_in_metres_stay_in_metres(factor):
    """Scene units follow the scene; where its scale is unknown they go back to metres, and `scale` says which it is."""
    from geoflow.geometry.rigid import Sim3
    from geoflow.geometry.seams import Join, move

    joints = np.ones((2, 21, 3), np.float32)
    scale = np.array([2.0, np.nan], np.float32)  # the first frame's hand is in scene units, the second's in metres
    wrist = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    fields = {"hands.left.joints": joints, "hands.left.wrist": wrist, "hands.left.scale": scale}
    moved = move(fields, Join(factor, None, Sim3.identity()), known_scale=True)
    expected = [3.0, 1.0] if factor else [0.5, 1.0]
    np.testing.assert_allclose(moved["hands.left.joints"][:, 0, 0], expected)
    np.testing.assert_allclose(moved["hands.left.scale"], [6.0 if factor else np.nan, np.nan])


def given_truth() -> Truth:
    """A video whose camera stage keeps to known poses: every segment's cameras lie in the one given world."""
    truth = make_truth()
    video = replace(truth.video, cameras_sha256="x", given_world=True)
    segments = [replace(segment, video=video) for segment in truth.segments]
    return replace(truth, video=video, segments=segments, worlds=[Sim3.identity()] * len(segments))


def test_known_poses_stay_in_their_world_and_unit():
    truth = given_truth()
    results = run(truth)
    np.testing.assert_allclose(joined(results, "camera.cam_from_world"), truth.cam_from_world, atol=1e-5)
    np.testing.assert_allclose(joined(results, "camera.depth"), truth.depth, rtol=2 * HALF)
    geometry, mask = joined(results, "geometry.points"), joined(results, "geometry.mask")
    np.testing.assert_allclose(geometry[..., 2][mask], truth.depth[mask], rtol=4 * HALF)
    assert mask[:, 2:].all() and (joined(results, "stitch.scale") == 1).all()
    for segment, result in zip(truth.segments, results):
        np.testing.assert_allclose(result["tracks.xyz"], truth.tracks[segment.index], atol=1e-5)


def test_without_a_known_pose_nothing_has_the_unit_of_the_known_poses_but_what_is_joined():
    truth = given_truth()

    def unposed(segment: Segment, fields: Fields) -> None:
        if segment.index in (0, 2):
            fields["camera.valid"] = np.zeros(len(segment), bool)
            fields["camera.cam_from_world"] = np.full((len(segment), 4, 4), np.nan, np.float32)
            fields["camera.depth"] = np.zeros_like(fields["camera.depth"])

    results = run(truth, unposed)
    start = truth.segments[1].start
    mask, z = joined(results, "geometry.mask"), joined(results, "geometry.points")[..., 2]
    assert not mask[:start].any()  # its scale is not known, and not made up
    later = mask[start:]
    assert later[:, 2:].all()  # the third segment by the depth of the frames it shares with the second
    np.testing.assert_allclose(z[start:][later], truth.depth[start:][later], rtol=8 * HALF)
    valid = joined(results, "camera.valid")
    assert not valid[:start].any() and valid[start] and valid[-1]
    np.testing.assert_allclose(joined(results, "camera.cam_from_world")[valid], truth.cam_from_world[valid], atol=1e-5)
