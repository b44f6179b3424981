"""Dense depth of every posed frame, from optical flow between some of the frames.

Depth is computed for key frames, and carried to the frames between. Every flow vector is triangulated along its
epipolar line. It gets depth 0 if the line, the way back, or the other source frames contradict it. Things that move by
themselves fail these checks and drop out. A plane sweep over the same frames gives a second opinion. Blank surfaces get
planes and what is around them, and keep only the part of it that another frame confirms.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence

import cv2
import numpy as np

from geoflow.geometry.cameras import pixel_grid, resize_intrinsics
from geoflow.geometry.depth.blank_planes import lay_planes
from geoflow.geometry.depth.edge_aware import enlarge, spread
from geoflow.geometry.depth.frame_pairs import choose_keys, choose_pairs, in_view
from geoflow.geometry.depth.plane_sweep import reconcile, sweep
from geoflow.geometry.depth.posed_views import PosedView, Straightening, carry, project
from geoflow.geometry.depth.triangulation import inverse_depth_of_matches
from geoflow.geometry.optical_flow import dense_flow, flow_error
from geoflow.geometry.rigid import invert

# Lengths in px are for 320x240, and grow with the working size, see PosedView.unit.
_MAX_EPIPOLAR_PX = 1.0
_MAX_RETURN_PX = 1.0
_FLOW_SIGMA_PX = 0.25  # error of the flow on textured surfaces
_FLOW_WINDOW = (9, 9)
_TEXTURE_PX = 2.0  # flow error, px, where brightness changes by one level per px; inverse to the change
_BLANK = 4.0  # levels per px; a surface with less is even, and flow on it is uncertain
_REACH = 15.0  # px that depth is carried on an even surface
_LEAST_SUPPORT = 0.2  # share of known depth needed around a pixel that is filled
_MAX_SIGMA = 0.15  # relative depth error beyond which a pixel is left out
_MAX_SIGMA_ALONE = 0.075  # the same if only one source contributes
_MAX_CHECKS = 4  # other frames whose depth is compared with a frame's own
_LEAST_KNOWN = 0.03  # share of the picture; a map with less is dropped
_LEAST_POINTS = 10  # points of the structure in a picture, needed to judge its depth
_FAR_OFF = 0.2  # relative distance of a depth from a point of the structure seen there
_AGREE = 0.05  # relative depth difference up to which two frames see the same surface


def multiview_depth(
    rgb: np.ndarray,
    intrinsics: np.ndarray,
    cam_from_world: np.ndarray,
    valid: np.ndarray,
    xyz: np.ndarray,
    *,
    seen: np.ndarray | None = None,
    radial: float = 0.0,
    distortion: Sequence[float] | None = None,
    masks: np.ndarray | None = None,
    width: int = 480,
    sources: int = 6,
) -> np.ndarray:
    """Compute depth z of every posed frame, in the unit of the poses.

    Args:
        rgb: (T, H, W, 3) uint8. intrinsics: (3, 3) px, or (T, 3, 3) where they change. cam_from_world: (T, 4, 4).
        valid: (T,) bool, frames to use.
        xyz: (M, 3) world points of the scene (NaN rows are skipped): they tell how far the picture shifts.
        seen: (T, M) bool, which points each frame shows; depth that contradicts most of them is dropped.
        radial: k1 of the lens (see `Structure`): flows are then computed on pictures without distortion.
        distortion: instead of `radial`, up to five of OpenCV's coefficients for a known lens.
        masks: (T, H, W) bool, True where no depth is wanted.
        width: px, working width of a 4:3 picture; other shapes get as many pixels.
        sources: number of frames that each key frame is compared with.

    Returns (T, H, W) float16, 0 where unknown; float32 would take too much memory for a segment.
    """
    num_frames, full_h, full_w = rgb.shape[:3]
    scale = min(1.0, width * np.sqrt(0.75 / (full_h * full_w)))
    size = (round(full_w * scale), round(full_h * scale))
    shown_by = {
        int(t): resize_intrinsics(k, size[0] / full_w, size[1] / full_h)
        for t, k in enumerate(np.broadcast_to(intrinsics, (num_frames, 3, 3)))
        if valid[t]
    }
    k = np.median(list(shown_by.values()), axis=0).astype(np.float32) if shown_by else np.eye(3, dtype=np.float32)
    lenses = _lenses(shown_by, (radial,) if distortion is None else distortion, size, k)
    views = {
        t: _view(rgb[t], cam_from_world[t], lens, None if masks is None else masks[t]) for t, lens in lenses.items()
    }
    known = np.isfinite(xyz[:, 0])
    shown = np.zeros((num_frames, int(known.sum())), bool) if seen is None else seen[:, known]
    depths = _depths(views, k, xyz[known], shown, sources)
    depth = np.zeros((num_frames, full_h, full_w), np.float16)
    for t, found in depths.items():
        depth[t] = enlarge(lenses[t].distort(found), rgb[t])
        if masks is not None:
            depth[t][masks[t]] = 0
    return depth


def _lenses(
    shown_by: dict[int, np.ndarray], distortion: Sequence[float], size: tuple[int, int], seen_as: np.ndarray
) -> dict[int, Straightening]:
    """The lens of each frame; frames of equal intrinsics (3, 3) share one."""
    known: dict[bytes, Straightening] = {}
    lenses = {}
    for t, k in shown_by.items():
        if (key := k.tobytes()) not in known:
            known[key] = Straightening(k, distortion, size, seen_as)
        lenses[t] = known[key]
    return lenses


def _depths(
    views: dict[int, PosedView], k: np.ndarray, points: np.ndarray, shown: np.ndarray, sources: int
) -> dict[int, np.ndarray]:
    """Return depth (h, w) float32 of every view; `shown` (T, M) bool: which points (M, 3) world each frame shows."""
    poses = {t: view.cam_from_world for t, view in views.items()}
    size = next(iter(views.values())).gray.shape[::-1] if views else (0, 0)
    keys = choose_keys(poses, k, size, points)
    pairs = choose_pairs({t: poses[t] for t in keys}, k, size, points, sources)
    estimates: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {t: [] for t in keys}
    linked: dict[int, list[int]] = {t: [] for t in keys}
    for a, b in pairs:
        for t, other, estimate in zip((a, b), (b, a), _both_ways(views[a], views[b], k, points)):
            estimates[t].append(estimate)
            linked[t].append(other)
    fused = {t: fuse(found, views[t].gray.shape) for t, found in estimates.items()}
    del estimates
    fused = {t: _second_opinion(t, depth, views, linked[t], k, points, shown[t]) for t, depth in fused.items()}
    sure: dict[int, np.ndarray] = {}
    for t in keys:
        checked = cross_check(t, fused, views, linked[t], k)
        sure[t] = checked if agrees_with(checked, views[t], k, points[shown[t]]) else 0 * checked
    completed = {t: complete(lay_planes(sure[t], views[t]), views[t]) for t in keys}
    whole = {t: confirm(t, completed, sure[t] > 0, views, linked[t], k) for t in keys}
    return {
        t: whole[t] if t in whole else carry(view, [(views[s], whole[s]) for s in _around(t, keys)], k)
        for t, view in views.items()
    }


def _second_opinion(
    t: int,
    depth: np.ndarray,
    views: dict[int, PosedView],
    others: Sequence[int],
    k: np.ndarray,
    points: np.ndarray,
    shown: np.ndarray,
) -> np.ndarray:
    """Return frame t's depth from flow (h, w) as a plane sweep over the same frames corrects it.

    The range of the sweep is that of the `points` (M, 3) world that the frame shows, `shown` (M,) bool, or of those in
    its view if that is not known. With hardly any, its depth stays as it is.
    """
    view = views[t]
    chosen = points[shown]
    if len(chosen) < _LEAST_POINTS:
        chosen = in_view(view.cam_from_world, k, view.gray.shape[::-1], points)
    if not others or len(chosen) < _LEAST_POINTS:
        return depth
    before, after = ([views[s] for s in others if (s < t) == earlier] for earlier in (True, False))
    return reconcile(depth, sweep(view, before, after, k, chosen))


def _around(t: int, keys: list[int]) -> list[int]:
    """Return the keys before and after frame t, the nearer one first."""
    at = bisect(keys, t)
    return sorted(keys[max(0, at - 1) : at + 1], key=lambda s: abs(s - t))


def _view(rgb: np.ndarray, pose: np.ndarray, lens: Straightening, mask: np.ndarray | None) -> PosedView:
    if rgb.shape[:2] != lens.size[::-1]:
        rgb = cv2.resize(rgb, lens.size, interpolation=cv2.INTER_AREA)
    rgb = lens.undistort(rgb)
    if mask is not None:
        mask = cv2.resize(mask.astype(np.uint8), lens.size, interpolation=cv2.INTER_NEAREST)
        mask = lens.undistort(mask, cv2.INTER_NEAREST) > 0
    return PosedView(rgb, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), pose.astype(np.float64), mask)


def _both_ways(a: PosedView, b: PosedView, k: np.ndarray, points: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return inverse depth and standard deviation, (h, w) float16 each, of views a and b; (0, inf) where unknown."""
    b_from_a = b.cam_from_world @ invert(a.cam_from_world)
    forth, back = _flow(a, b, k, b_from_a, points), _flow(b, a, k, invert(b_from_a), points)
    found = []
    for view, flow, way_back, relative in ((a, forth, back, b_from_a), (b, back, forth, invert(b_from_a))):
        error = flow_error(flow, way_back)
        inverse, sigma, epipolar = triangulate(flow, k, relative)
        blur = _TEXTURE_PX / np.maximum(texture(view, epipolar_direction(k, relative, view.gray.shape)), 1e-3)
        sigma = sigma * np.hypot(np.hypot(_FLOW_SIGMA_PX, blur), 0.5 * np.minimum(error, 9))
        good = (error < _MAX_RETURN_PX * view.unit) & (epipolar < _MAX_EPIPOLAR_PX * view.unit) & (inverse > 1e-3)
        if view.ignore is not None:
            good &= ~view.ignore
        found.append((np.where(good, inverse, 0).astype(np.float16), np.where(good, sigma, np.inf).astype(np.float16)))
    return found


def epipolar_direction(k: np.ndarray, b_from_a: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Unit vectors (h, w, 2) float32 along which the pixels of view a move in view b as their depth changes."""
    epipole = (k @ b_from_a[:3, 3]).astype(np.float32)
    along = epipole[:2] - epipole[2] * pixel_grid(*shape)
    length = cv2.magnitude(along[..., 0], along[..., 1])
    return along / np.maximum(length, 1e-9)[..., None]


def texture(view: PosedView, direction: np.ndarray) -> np.ndarray:
    """Return how fast brightness changes along `direction` (h, w, 2): (h, w) float32, 8-bit levels per px.

    It is the root mean square over the window that flow is fitted to. The larger it is, the better places on an
    epipolar line can be distinguished.
    """
    across, down = view.gradient
    change = across * direction[..., 0] + down * direction[..., 1]
    return cv2.sqrt(cv2.blur(change * change, _FLOW_WINDOW))


def _flow(a: PosedView, b: PosedView, k: np.ndarray, b_from_a: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Flow (h, w, 2) float32 px from a to b, started from the motion of a plane at the scene's median depth."""
    height, width = a.gray.shape
    seen = in_view(a.cam_from_world, k, (width, height), points)
    depth = np.median(seen @ a.cam_from_world[2, :3] + a.cam_from_world[2, 3]) if len(seen) else np.inf
    plane = b_from_a[:3, :3] + np.outer(b_from_a[:3, 3], [0, 0, 1 / depth])
    uv = pixel_grid(height, width)
    start = cv2.perspectiveTransform(uv.reshape(1, -1, 2), k @ plane @ np.linalg.inv(k)).reshape(uv.shape) - uv
    return dense_flow(a.gray, b.gray, start)


def triangulate(
    flow: np.ndarray, intrinsics: np.ndarray, b_from_a: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the inverse depth in view a for every flow vector a -> b, at the nearest point of its epipolar line.

    Args: flow (H, W, 2) px; intrinsics (3, 3); b_from_a (4, 4).

    Returns (H, W) float32 each: inverse depth; its standard deviation per px of flow error (inf where the flow tells
    nothing); and the distance px of the match from the epipolar line. Points behind either camera get (0, inf, inf).
    """
    height, width = flow.shape[:2]
    u, v = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    inverse, power, sideways, z = inverse_depth_of_matches(
        u, v, u + flow[..., 0], v + flow[..., 1], b_from_a[:3, :3], b_from_a[:3, 3], intrinsics
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        sigma = np.abs(z) / np.sqrt(power)
        epipolar = sideways / np.abs(z)
    bad = ~((inverse > 0) & (z > 1e-6) & np.isfinite(epipolar))
    inverse[bad], sigma[bad], epipolar[bad] = 0, np.inf, np.inf
    return inverse, sigma, epipolar


def fuse(estimates: list[tuple[np.ndarray, np.ndarray]], shape: tuple[int, int]) -> np.ndarray:
    """Combine inverse depths with their standard deviations into one depth map, (H, W) float32; 0 where uncertain.

    The estimate that most weight agrees with wins, and the agreeing estimates are averaged. A single source counts only
    where no other source has an estimate, and then with half the allowed error.
    """
    if not estimates:
        return np.zeros(shape, np.float32)
    inverse = [e[0].astype(np.float32) for e in estimates]
    sigma = [np.maximum(e[1].astype(np.float32), 1e-4) for e in estimates]
    weight = [1 / (s * s) for s in sigma]  # 0 where sigma is infinite
    weighted = [q * w for q, w in zip(weight, inverse)]
    count = sum((w > 0).astype(np.float32) for w in inverse)
    best_support, best_sum, number = (np.zeros(shape, np.float32) for _ in range(3))
    for i, (w, s) in enumerate(zip(inverse, sigma)):
        support, total, agreeing = weight[i].copy(), weighted[i].copy(), (w > 0).astype(np.float32)
        for j, (other, other_s) in enumerate(zip(inverse, sigma)):
            if j != i:
                agree = ((np.abs(other - w) < 1.8 * (s + other_s) + 0.01 * w) & (other > 0)).astype(np.float32)
                support += agree * weight[j]
                total += agree * weighted[j]
                agreeing += agree
        better = (w > 0) & (support > best_support)
        np.copyto(best_support, support, where=better)
        np.copyto(best_sum, total, where=better)
        np.copyto(number, agreeing, where=better)
    mean = best_sum / np.maximum(best_support, 1e-9)
    relative = 1 / np.sqrt(np.maximum(best_support, 1e-9)) / np.maximum(mean, 1e-6)
    trusted = (number >= 2) & (relative < _MAX_SIGMA) & (number * 2 >= count)
    alone = (number == 1) & (count == 1) & (relative < _MAX_SIGMA_ALONE)
    return np.where(trusted | alone, 1 / np.maximum(mean, 1e-6), 0).astype(np.float32)


def cross_check(
    t: int, depth: dict[int, np.ndarray], views: dict[int, PosedView], others: Sequence[int], k: np.ndarray
) -> np.ndarray:
    """Average frame t's depth with other frames' depth of the same surface, and drop what they contradict.

    `depth` maps frames to (h, w) float32. Another frame contradicts a point if it sees a surface behind it. Returns
    (h, w) float32, 0 where unknown.
    """
    total, agreeing, through = _votes(t, depth, views, others, k)
    mean = total / (1 + agreeing)
    return np.where((depth[t] > 0) & (agreeing >= through), mean, 0).astype(np.float32)


def confirm(
    t: int,
    depth: dict[int, np.ndarray],
    measured: np.ndarray,
    views: dict[int, PosedView],
    others: Sequence[int],
    k: np.ndarray,
) -> np.ndarray:
    """Keep of frame t's completed depth what other frames' completed depth supports.

    Every pixel drops out that more frames contradict than support. One that is not `measured` (h, w) bool needs the
    support of another frame, and of twice as many as contradict it. The rest is as in `cross_check`.
    """
    total, agreeing, through = _votes(t, depth, views, others, k)
    good = np.where(measured, agreeing >= through, agreeing >= np.maximum(1, 2 * through))
    return np.where((depth[t] > 0) & good, total / (1 + agreeing), 0).astype(np.float32)


def _votes(
    t: int, depth: dict[int, np.ndarray], views: dict[int, PosedView], others: Sequence[int], k: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare frame t's depth with other frames' depth of the same points.

    Returns (h, w) float32 each: its depth plus the depths that agree; how many frames agree; and how many see a surface
    behind it.
    """
    own = depth[t]
    u, v = np.arange(own.shape[1], dtype=np.float32), np.arange(own.shape[0], dtype=np.float32)[:, None]
    total, agreeing, through = own.copy(), np.zeros(own.shape, np.float32), np.zeros(own.shape, np.float32)
    for s in others[:_MAX_CHECKS]:
        x, y, z = project(u, v, own, views[s].cam_from_world @ invert(views[t].cam_from_world), k)
        other = cv2.remap(depth[s], x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
        ratio = np.where((other > 0) & (own > 0), other / z, 0)
        same = np.abs(ratio - 1) < _AGREE
        total += np.where(same, own * ratio, 0)
        agreeing += same
        through += ratio > 1 + 2 * _AGREE
    return total, agreeing, through


def agrees_with(depth: np.ndarray, view: PosedView, k: np.ndarray, points: np.ndarray) -> bool:
    """Return whether a depth map (h, w) fits the points (N, 3) world that the view shows.

    A map with hardly any depth does not fit either: where nearly all depth was refused, as in fast forward motion, the
    rest are errors.
    """
    if (depth > 0).mean() < _LEAST_KNOWN:
        return False
    here = points @ view.cam_from_world[:3, :3].T + view.cam_from_world[:3, 3]
    u, v = np.rint((here @ k.T)[:, :2] / here[:, 2:]).clip(0, (depth.shape[1] - 1, depth.shape[0] - 1)).astype(int).T
    found = depth[v, u]
    ratio = found[found > 0] / here[found > 0, 2]
    return len(ratio) < _LEAST_POINTS or float((np.abs(ratio - 1) < _FAR_OFF).mean()) >= 0.5


def complete(depth: np.ndarray, view: PosedView) -> np.ndarray:
    """Carry depth (h, w) over even surfaces, where flow tells nothing.

    Inverse depth is carried, since it is linear on planes. Where the picture has texture and the views contradict each
    other (at occlusions and on moving things), depth stays unknown.
    """
    known = depth > 0
    if not known.any():
        return depth
    inverse = np.where(known, 1 / np.maximum(depth, 1e-6), 0).astype(np.float32)
    half = max(1, depth.shape[1] // 2), max(1, depth.shape[0] // 2)
    sums, weight, guide = (cv2.resize(m, half, interpolation=cv2.INTER_AREA) for m in (inverse, known * 1.0, view.rgb))
    carried, support = (cv2.resize(m, depth.shape[::-1]) for m in spread(sums, weight, guide, _REACH * view.unit / 2))
    blank = cv2.blur(cv2.magnitude(*view.gradient), _FLOW_WINDOW) < _BLANK
    if view.ignore is not None:
        blank &= ~view.ignore
    filled = ~known & blank & (support > _LEAST_SUPPORT)
    return np.where(filled, 1 / np.maximum(carried, 1e-6), depth).astype(np.float32)
