"""Motion stereo: two-view geometry on exact matches, then whole clips whose depth is known."""

from __future__ import annotations

import numpy as np
import plane_scene
import pytest

from actors.embedded.motion_stereo import MotionStereo
from geoflow import fields
from geoflow.fields import (
    DOUBT_NONE,
    DOUBT_REVERSED,
    DOUBT_UNMATCHED,
    MOTION_ROTATING,
    MOTION_STILL,
    MOTION_UNKNOWN,
)
from geoflow.geometry.cameras import pinhole, pixel_grid, pixel_rays, project
from geoflow.geometry.depth.two_view import PairDepth, combine, triangulate
from geoflow.geometry.motion.epipolar import (
    find_motion,
    fit_rotation,
    inverse_depths,
    mirrored_motion,
    refine_motion,
    rotation_exp,
    told_from_mirrored,
)
from geoflow.geometry.motion.survey import (
    Matches,
    Survey,
    _Worlds,
    choose_gaps,
    median_parallax,
    vote_lens,
)
from geoflow.segments import Segment, VideoInfo

HEIGHT, WIDTH = 120, 160
K = pinhole(150.0, HEIGHT, WIDTH).astype(np.float64)
CENTER = K[:2, 2]


def relief(seed: int = 0) -> np.ndarray:
    """A smooth, bumpy depth map (H, W) between about 2 and 5."""
    u, v = np.moveaxis(pixel_grid(HEIGHT, WIDTH).astype(np.float64), -1, 0)
    return 3.4 + np.sin(u / 17 + seed) + 0.5 * np.cos(v / 12 - seed) + 0.004 * u


def exact_flow(depth: np.ndarray, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    xyz = pixel_rays(pixel_grid(HEIGHT, WIDTH), K) * depth[..., None]
    return project(xyz @ rotation.T + translation, K) - pixel_grid(HEIGHT, WIDTH)


def matches(pairs: int, *, baseline: float = 0.4, turn: float = 0.12) -> tuple[Matches, np.ndarray, np.ndarray]:
    """Exact matches of pairs that turn about changing axes, with their rotations and translations."""
    rng = np.random.default_rng(4)
    grid = pixel_grid(HEIGHT, WIDTH)[3::6, 3::6].reshape(-1, 2).astype(np.float64)
    rotation = rotation_exp(rng.normal(0, turn, (pairs, 3)))
    translation = rng.normal(0, 1, (pairs, 3))
    translation *= baseline / np.linalg.norm(translation, axis=1, keepdims=True)
    flows = [
        exact_flow(relief(p), r, t)[3::6, 3::6].reshape(-1, 2) for p, (r, t) in enumerate(zip(rotation, translation))
    ]
    uv_a, weight = np.stack([grid] * pairs), np.ones((pairs, len(grid)))
    return Matches(np.arange(pairs), np.full(pairs, 8), uv_a, uv_a + np.stack(flows), weight), rotation, translation


def test_triangulation_of_exact_flow_is_the_inverse_depth() -> None:
    depth, rotation, translation = relief(), rotation_exp(np.array([0.02, -0.05, 0.03])), np.array([0.5, 0.1, 0.2])
    flow = exact_flow(depth, rotation, translation).astype(np.float32)
    view = triangulate(flow, np.zeros((HEIGHT, WIDTH), np.float32), rotation, translation, K)
    valid = view.information > 0
    assert valid.mean() > 0.95
    # Flow in float32 is off by 4e-6 px against a parallax above 1.5 px; the products add a few digits.
    assert np.allclose(view.inverse[valid] * depth[valid], 1, atol=1e-3)


def test_points_off_their_epipolar_line_or_behind_the_camera_are_refused() -> None:
    rotation, translation = np.eye(3), np.array([0.5, 0.0, 0.0])
    flow = exact_flow(relief(), rotation, translation).astype(np.float32)
    flow[:10, :, 1] += 2.0  # sideways of horizontal epipolar lines
    flow[-10:] *= -1  # as if behind the camera
    view = triangulate(flow, np.zeros((HEIGHT, WIDTH), np.float32), rotation, translation, K)
    assert not view.information[:10].any()
    assert not view.information[-10:].any()
    assert (view.information[10:-10] > 0).all()


@pytest.mark.parametrize("pair", range(3))
def test_pose_is_found_among_outliers(pair: int) -> None:
    found, rotation, translation = matches(3, baseline=0.6)
    rng = np.random.default_rng(1)
    moving = np.flatnonzero(rng.random(found.weight.shape[1]) < 0.25)
    found.uv_b[pair, moving] += rng.normal(0, 8, (len(moving), 2))
    motion = find_motion(found.uv_a[pair], found.uv_b[pair], found.weight[pair], K)
    assert motion is not None
    direction = translation[pair] / np.linalg.norm(translation[pair])
    # Three quarters of the matches are exact. Outliers within a pixel of their line pull a little.
    assert np.abs(motion.rotation[0] - rotation[pair]).max() < 0.01
    assert abs(motion.translation[0] @ direction) > np.cos(np.radians(2))
    assert motion.error_px[0] < 0.1


def test_rotation_leaves_no_parallax_and_translation_does() -> None:
    turning, rotation, _ = matches(4, baseline=1e-9)
    found, left = fit_rotation(turning.uv_a, turning.uv_b, turning.weight, np.full(4, K[0, 0]), CENTER)
    assert np.abs(found - rotation).max() < 1e-4
    assert left.max() < 0.05
    assert median_parallax(matches(4)[0], K[0, 0], CENTER).min() > 0.5


@pytest.mark.parametrize("baseline", [0.5, 1e-9], ids=["moving", "turning"])
def test_focal_length_is_voted_from_exact_matches(baseline: float) -> None:
    found, _, _ = matches(10, baseline=baseline)
    focal = vote_lens(found, CENTER, WIDTH, unit=WIDTH / 320).focal
    # The vertex of a parabola through samples 4% apart, pulled a little by the prior at 0.85 widths (136 px).
    assert focal == pytest.approx(K[0, 0], rel=0.03)


def test_gaps_are_long_where_motion_is_slow_and_none_where_there_is_none() -> None:
    first = np.repeat(np.arange(0, 90, 10), 3)
    gap = np.tile([2, 8, 16], 9)
    speed = np.where(first < 30, 0.0, np.where(first < 60, 0.2, 1.5))  # px of parallax per frame
    found = Matches(first, gap, np.zeros((27, 1, 2)), np.zeros((27, 1, 2)), np.ones((27, 1)))
    forward, backward = choose_gaps(found, speed * gap, np.full(27, 0.9), 90)
    assert not forward[:15].any()
    assert (forward[35:45] == 16).all()
    assert (forward[65:80] == 2).all()
    assert forward[-1] == 0 and backward[-1] == 2


def test_two_views_are_brought_to_one_scale_and_contradictions_dropped() -> None:
    inverse = (1 / relief()).astype(np.float32)
    information = np.full(inverse.shape, 1e4, np.float32)
    other = inverse * 3
    other[:5] *= 2  # moved by itself between the two views
    joined = combine(PairDepth(inverse, information), PairDepth(other, information / 9))
    assert not joined.information[:5].any()
    assert np.allclose(joined.inverse[5:], inverse[5:], rtol=1e-5)
    assert joined.information[5:].min() > 0


def orbit(focal: float, pairs: int = 8) -> tuple[Matches, list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Exact matches of a camera that circles around the relief, with its rotations, translations and matrix (3, 3)."""
    k, grid = pinhole(focal, HEIGHT, WIDTH).astype(np.float64), pixel_grid(HEIGHT, WIDTH)[3::6, 3::6].reshape(-1, 2)
    rotation = [rotation_exp(np.array([0.02 * np.cos(p), 0.1 * (-1) ** p, 0.01])) for p in range(pairs)]
    translation = [(np.eye(3) - r) @ [0, 0, 3.5] for r in rotation]
    landed = []
    for p, (r, t) in enumerate(zip(rotation, translation)):
        xyz = pixel_rays(pixel_grid(HEIGHT, WIDTH), k) * relief(p)[..., None]
        landed.append(project(xyz @ r.T + t, k)[3::6, 3::6].reshape(-1, 2))
    uv_a = np.stack([grid.astype(np.float64)] * pairs)
    found = Matches(np.arange(pairs), np.full(pairs, 8), uv_a, np.stack(landed), np.ones(uv_a.shape[:2]))
    return found, rotation, translation, k


def test_a_long_lens_that_circles_is_not_taken_for_a_wide_one_with_near_and_far_exchanged() -> None:
    found, _, _, _ = orbit(2.0 * WIDTH)
    noise = np.random.default_rng(2).normal(0, 0.1, found.uv_b.shape)  # flow of sharp pictures is that good
    spoilt = Matches(found.first, found.gap, found.uv_a, found.uv_b + noise, found.weight)
    # A circling camera hardly tells its lens, and usual lenses (0.85 widths) are preferred; but with those the only
    # motion that fits has near and far exchanged, and points behind the camera.
    assert vote_lens(spoilt, CENTER, WIDTH, unit=WIDTH / 320).focal > 1.05 * WIDTH


def test_an_unknown_lens_tells_near_from_far_only_if_no_other_lens_shows_them_exchanged() -> None:
    told, _, _, _ = orbit(1.2 * WIDTH)
    assert vote_lens(told, CENTER, WIDTH, unit=WIDTH / 320).tells_order
    few, _, _, _ = orbit(1.2 * WIDTH, pairs=4)
    assert not vote_lens(few, CENTER, WIDTH, unit=WIDTH / 320).tells_order
    longer, _, _, _ = orbit(8.0 * WIDTH)  # than all lenses that are tried, and best seen with a wide one, reversed
    vote = vote_lens(longer, CENTER, WIDTH, unit=WIDTH / 320)
    assert vote.focal < WIDTH and not vote.tells_order


def test_orders_of_depth_are_compared_each_with_its_best_lens() -> None:
    order = np.arange(20, dtype=np.float32)
    rank = np.stack([order, order[::-1]])[None, :, None].repeat(2, 0).repeat(3, 2)  # (F=2, W=2, P=3, N=20)
    cost = np.array([[[0.1, 0.1, 0.1], [0.8, 0.9, 0.8]], [[0.5, 0.5, 0.5], [0.12, 0.12, 0.9]]])
    assert _Worlds(cost, rank).by_order(0, np.ones((3, 20))) == pytest.approx((0.1, 0.12))
    assert _Worlds(cost, rank[:, [0, 0]]).by_order(0, np.ones((3, 20))) == (pytest.approx(0.1), np.inf)


def test_a_motion_is_told_from_the_one_with_near_and_far_exchanged() -> None:
    found, rotation, translation, k = orbit(1.2 * WIDTH)
    one, focal = slice(0, 1), np.array([k[0, 0]])
    true = relief(0)[3::6, 3::6].ravel()
    right = inverse_depths(found.uv_a[one], found.uv_b[one], focal, CENTER, rotation[0][None], translation[0][None])
    assert np.allclose(right.inverse[0] * true, 1, atol=1e-3) and right.share_behind(found.weight[one])[0] == 0
    start = mirrored_motion(rotation[0][None], right)
    wrong = refine_motion(found.uv_a[one], found.uv_b[one], found.weight[one], focal, CENTER, *start, 0)
    depths = inverse_depths(found.uv_a[one], found.uv_b[one], focal, CENTER, wrong.rotation, wrong.translation)
    assert np.corrcoef(depths.inverse[0], 1 / true)[0, 1] < -0.8
    told = told_from_mirrored(found.uv_a[0], found.uv_b[0], found.weight[0], k, wrong)
    assert told is not None and np.abs(told.rotation[0] - rotation[0]).max() < 1e-3


def test_a_lens_that_is_stated_far_too_wide_gives_no_depth_rather_than_reversed_depth() -> None:
    found, _, _, _ = orbit(2.0 * WIDTH)
    wide = pinhole(0.8 * WIDTH, HEIGHT, WIDTH).astype(np.float64)
    for a, b, weight in zip(found.uv_a, found.uv_b, found.weight):
        motion = find_motion(a, b, weight, wide)
        assert motion is not None
        assert told_from_mirrored(a, b, weight, wide, motion) is None


def test_two_views_that_disagree_on_the_order_of_depth_give_none() -> None:
    inverse = (1 / relief()).astype(np.float32)
    information = np.full(inverse.shape, 1e4, np.float32)
    joined = combine(PairDepth(inverse, information), PairDepth(0.6 - inverse, information))
    assert not joined.information.any()


def run_stage(
    clip: plane_scene.Clip,
    known: bool = False,
    ignored: np.ndarray | None = None,
    camera: dict[str, np.ndarray] | None = None,
    **params: int,
) -> dict[str, np.ndarray]:
    count, height, width = clip.depth.shape
    k = clip.intrinsics
    intrinsics = (k[0, 0], k[1, 1], k[0, 2], k[1, 2]) if known else None
    video = VideoInfo("clip", "clip", "", count, 30.0, height, width, height, width, intrinsics=intrinsics)
    given = {"frames.rgb": clip.rgb} if ignored is None else {"frames.rgb": clip.rgb, "frames.mask": ignored}
    stage = MotionStereo(MotionStereo.Params(**params))
    out = stage.process(Segment(video, 0, 0, count), given | (camera or {}))
    fields.check(out, MotionStereo.outputs, who="prior", num_frames=count)
    return out


def test_clip_of_planes_gives_their_depth_up_to_a_scale_per_frame() -> None:
    clip = plane_scene.render(plane_scene.walk(14, turn=0.008), 180, 240)
    ignored = np.zeros(clip.depth.shape, bool)
    ignored[:, 75:105, 75:120] = True
    out = run_stage(clip, ignored=ignored)
    mask, depth = out["prior.mask"], out["prior.points"][..., 2].astype(np.float32)
    assert not mask[ignored].any()
    assert mask[~ignored].mean() > 0.75
    assert not out["prior.points"][~mask].any()
    for z, true, m in zip(depth, clip.depth, mask):
        ratio = z[m] / true[m]
        # 0.25 px of flow noise on about 4 px of parallax are 6%; the median of a normal error is two thirds of that.
        assert np.median(np.abs(ratio / np.median(ratio) - 1)) < 0.05
        assert np.median(z[m]) == pytest.approx(1, rel=0.03)
    assert out["prior.intrinsics"][0, 0, 0] == pytest.approx(clip.intrinsics[0, 0], rel=0.08)


@pytest.mark.parametrize("turn", [0.0, 0.01], ids=["still", "turning"])
def test_without_parallax_everything_is_masked(turn: float) -> None:
    clip = plane_scene.render(plane_scene.walk(14, step=(0, 0, 0), turn=turn))
    noise = np.random.default_rng(0).normal(0, 2, clip.rgb.shape)  # a sensor's, so that flow is not exactly zero
    rgb = np.clip(clip.rgb + noise, 0, 255).astype(np.uint8)
    out = run_stage(plane_scene.Clip(rgb, clip.depth, clip.cam_from_world, clip.intrinsics))
    assert not out["prior.mask"].any()
    assert not out["prior.points"].any()
    assert np.isfinite(out["prior.intrinsics"]).all() and (out["prior.intrinsics"][:, 0, 0] > 0).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_clips_of_a_few_frames_pass_through(count: int) -> None:
    clip = plane_scene.render(plane_scene.walk(count), 60, 80)
    out = run_stage(clip, known=True)
    assert np.allclose(out["prior.intrinsics"], clip.intrinsics)
    assert out["prior.mask"].shape == (count, 60, 80)


def test_frames_are_thinned_among_those_with_a_neighbour() -> None:
    forward = np.where(np.arange(40) < 10, 0, 4)  # the first ten have nothing to triangulate against
    survey = Survey(100.0, forward, np.zeros(40, int))
    served = np.arange(40) < 35
    wanted = survey.thinned(served, 10)
    assert wanted[35:].all() and not wanted[:10].any()
    assert wanted[10:35].sum() == 3
    assert survey.thinned(served, 1000)[:35].sum() == 2
    assert survey.thinned(served, 1)[10:].all()
    assert survey.thinned(~np.ones(40, bool), 10).all()


def test_where_the_camera_gives_depth_the_prior_judges_some_frames_with_its_lens() -> None:
    clip = plane_scene.render(plane_scene.walk(14, turn=0.008))
    lens = np.tile(1.04 * clip.intrinsics.astype(np.float32), (14, 1, 1))  # not what the motion would tell
    lens[:, 2, 2] = 1
    valid = np.arange(14) < 12
    depth = np.where(valid[:, None, None], clip.depth, 0).astype(np.float16)
    camera = {"camera.intrinsics": lens, "camera.depth": depth, "camera.valid": valid}
    out = run_stage(clip, camera=camera)
    computed = out["prior.mask"].any((1, 2))
    assert computed[:12].sum() == 2 and computed[12:].all()
    assert np.allclose(out["prior.intrinsics"], lens)
    assert run_stage(clip, camera=camera, every=1)["prior.mask"].any((1, 2)).all()
    nothing = {**camera, "camera.valid": np.zeros(14, bool), "camera.intrinsics": np.full_like(lens, np.nan)}
    nothing["camera.depth"] = np.zeros_like(depth)
    dense = run_stage(clip, camera=nothing)
    assert dense["prior.mask"].any((1, 2)).all()
    assert not np.allclose(dense["prior.intrinsics"], lens)


@pytest.mark.parametrize(
    ("said", "code", "computed"),
    [
        ("doubt", DOUBT_REVERSED, False),
        ("doubt", DOUBT_NONE, False),
        ("doubt", DOUBT_UNMATCHED, True),
        ("motion", MOTION_ROTATING, False),
        ("motion", MOTION_STILL, False),
        ("motion", MOTION_UNKNOWN, False),
    ],
)
def test_the_prior_claims_nothing_where_the_camera_says_why_two_views_give_none(
    said: str, code: int, computed: bool
) -> None:
    clip = plane_scene.render(plane_scene.walk(8, turn=0.008))
    camera = {
        "camera.intrinsics": np.full((8, 3, 3), np.nan, np.float32),
        "camera.depth": np.zeros(clip.depth.shape, np.float16),
        "camera.valid": np.zeros(8, bool),
        "camera.motion": np.full(8, MOTION_UNKNOWN, np.uint8),
    }
    camera[f"camera.{said}"] = np.full(8, code, np.uint8)
    out = run_stage(clip, known=True, camera=camera)
    assert out["prior.mask"].any((1, 2)).all() == computed == out["prior.mask"].any()


def test_a_frame_that_contradicts_a_camera_with_which_most_agree_is_not_claimed() -> None:
    clip = plane_scene.render(plane_scene.walk(14, turn=0.008))
    depth = clip.depth.astype(np.float16)
    camera = {
        "camera.intrinsics": np.tile(clip.intrinsics.astype(np.float32), (14, 1, 1)),
        "camera.valid": np.ones(14, bool),
    }
    judged = depth.copy()
    judged[5] = 1 / depth[5]
    claimed = run_stage(clip, camera=camera | {"camera.depth": judged}, every=1)["prior.mask"].any((1, 2))
    assert np.flatnonzero(~claimed).tolist() == [5]
    # If most contradict it, the camera may be the one that is wrong: the judge keeps its word.
    wrong = (1 / depth).astype(np.float16)
    assert run_stage(clip, camera=camera | {"camera.depth": wrong}, every=1)["prior.mask"].any((1, 2)).all()
