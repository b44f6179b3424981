"""Dense depth of every frame from optical flow to a few other frames with known poses.

Every flow vector is triangulated along its epipolar line; what neither the line, nor the way back, nor the other
source frames confirm gets depth 0. Things that move by themselves fail these checks and drop out.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from geoflow.geometry.cameras import pixel_grid, resize_intrinsics
from geoflow.geometry.edge_aware import enlarge, spread
from geoflow.geometry.epipolar import masked_median
from geoflow.geometry.flow import dense_flow, flow_error
from geoflow.geometry.rigid import invert
from geoflow.geometry.triangulation import inverse_depth_of_matches

_BEST_PARALLAX = 0.035  # image widths; less is imprecise, more leaves too little in common
_PARALLAX_RANGE = (0.008, 0.12)
_MAX_SHIFT = 0.35  # image widths that the picture as a whole may move between the two frames
_MAX_EPIPOLAR_PX = 1.5
_MAX_RETURN_PX = 1.5
_FLOW_SIGMA_PX = 0.25  # what the flow is off by on textured surfaces
_FLOW_WINDOW = (9, 9)
_TEXTURE_PX = 1.0  # flow error, px, where brightness changes by one level per px; inverse to the change
_BLANK = 6.0  # levels per px; a surface with less is even, and flow on it tells little
_REACH = 45.0  # px that depth is carried on an even surface
_LEAST_SUPPORT = 0.2  # share of known depth around a pixel that is given some
_ALONE = 0.5  # of it
_MAX_SIGMA = 0.15  # relative depth error beyond which a pixel is left out
_MAX_CHECKS = 4  # other frames whose depth is held against a frame's own
_LEAST_KNOWN = 0.03  # share of the picture
_LEAST_POINTS = 10
_FAR_OFF = 0.2  # relative distance of a depth from a point of the structure seen there
_KEY_SHIFT = 0.08  # image widths that the picture may move from a key to the frames its depth is carried to
_MAX_CARRIED = 4  # frames from one key to the next at most
_CARRY_STEPS = 3
_LANDED_PX = 1.5  # from the pixel looked from; half of it is rounding
_LIKE = 20.0  # 8-bit levels by which the two pictures may differ there
_AGREE = 0.05  # relative depth difference up to which two frames see the same surface


@dataclass(frozen=True)
class View:
    """One frame at working size."""

    rgb: np.ndarray  # (h, w, 3) uint8
    gray: np.ndarray  # (h, w) uint8
    cam_from_world: np.ndarray  # (4, 4)
    ignore: np.ndarray | None = None  # (h, w) bool

    @cached_property
    def gradient(self) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives (h, w) float32 of `gray` across and down, 8-bit levels per px."""
        across, down = (cv2.Sobel(self.gray, cv2.CV_32F, dx, 1 - dx, ksize=3, scale=0.125) for dx in (1, 0))
        return across, down


def multiview_depth(
    rgb: np.ndarray,
    intrinsics: np.ndarray,
    cam_from_world: np.ndarray,
    valid: np.ndarray,
    xyz: np.ndarray,
    *,
    seen: np.ndarray | None = None,
    radial: float = 0.0,
    masks: np.ndarray | None = None,
    width: int = 480,
    sources: int = 6,
) -> np.ndarray:
    """Depth z of every posed frame, in the unit of the poses.

    Args:
        rgb: (T, H, W, 3) uint8. intrinsics: (3, 3) px. cam_from_world: (T, 4, 4). valid: (T,) bool, frames to use.
        xyz: (M, 3) world points of the scene (NaN rows are skipped): they tell how far the picture shifts.
        seen: (T, M) bool, which points each frame shows; depth that contradicts most of them is dropped.
        radial: k1 of the lens (see `Structure`): flows are then computed on pictures without the distortion.
        masks: (T, H, W) bool, True where to give no depth.
        width: px, working width of a 4:3 picture; others get as many pixels. sources: how many other frames each key is
            compared with.

    Returns (T, H, W) float16, a segment of float32 is large; 0 where unknown.
    """
    num_frames, full_h, full_w = rgb.shape[:3]
    scale = min(1.0, width * np.sqrt(0.75 / (full_h * full_w)))
    size = (round(full_w * scale), round(full_h * scale))
    k = resize_intrinsics(intrinsics, size[0] / full_w, size[1] / full_h)
    lens = Lens(k, radial, size)
    views = {
        int(t): _view(rgb[t], cam_from_world[t], lens, None if masks is None else masks[t])
        for t in np.flatnonzero(valid)
    }
    points = xyz[np.isfinite(xyz[:, 0])]
    shown = np.zeros((num_frames, len(points)), bool) if seen is None else seen[:, np.isfinite(xyz[:, 0])]
    poses = {t: view.cam_from_world for t, view in views.items()}
    keys = choose_keys(poses, k, size, points)
    pairs = choose_pairs({t: poses[t] for t in keys}, k, size, points, sources)
    estimates: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {t: [] for t in keys}
    for a, b in pairs:
        for t, estimate in zip((a, b), _both_ways(views[a], views[b], k, points)):
            estimates[t].append(estimate)
    small = {t: fuse(found, views[t].gray.shape) for t, found in estimates.items()}
    linked: dict[int, list[int]] = {t: [] for t in keys}
    for a, b in pairs:
        linked[a].append(b)
        linked[b].append(a)
    whole = {}
    for t in keys:
        sure = cross_check(t, small, views, linked[t], k)
        whole[t] = complete(sure, views[t]) if agrees_with(sure, views[t], k, points[shown[t]]) else np.zeros_like(sure)
    depth = np.zeros((num_frames, full_h, full_w), np.float16)
    for t, view in views.items():
        found = whole[t] if t in whole else carry(view, [(views[s], whole[s]) for s in _around(t, keys)], k)
        depth[t] = enlarge(lens.distort(found), rgb[t])
        if masks is not None:
            depth[t][masks[t]] = 0
    return depth


class Lens:
    """One coefficient of radial distortion, at working size; with 0 pictures pass unchanged."""

    def __init__(self, intrinsics: np.ndarray, radial: float, size: tuple[int, int]) -> None:
        self.size = size
        self._straight = self._bent = None
        if radial:
            bend = np.array([radial, 0, 0, 0, 0])
            k = np.asarray(intrinsics, np.float64)
            self._bent = cv2.initUndistortRectifyMap(k, bend, None, k, size, cv2.CV_32FC1)
            uv = pixel_grid(size[1], size[0]).reshape(-1, 1, 2)
            straight = cv2.undistortPoints(uv, k, bend, P=k).reshape(size[1], size[0], 2)
            self._straight = straight[..., 0], straight[..., 1]

    def undistort(self, picture: np.ndarray, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
        """A picture (h, w) as a pinhole camera would have seen it."""
        return picture if self._bent is None else cv2.remap(picture, *self._bent, interpolation)

    def distort(self, depth: np.ndarray) -> np.ndarray:
        """A depth map (h, w) of the pinhole camera at the pixels of the real one."""
        return depth if self._straight is None else cv2.remap(depth, *self._straight, cv2.INTER_NEAREST)


def _view(rgb: np.ndarray, pose: np.ndarray, lens: Lens, mask: np.ndarray | None) -> View:
    if rgb.shape[:2] != lens.size[::-1]:
        rgb = cv2.resize(rgb, lens.size, interpolation=cv2.INTER_AREA)
    rgb = lens.undistort(rgb)
    if mask is not None:
        mask = cv2.resize(mask.astype(np.uint8), lens.size, interpolation=cv2.INTER_NEAREST)
        mask = lens.undistort(mask, cv2.INTER_NEAREST) > 0
    return View(rgb, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), pose.astype(np.float64), mask)


def choose_keys(poses: dict[int, np.ndarray], k: np.ndarray, size: tuple[int, int], points: np.ndarray) -> list[int]:
    """Frames, ascending, whose depth is computed; that of the frames between them, hardly moved, is carried over."""
    frames = sorted(poses)
    keys = frames[:1]
    for t, following in zip(frames[1:], [*frames[2:], None]):
        last = keys[-1]
        ahead = following is not None and following - last <= _MAX_CARRIED
        if ahead and following is not None:
            seen = _in_view(poses[last], k, size, points)
            shift = _parallax(poses[last], poses[following][None], k, seen)[1][0] if len(seen) >= 8 else np.inf
            ahead = shift < _KEY_SHIFT * size[0]
        if not ahead:
            keys.append(t)
    return keys


def _around(t: int, keys: list[int]) -> list[int]:
    """The keys before and after frame t, the nearer one first."""
    at = bisect(keys, t)
    return sorted(keys[max(0, at - 1) : at + 1], key=lambda s: abs(s - t))


def choose_pairs(
    poses: dict[int, np.ndarray], k: np.ndarray, size: tuple[int, int], points: np.ndarray, sources: int
) -> list[tuple[int, int]]:
    """Frame pairs (a < b) so that each frame meets about `sources` others, earlier and later ones, at good parallax.

    `poses` maps frame to (4, 4) cam_from_world. Parallax is the median shift of the scene's `points` (M, 3) world
    between the two frames beyond what turning the camera would give, in image widths.
    """
    chosen: set[tuple[int, int]] = set()
    frames = sorted(poses)
    stacked = np.stack([poses[t] for t in frames]) if frames else np.zeros((0, 4, 4))
    for t in frames:
        seen = _in_view(poses[t], k, size, points)
        if len(seen) < 8:
            continue
        parallax, shift = (px / size[0] for px in _parallax(poses[t], stacked, k, seen))
        fit = (parallax > _PARALLAX_RANGE[0]) & (parallax < _PARALLAX_RANGE[1]) & (shift < _MAX_SHIFT)
        scored: dict[int, list[tuple[float, int]]] = {-1: [], 1: []}
        for i in np.flatnonzero(fit):
            s = frames[i]
            score = abs(np.log(parallax[i] / _BEST_PARALLAX)) + 0.01 * abs(s - t)
            scored[1 if s > t else -1].append((score, s))
        sides = [sorted(side) for side in scored.values() if side]
        for side in sides:
            chosen |= {(min(t, s), max(t, s)) for s in _spread(side, -(-sources // (2 * len(sides))))}
    return sorted(chosen, key=lambda pair: (pair[1], pair[0]))


def _spread(scored: list[tuple[float, int]], count: int) -> list[int]:
    """The best frame, then good ones that are not its immediate neighbours."""
    picked: list[int] = []
    for _, s in scored:
        if all(abs(s - other) > 2 for other in picked):
            picked.append(s)
        if len(picked) == count:
            break
    return picked


def _in_view(pose: np.ndarray, k: np.ndarray, size: tuple[int, int], points: np.ndarray) -> np.ndarray:
    """At most 200 of the world points that project into the image, (N, 3)."""
    image = (points @ pose[:3, :3].T + pose[:3, 3]) @ k.T
    uv = image[:, :2] / np.maximum(image[:, 2:], 1e-9)
    inside = (image[:, 2] > 0) & (uv >= 0).all(1) & (uv[:, 0] < size[0]) & (uv[:, 1] < size[1])
    found = points[inside]
    return found[:: max(1, len(found) // 200)]


def _parallax(pose: np.ndarray, poses: np.ndarray, k: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median shift (S,) px of points from a frame to each of `poses` (S, 4, 4): beyond turning, and in all.

    (0, inf) for frames that look away.
    """
    relative = poses @ invert(pose)
    here = points @ pose[:3, :3].T + pose[:3, 3]
    turned = here @ np.swapaxes(relative[:, :3, :3], 1, 2)
    there = turned + relative[:, None, :3, 3]
    start, after_turn, end = ((p @ k.T)[..., :2] / np.maximum(p[..., 2:], 1e-6) for p in (here, turned, there))
    in_front = (turned[..., 2] > 0) & (there[..., 2] > 0)
    seen = in_front.mean(1) >= 0.5
    parallax, shift = (masked_median(np.linalg.norm(end - other, axis=-1), in_front) for other in (after_turn, start))
    return np.where(seen, parallax, 0), np.where(seen, shift, np.inf)


def _both_ways(a: View, b: View, k: np.ndarray, points: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Inverse depth and standard deviation, (h, w) float16 each, of views a and b; (0, inf) where unknown."""
    b_from_a = b.cam_from_world @ invert(a.cam_from_world)
    forth, back = _flow(a, b, k, b_from_a, points), _flow(b, a, k, invert(b_from_a), points)
    found = []
    for view, flow, way_back, relative in ((a, forth, back, b_from_a), (b, back, forth, invert(b_from_a))):
        error = flow_error(flow, way_back)
        inverse, sigma, epipolar = triangulate(flow, k, relative)
        blur = _TEXTURE_PX / np.maximum(texture(view, epipolar_direction(k, relative, view.gray.shape)), 1e-3)
        sigma = sigma * np.hypot(np.hypot(_FLOW_SIGMA_PX, blur), 0.5 * np.minimum(error, 9))
        good = (error < _MAX_RETURN_PX) & (epipolar < _MAX_EPIPOLAR_PX) & (inverse > 1e-3)
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


def texture(view: View, direction: np.ndarray) -> np.ndarray:
    """How fast brightness changes along `direction` (h, w, 2) around each pixel: (h, w) float32, 8-bit levels per px.

    The root mean square over the window that flow is fitted to: what there is to tell one place on an epipolar line
    from the next.
    """
    across, down = view.gradient
    change = across * direction[..., 0] + down * direction[..., 1]
    return cv2.sqrt(cv2.blur(change * change, _FLOW_WINDOW))


def _flow(a: View, b: View, k: np.ndarray, b_from_a: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Flow (h, w, 2) float32 px from a to b, started from the motion of a plane at the scene's median depth."""
    height, width = a.gray.shape
    seen = _in_view(a.cam_from_world, k, (width, height), points)
    depth = np.median(seen @ a.cam_from_world[2, :3] + a.cam_from_world[2, 3]) if len(seen) else np.inf
    plane = b_from_a[:3, :3] + np.outer(b_from_a[:3, 3], [0, 0, 1 / depth])
    uv = pixel_grid(height, width)
    start = cv2.perspectiveTransform(uv.reshape(1, -1, 2), k @ plane @ np.linalg.inv(k)).reshape(uv.shape) - uv
    return dense_flow(a.gray, b.gray, start)


def triangulate(
    flow: np.ndarray, intrinsics: np.ndarray, b_from_a: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inverse depth in view a of every flow vector a -> b, nearest to it on its epipolar line.

    Args: flow (H, W, 2) px; intrinsics (3, 3); b_from_a (4, 4).
    Returns (H, W) float32 each: inverse depth, its standard deviation per px of flow error (inf where the flow tells
    nothing), and the distance px of the match from the epipolar line. Points behind either camera get (0, inf, inf).
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
    """Combine inverse depths with their standard deviations into one depth map, (H, W) float32; 0 where unsure.

    The estimate that most weight agrees with wins, and the mean of those agreeing is taken. One source alone is
    believed only where no other source had a say, and then at half the error allowed.
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
    alone = (number == 1) & (count == 1) & (relative < _ALONE * _MAX_SIGMA)
    return np.where(trusted | alone, 1 / np.maximum(mean, 1e-6), 0).astype(np.float32)


def cross_check(
    t: int, depth: dict[int, np.ndarray], views: dict[int, View], others: Sequence[int], k: np.ndarray
) -> np.ndarray:
    """Average frame t's depth with what the other frames say of the same surface, and drop what they contradict.

    `depth` maps frames to (h, w) float32. Another frame contradicts a point when it looks through it. Returns
    (h, w) float32, 0 where unknown.
    """
    own = depth[t]
    u, v = np.arange(own.shape[1], dtype=np.float32), np.arange(own.shape[0], dtype=np.float32)[:, None]
    total, weight = own.copy(), (own > 0).astype(np.float32)
    through = np.zeros(own.shape, np.float32)
    for s in others[:_MAX_CHECKS]:
        x, y, z = _project(u, v, own, views[s].cam_from_world @ invert(views[t].cam_from_world), k)
        other = cv2.remap(depth[s], x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
        ratio = np.where((other > 0) & (own > 0), other / z, 0)
        same = np.abs(ratio - 1) < _AGREE
        total += np.where(same, own * ratio, 0)
        weight += same
        through += ratio > 1 + 2 * _AGREE
    mean = total / np.maximum(weight, 1)
    return np.where((own > 0) & (weight - 1 >= through), mean, 0).astype(np.float32)


def carry(view: View, known: Sequence[tuple[View, np.ndarray]], k: np.ndarray) -> np.ndarray:
    """Depth (h, w) of a view from other views' depth (h, w) each, the nearest first; 0 where it does not show there.

    What looks different in the two pictures is left out: something passes in front. Where the others disagree, the
    nearer surface hides the further one.
    """
    result = np.zeros(view.gray.shape, np.float32)
    for other, depth in known:
        found = _seen_from(view, other, depth, k)
        ratio = np.where((found > 0) & (result > 0), found / np.maximum(result, 1e-6), 0)
        same = np.abs(ratio - 1) < _AGREE
        hides = (ratio > 0) & (ratio <= 1 - _AGREE)
        result = np.where(same, 0.5 * (found + result), np.where((result == 0) | hides, found, result))
    if view.ignore is not None:
        result[view.ignore] = 0
    return result.astype(np.float32)


def _seen_from(view: View, other: View, depth: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Another view's depth as seen from a view: what each of its pixels shows is searched for along its ray."""
    if not (depth > 0).any():
        return np.zeros_like(depth)
    there, back = (a.cam_from_world @ invert(b.cam_from_world) for a, b in ((other, view), (view, other)))
    u, v = np.arange(depth.shape[1], dtype=np.float32), np.arange(depth.shape[0], dtype=np.float32)[:, None]
    guess = np.where(depth > 0, depth, np.float32(np.median(depth[depth > 0])))
    for _ in range(_CARRY_STEPS):
        x, y, _ = _project(u, v, guess, there, k)
        x, y = np.rint(x), np.rint(y)
        found = cv2.remap(depth, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
        landed_x, landed_y, z = _project(x, y, found, back, k)
        guess = np.where(found > 0, z, guess)
    near = (landed_x - u) ** 2 + (landed_y - v) ** 2 < _LANDED_PX**2
    picture = cv2.remap(other.gray, x, y, cv2.INTER_NEAREST)
    change = cv2.blur(cv2.subtract(picture, view.gray, dtype=cv2.CV_32F), _FLOW_WINDOW)
    good = near & (found > 0)
    if good.any():
        good &= np.abs(change - np.median(change[good])) < _LIKE
    return np.where(good, z, 0)


def _project(
    u: np.ndarray, v: np.ndarray, depth: np.ndarray, b_from_a: np.ndarray, k: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where view b has the pixels u, v of view a at depth (h, w): its pixels x, y and depth z there, float32 each."""
    turn = (k @ b_from_a[:3, :3] @ np.linalg.inv(k)).astype(np.float32)
    shift = (k @ b_from_a[:3, 3]).astype(np.float32)
    x, y, z = (depth * (turn[n, 0] * u + (turn[n, 1] * v + turn[n, 2])) + shift[n] for n in range(3))
    z = np.maximum(z, np.float32(1e-6))
    return x / z, y / z, z


def agrees_with(depth: np.ndarray, view: View, k: np.ndarray, points: np.ndarray) -> bool:
    """Whether a depth map (h, w) is where the points (N, 3) world that the view shows have their surfaces.

    A map that says next to nothing is not believed either: what is
    left where nearly all was refused, as in fast forward motion, are its errors.
    """
    if (depth > 0).mean() < _LEAST_KNOWN:
        return False
    here = points @ view.cam_from_world[:3, :3].T + view.cam_from_world[:3, 3]
    u, v = np.rint((here @ k.T)[:, :2] / here[:, 2:]).clip(0, (depth.shape[1] - 1, depth.shape[0] - 1)).astype(int).T
    found = depth[v, u]
    ratio = found[found > 0] / here[found > 0, 2]
    return len(ratio) < _LEAST_POINTS or float((np.abs(ratio - 1) < _FAR_OFF).mean()) >= 0.5


def complete(depth: np.ndarray, view: View) -> np.ndarray:
    """Carry depth (h, w) over even surfaces that tell nothing by themselves.

    Inverse depth is what is carried: it is linear on planes. Where the picture does tell and the views contradict each
    other, at occlusions and on what moves, depth stays unknown.
    """
    known = depth > 0
    if not known.any():
        return depth
    inverse = np.where(known, 1 / np.maximum(depth, 1e-6), 0).astype(np.float32)
    half = max(1, depth.shape[1] // 2), max(1, depth.shape[0] // 2)
    sums, weight, guide = (cv2.resize(m, half, interpolation=cv2.INTER_AREA) for m in (inverse, known * 1.0, view.rgb))
    carried, support = (cv2.resize(m, depth.shape[::-1]) for m in spread(sums, weight, guide, _REACH / 2))
    blank = cv2.blur(cv2.magnitude(*view.gradient), _FLOW_WINDOW) < _BLANK
    if view.ignore is not None:
        blank &= ~view.ignore
    filled = ~known & blank & (support > _LEAST_SUPPORT)
    return np.where(filled, 1 / np.maximum(carried, 1e-6), depth).astype(np.float32)
