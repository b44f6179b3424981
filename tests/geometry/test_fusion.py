"""Temporal fusion: its parts on exact data, then a spoilt prior made steady, and edge-aware maps."""

from __future__ import annotations

import numpy as np
import plane_scene
import pytest

from actors.embedded.temporal_fusion import TemporalFusion
from geoflow import fields
from geoflow.geometry.cameras import pinhole, project, unproject
from geoflow.geometry.depth.edge_aware import enlarge, fill, sharpen
from geoflow.geometry.depth.fusion import consensus
from geoflow.geometry.depth.registration import register, solve_scales
from geoflow.geometry.motion.epipolar import rotation_exp
from geoflow.geometry.working_size import WorkingSize
from geoflow.segments import Segment, VideoInfo


def test_registration_finds_the_pose_among_moving_points() -> None:
    rng = np.random.default_rng(0)
    k = pinhole(100.0, 96, 128).astype(np.float64)
    xyz = np.column_stack([rng.uniform(-2, 2, 300), rng.uniform(-1.5, 1.5, 300), rng.uniform(3, 8, 300)])[None]
    rotation, translation = rotation_exp(np.array([[0.02, -0.08, 0.01]])), np.array([[0.3, -0.1, 0.2]])
    seen = project(xyz @ np.swapaxes(rotation, 1, 2) + translation[:, None], k)
    moving = rng.random(300) < 0.35
    seen[0, moving] += rng.normal(0, 10, (moving.sum(), 2))
    found_rotation, found_translation, error = register(xyz, seen, np.ones((1, 300)), k)
    # Outliers that happen to lie within a pixel or two keep a little weight.
    assert np.abs(found_rotation - rotation).max() < 2e-3
    assert np.abs(found_translation - translation).max() < 1e-2
    assert np.median(error[0, ~moving]) < 0.1


def test_scales_are_solved_despite_wrong_edges_and_lonely_frames() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 0.3, 30)
    pairs = [(a, b) for a in range(30) for b in (a + 1, a + 4, a + 9) if b < 30 and 17 not in (a, b)]
    source, target = np.array(pairs).T
    ratio = truth[target] - truth[source]
    wrong = rng.random(len(pairs)) < 0.15
    ratio[wrong] += rng.normal(0, 1, wrong.sum())
    scales = solve_scales(source, target, ratio, np.ones(len(pairs)), 30)
    others = np.arange(30) != 17
    gap = (scales - truth)[others]
    assert np.ptp(gap) < 0.02  # L1 ignores the wrong edges up to its smoothing of 1e-3 per edge
    assert scales[17] == pytest.approx((scales[16] + scales[18]) / 2, abs=1e-3)


def test_consensus_follows_the_majority() -> None:
    views = np.array([[2.0, 2.0, 2.0, 0.0], [2.02, 4.0, 0.0, 3.0], [5.0, 7.0, 0.0, 3.06]], np.float32)[:, None]
    fused = consensus(views)[0]
    assert fused[0] == pytest.approx(2.01)  # two agree, the third is left out
    assert fused[1] == 0  # nobody agrees
    assert fused[2] == 2.0  # only the frame itself sees it
    assert fused[3] == pytest.approx(3.03)  # unseen by the frame itself, two neighbours agree


def spoil(clip: plane_scene.Clip, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth as a poor prior gives it: its own scale and shift per frame, blotches of error, outliers, holes."""
    rng = np.random.default_rng(5)
    count, height, width = clip.depth.shape
    v, u = np.mgrid[:height, :width]
    depth, mask = clip.depth.copy(), np.ones(clip.depth.shape, bool)
    for t in range(count):
        a, b, c = rng.uniform(0, 2 * np.pi, 3)
        depth[t] *= 1 + 0.07 * (np.sin(u / 17 + a) + np.sin(v / 13 + b) + np.sin((u + v) / 9 + c)) / 1.5
        depth[t] = np.exp(rng.normal(0, 0.2)) * (depth[t] + shift * rng.normal(0, 0.05) * np.median(depth[t]))
        y, x = rng.integers(0, height - 20), rng.integers(0, width - 20)
        depth[t, y : y + 18, x : x + 18] *= 2
        y, x = rng.integers(0, height - 14), rng.integers(0, width - 14)
        mask[t, y : y + 12, x : x + 12] = False
    return np.where(mask, depth, 0), mask


def fuse(clip: plane_scene.Clip, depth: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
    count, height, width = clip.depth.shape
    k = np.tile(clip.intrinsics.astype(np.float32), (count, 1, 1))
    video = VideoInfo("clip", "clip", "", count, 30.0, height, width, height, width)
    given = {
        "frames.rgb": clip.rgb,
        "prior.points": unproject(depth, k).astype(np.float16),
        "prior.mask": mask,
        "prior.intrinsics": k,
    }
    out = TemporalFusion().process(Segment(video, 0, 0, count), given)
    optional = TemporalFusion.optional_outputs
    fields.check(out, TemporalFusion.outputs, optional=optional, who="geometry", num_frames=count)
    return out


def error_and_flicker(depth: np.ndarray, mask: np.ndarray, truth: np.ndarray, per_frame: bool) -> tuple[float, float]:
    """Mean |relative error| and mean change of the log error between frames, at one scale (or one per frame)."""
    log = np.where(mask, np.log(np.maximum(depth, 1e-6) / truth), np.nan)
    if per_frame:
        log = log - np.nanmedian(log.reshape(len(log), -1), axis=1)[:, None, None]
    log = log - np.nanmedian(log)
    return float(np.nanmean(np.abs(np.expm1(log)))), float(np.nanmean(np.abs(np.diff(log, axis=0))))


@pytest.fixture(scope="module")
def clip() -> plane_scene.Clip:
    return plane_scene.render(plane_scene.walk(16, turn=0.006), 120, 160)


@pytest.mark.parametrize("shift", [0.0, 1.0], ids=["scale", "scale and shift"])
def test_fusion_is_steadier_and_truer_than_a_poor_prior_even_at_one_scale_per_frame(
    clip: plane_scene.Clip, shift: float
) -> None:
    depth, mask = spoil(clip, shift)
    out = fuse(clip, depth, mask)
    fused, fused_mask = out["geometry.points"][..., 2].astype(np.float32), out["geometry.mask"]
    prior_error, prior_flicker = error_and_flicker(depth, mask, clip.depth, per_frame=True)
    error, flicker = error_and_flicker(fused, fused_mask, clip.depth, per_frame=False)
    assert fused_mask.mean() > 0.85
    # Five views of independent errors average to 1/sqrt(5) at best; two rounds reach further.
    assert error < 0.7 * prior_error
    assert flicker < 0.35 * prior_flicker
    scale = np.array([np.median(z[m] / true[m]) for z, m, true in zip(fused, fused_mask, clip.depth)])
    assert np.std(np.log(scale)) < 0.03  # the prior's was 0.2
    assert np.median(fused[fused_mask]) == pytest.approx(1, rel=0.1)


def test_frames_without_a_prior_borrow_from_their_neighbours(clip: plane_scene.Clip) -> None:
    depth, mask = clip.depth.copy(), np.ones(clip.depth.shape, bool)
    depth[7], mask[7] = 0, False
    out = fuse(clip, depth / np.median(depth), mask)
    z, m = out["geometry.points"][7, ..., 2].astype(np.float32), out["geometry.mask"][7]
    ratio = z[m] / clip.depth[7][m]
    assert m.mean() > 0.7
    assert np.median(np.abs(ratio / np.median(ratio) - 1)) < 0.02  # the prior is exact, flow is not


def test_nothing_comes_of_nothing() -> None:
    clip = plane_scene.render(plane_scene.walk(3), 60, 80)
    out = fuse(clip, np.zeros(clip.depth.shape, np.float32), np.zeros(clip.depth.shape, bool))
    assert not out["geometry.mask"].any()
    assert not out["geometry.points"].any()


def test_one_frame_keeps_its_prior() -> None:
    clip = plane_scene.render(plane_scene.walk(1), 60, 80)
    out = fuse(clip, clip.depth / np.median(clip.depth), np.ones(clip.depth.shape, bool))
    ratio = out["geometry.points"][0, ..., 2].astype(np.float32) / clip.depth[0]
    assert np.median(np.abs(ratio / np.median(ratio) - 1)) < 1e-3  # float16


def step_scene() -> tuple[np.ndarray, np.ndarray]:
    """Depth 2 on the left and 4 on the right, with the colours to match: (40, 60) and (40, 60, 3)."""
    depth = np.full((40, 60), 4, np.float32)
    depth[:, :30] = 2
    guide = np.full((40, 60, 3), 200, np.uint8)
    guide[:, :30] = 40
    return depth, guide


def test_small_holes_are_closed_from_the_same_colour_and_large_ones_are_not() -> None:
    depth, guide = step_scene()
    holes = depth.copy()
    holes[10:13, 28:32] = 0  # across the edge
    holes[22:38, 40:56] = 0  # too large
    filled = fill(holes, guide)
    assert np.allclose(filled[10:13], depth[10:13])
    assert not filled[27:33, 45:51].any()


def test_depth_edges_move_onto_colour_edges() -> None:
    depth, guide = step_scene()
    fat = depth.copy()
    fat[:, 30] = 2  # as flow makes foregrounds
    assert np.allclose(sharpen(fat, guide), depth)


def test_enlarging_keeps_edges_and_invents_no_depth_between() -> None:
    depth, guide = step_scene()
    full_guide = np.repeat(np.repeat(guide, 3, axis=0), 3, axis=1)
    full = enlarge(depth, full_guide)
    assert full.shape == (120, 180)
    assert set(np.unique(full)) == {2.0, 4.0}
    assert np.allclose(full[:, :90], 2)
    assert np.allclose(full[:, 90:], 4)


def test_enlarging_keeps_the_edge_of_the_picture_and_the_holes() -> None:
    rgb = np.zeros((40, 80, 3), np.uint8)
    rgb[:, 43:] = 255
    depth = np.where(np.arange(20) < 11, 1.0, 3.0).astype(np.float32) * np.ones((10, 1), np.float32)
    depth[:3] = 0
    full = enlarge(depth, rgb)
    assert set(np.unique(full.round(3))) == {0.0, 1.0, 3.0}  # no value between the two sides
    assert (full[:10] == 0).all()
    assert (full[20, :43] == 1).all() and (full[20, 44:] == 3).all()


def test_intrinsics_follow_the_working_size() -> None:
    size = WorkingSize.at_most(96, 128, 64)
    k = pinhole(100.0, 96, 128)
    assert np.allclose(size.shrink_intrinsics(k), pinhole(50.0, 48, 64))
    assert np.allclose(size.enlarge_intrinsics(size.shrink_intrinsics(k)), k)
