"""Camera motion: points followed through a segment, its keyframes, and cameras that stand still or only turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from geoflow.fields import MOTION_MOVING, MOTION_ROTATING, MOTION_STILL, MOTION_UNKNOWN
from geoflow.geometry.cameras import assumed_intrinsics, pinhole
from geoflow.geometry.lens_distortion import straighten
from geoflow.geometry.motion.background import background, border_share
from geoflow.geometry.motion.feature_tracks import OFTEN, feature_tracks, kept_shares, wide_steps
from geoflow.geometry.motion.picture_features import PictureFeatures
from geoflow.geometry.motion.point_tracks import corners, follow
from geoflow.geometry.rigid import nearest_rotation
from geoflow.geometry.views import is_bare

_MIN_SHARED = 25  # points two frames must share before anything is concluded from them
_SLOW_GAP = 20  # frames (or a quarter of a shorter segment) after which less motion is enough for a keyframe
_LEAST_TO_TURN = 3  # frames: with a free focal length, a turn explains most pairs of views
_MAX_UNEXPLAINED = 0.12  # of the displacement; the parallax of a moving camera is about this share, or more
_BENT = 0.03  # of the displacement
_SWAY = 2.0  # times the tolerance: tripods sway, and lenses breathe
_LEAST_BORDER, _LEAST_BORDER_NOW = 0.6, 0.4  # share of the border that is background: mostly, and in every frame
_FOCALS = np.geomspace(0.45, 2.5, 24)  # tried focal lengths in image widths: 96 to 23 degrees of view
_LEAST_KEPT = 0.7  # of the points from one frame to the next; clips of cameras at rest keep 0.96 and more


@dataclass(frozen=True)
class Chains:
    """Points followed through the T frames of a segment."""

    uv: np.ndarray  # (T, M, 2) float32 px; NaN where the point is not seen
    keyframes: list[int]  # ascending; the first and the last frame are among them
    height: int
    width: int

    def part(self, start: int, stop: int) -> Chains:
        """Return the points seen in frames [start, stop), with the keyframes there, the first and the last frame."""
        uv = self.uv[start:stop]
        seen = np.isfinite(uv[..., 0]).any(0)
        keyframes = {0, len(uv) - 1, *(t - start for t in self.keyframes if start <= t < stop)}
        return Chains(uv[:, seen], sorted(keyframes), self.height, self.width)

    def outside(self, mask: np.ndarray) -> Chains:
        """Return what of the points lies outside a mask (T, H, W) bool, in each frame by itself."""
        uv = self.uv.copy()
        t, m = np.nonzero(np.isfinite(uv[..., 0]))
        u, v = np.rint(uv[t, m]).astype(int).T
        hit = mask[t, v.clip(0, self.height - 1), u.clip(0, self.width - 1)]
        uv[t[hit], m[hit]] = np.nan
        return Chains(uv[:, np.isfinite(uv[..., 0]).any(0)], self.keyframes, self.height, self.width)

    def straight(self, intrinsics: np.ndarray, distortion: Sequence[float]) -> Chains:
        """Return the points as a pinhole camera (3, 3) px without distortion would see them."""
        uv = straighten(self.uv, intrinsics, distortion).astype(np.float32)
        return Chains(uv, self.keyframes, self.height, self.width)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return all values, compact: `seen` is one bit per frame and point, `uv` (K, 2) float32 where it is set."""
        seen = np.isfinite(self.uv[..., 0])
        return {
            "size": np.array([*seen.shape, self.height, self.width]),
            "seen": np.packbits(seen),
            "uv": self.uv[seen],
            "keyframes": np.array(self.keyframes),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Chains:
        """Make chains from the result of `to_arrays`."""
        frames, points, height, width = arrays["size"].tolist()
        seen = np.unpackbits(arrays["seen"], count=frames * points).reshape(frames, points).astype(bool)
        uv = np.full((frames, points, 2), np.nan, np.float32)
        uv[seen] = arrays["uv"]
        return cls(uv, arrays["keyframes"].tolist(), height, width)

    def shared(self, i: int, j: int) -> np.ndarray:
        """Return the indices of the points seen in both frames."""
        return np.flatnonzero(np.isfinite(self.uv[i, :, 0]) & np.isfinite(self.uv[j, :, 0]))


def chain_points(
    grays: Sequence[np.ndarray],
    masks: Sequence[np.ndarray] | None = None,
    *,
    max_points: int = 1000,
    keyframe_motion: float = 0.04,
    features: PictureFeatures | None = None,
) -> Chains:
    """Follow corners through (H, W) uint8 images; `masks`, (H, W) bool each, mark what to ignore.

    Points are tracked from the last keyframe, not from the last frame, so they drift per keyframe only. A frame
    becomes a keyframe when the median point has moved `keyframe_motion` image widths since the last one (a quarter
    of that after 20 frames, so that slow clips get keyframes too) or a third of its points is lost; new corners
    then fill the gaps. If a third of the steps are too wide for that, points found by their features are added;
    `features` are those of the images, if the caller has them.
    """
    height, width = grays[0].shape
    spacing = max(4.0, 0.7 * np.sqrt(height * width / max_points))
    points = np.zeros((0, 2), np.float32)
    ids, at_keyframe = np.zeros(0, int), points
    keyframes: list[int] = []
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    count = alive_then = 0
    for t, gray in enumerate(grays):
        if t:
            points, good = _advance(grays[keyframes[-1]], grays[t - 1], gray, at_keyframe, points)
            if masks is not None:
                u, v = np.rint(np.where(good[:, None], points, 0)).astype(int).T
                good &= ~masks[t][v, u]
            points, ids, at_keyframe = points[good], ids[good], at_keyframe[good]
        moved = np.median(np.linalg.norm(points - at_keyframe, axis=1)) if len(points) else np.inf
        slow = t > 0 and t - keyframes[-1] >= min(_SLOW_GAP, len(grays) // 4)
        enough = moved > keyframe_motion * width * (0.25 if slow else 1)
        if enough or len(points) < alive_then * 2 / 3 or t in (0, len(grays) - 1):
            room = max_points - len(points)
            if room > 0 and not is_bare(gray):  # its corners would be sensor noise
                ignore = None if masks is None else masks[t]
                new = corners(gray, room, spacing, keep_off=points, ignore=ignore)
                ids = np.concatenate([ids, count + np.arange(len(new))])
                points, count = np.concatenate([points, new]), count + len(new)
            at_keyframe, alive_then = points, len(points)
            keyframes.append(t)
        seen.append((ids, points))
    uv = np.full((len(grays), count, 2), np.nan, np.float32)
    for t, (who, where) in enumerate(seen):
        uv[t, who] = where
    wide = wide_steps(uv)
    if wide.any() and wide.mean() >= OFTEN:
        features = PictureFeatures(grays, masks) if features is None else features
        uv = np.concatenate([_seen_twice(uv), feature_tracks(features, keyframes, wide)], 1)
    return Chains(uv, keyframes, height, width)


def _seen_twice(uv: np.ndarray) -> np.ndarray:
    """Return the points (T, M, 2) that two frames or more see: after each wide step, most points are seen once."""
    return uv[:, np.isfinite(uv[..., 0]).sum(0) > 1]


def _advance(
    keyframe: np.ndarray, last: np.ndarray, gray: np.ndarray, at_keyframe: np.ndarray, at_last: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Track from the keyframe; points whose appearance changed too much continue from the last frame."""
    points, good = follow(keyframe, gray, at_keyframe, at_last)
    retry = np.flatnonzero(~good)
    again, fine = follow(last, gray, at_last[retry], at_last[retry])
    points[retry[fine]], good[retry[fine]] = again[fine], True
    return points, good


@dataclass(frozen=True)
class Motion:
    """What is known of the camera before any structure is computed."""

    code: int  # geoflow.fields.MOTION_*; MOVING means there is parallax to work with
    intrinsics: np.ndarray  # (3, 3) float32; the given matrix, or one with a focal length estimated or assumed
    rotations: np.ndarray | None  # (T, 3, 3) camera-from-first-camera, for a rotating camera of known focal length


def classify_motion(chains: Chains, known_intrinsics: np.ndarray | None = None) -> Motion:
    """Tell a still or purely rotating camera from one that moves through the scene.

    What moves by itself may carry most of the points. So either most points must agree, or the points in most cells
    along the picture's border, see `background`.

    Still: in every frame they lie within a pixel of their first place. Rotating: one rotation per frame pair (and one
    shared focal length) explains the displacements of widely separated frames to about the precision of the tracks, so
    they give no depth. Unknown: too few points or frames, or so little motion that a moving camera would look the same.
    """
    guess = assumed_intrinsics(chains.height, chains.width) if known_intrinsics is None else known_intrinsics
    if len(chains.uv) < 2 or chains.uv.shape[1] < _MIN_SHARED:
        return Motion(MOTION_UNKNOWN, guess, None)
    if _is_still(chains):
        return Motion(MOTION_STILL, guess, None)
    pairs = _wide_pairs(chains)
    if not pairs or (known_intrinsics is None and len(chains.uv) < _LEAST_TO_TURN):
        return Motion(MOTION_UNKNOWN, guess, None)
    views = [_TwoViews.of(chains, i, j) for i, j in pairs]
    candidates = [guess]
    if known_intrinsics is None:
        candidates = [pinhole(f, chains.height, chains.width) for f in _FOCALS * chains.width]
    for select in (_TwoViews.everything, _TwoViews.behind):
        residuals = np.array([[np.quantile(select(v).turned(k)[1], 0.67) for v in views] for k in candidates])
        total = residuals.mean(1)
        best = int(total.argmin())
        if _all_turn(views, residuals[best], candidates[best], border=select is _TwoViews.behind):
            break
    else:
        return Motion(MOTION_MOVING, guess, None)
    moved = np.array([np.median(select(v).moved) for v in views])
    if np.median(residuals[best] / np.maximum(moved, 1e-6)) > _MAX_UNEXPLAINED:
        return Motion(MOTION_UNKNOWN, guess, None)
    if known_intrinsics is not None:
        return Motion(MOTION_ROTATING, guess, _chain_rotations(chains, guess))
    focal = _focal_at_minimum(total, best)
    if focal is None:
        return Motion(MOTION_ROTATING, guess, None)
    found = pinhole(focal * chains.width, chains.height, chains.width)
    return Motion(MOTION_ROTATING, found, _chain_rotations(chains, found))


def _is_still(chains: Chains) -> bool:
    """Return whether every frame shows the same view as the first frame, or as an early keyframe with enough points.

    A camera at rest hardly loses points. If most of them are lost from frame to frame, those that stay may lie on what
    moves with the camera, such as a gripper before a robot's wrist camera.
    """
    shares_kept = kept_shares(chains.uv)
    if np.isfinite(shares_kept).any() and np.nanmedian(shares_kept) < _LEAST_KEPT:
        return False
    tolerance = max(0.75, chains.width / 640)
    shares = []
    for t in range(1, len(chains.uv)):
        views = _TwoViews.of(chains, 0, t)
        if len(views.uv_a) >= _MIN_SHARED and np.median(views.moved) <= tolerance:
            continue
        shares.append(_unmoved_border(chains, t, _SWAY * tolerance))
        if not shares[-1] >= _LEAST_BORDER_NOW:
            return False
    return not shares or float(np.median(shares)) >= _LEAST_BORDER


def _unmoved_border(chains: Chains, t: int, tolerance: float) -> float:
    """Return the share of the border that did not move since the earliest keyframe that shares enough of it, or NaN."""
    for k in (k for k in chains.keyframes if k < t):
        views = _TwoViews.of(chains, k, t)
        if len(views.uv_a) >= _MIN_SHARED:
            share = border_share(views.uv_a, views.moved <= tolerance, views.size)
            if np.isfinite(share):
                return share
    return np.nan


@dataclass(frozen=True)
class _TwoViews:
    """Points seen in two frames."""

    uv_a: np.ndarray  # (N, 2) float64 px
    uv_b: np.ndarray  # (N, 2) float64 px
    size: tuple[int, int]  # height, width

    @classmethod
    def of(cls, chains: Chains, i: int, j: int) -> _TwoViews:
        shared = chains.shared(i, j)
        uv = chains.uv[:, shared]
        return cls(uv[i].astype(np.float64), uv[j].astype(np.float64), (chains.height, chains.width))

    @property
    def moved(self) -> np.ndarray:
        """Return the displacements (N,) px."""
        return np.linalg.norm(self.uv_b - self.uv_a, axis=1)

    def everything(self) -> _TwoViews:
        """Return all points."""
        return self

    def behind(self) -> _TwoViews:
        """Return the points of the background, all if there is no background."""
        found = background(self.uv_a, self.uv_b, self.size, 2 * self.tolerance)
        return _TwoViews(self.uv_a[found], self.uv_b[found], self.size) if found.sum() >= _MIN_SHARED else self

    @property
    def tolerance(self) -> float:
        """Return how far, px, a rotation may miss a point of the background: fast turns bend in a rolling shutter."""
        return max(_turn_tolerance(self.size[1]), _BENT * float(np.median(self.moved)))

    def turned(self, intrinsics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the robust rotation b-from-a and its residuals (N,) px (Kabsch, re-weighted)."""
        rays_a, rays_b = self._rays(self.uv_a, intrinsics), self._rays(self.uv_b, intrinsics)
        weight = np.ones(len(rays_a))
        for _ in range(5):
            rotation = nearest_rotation((rays_b * weight[:, None]).T @ rays_a)
            error = self.off(rotation, intrinsics)
            weight = 1 / (1 + (error / max(np.median(error), 0.1)) ** 2)
        return rotation, error

    def off(self, rotation: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
        """Return how far (N,) px each point lies from where the rotation takes it."""
        seen = self._rays(self.uv_a, intrinsics) @ (intrinsics @ rotation).T
        return np.linalg.norm(seen[:, :2] / np.maximum(seen[:, 2:], 1e-6) - self.uv_b, axis=1)

    @staticmethod
    def _rays(uv: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
        rays = np.concatenate([uv, np.ones((len(uv), 1))], 1) @ np.linalg.inv(np.asarray(intrinsics, np.float64)).T
        return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _turn_tolerance(width: int) -> float:
    return max(0.5, 0.0018 * width)


def _all_turn(views: list[_TwoViews], residual: np.ndarray, intrinsics: np.ndarray, *, border: bool) -> bool:
    """Return whether a rotation explains three quarters of the pairs; `residual` (P,) px is of the points judged.

    With `border` only the background was judged. Then it must also fill most of the border.
    """
    if not border:
        return bool(np.quantile(residual, 0.75) <= _turn_tolerance(views[0].size[1]))
    behind = [view.behind() for view in views]
    if np.quantile(residual / [view.tolerance for view in behind], 0.75) > 1:
        return False
    shares = []
    for view, still in zip(views, behind):
        off = view.off(still.turned(intrinsics)[0], intrinsics)
        shares.append(border_share(view.uv_a, off < still.tolerance, view.size))
    return bool(np.median(shares) >= _LEAST_BORDER and np.quantile(shares, 0.25) >= _LEAST_BORDER_NOW)


def _wide_pairs(chains: Chains, count: int = 10) -> list[tuple[int, int]]:
    """Choose keyframe pairs, spread over the segment, whose picture moved far and which still share most points.

    Beyond a fifth of the image width, most of the few surviving points slid along an occluding edge. If all steps are
    as wide, the pairs are those that moved least.
    """
    keys = chains.keyframes
    near, wide = [], []
    for i in keys[:: max(1, len(keys) // count)]:
        moved = {j: far for j in keys if j > i and np.isfinite(far := _displacement(chains, i, j))}
        close = {j: far for j, far in moved.items() if far <= 0.2 * chains.width}
        if close:
            near.append((i, max(close, key=lambda j: close[j])))
        elif moved:
            wide.append((i, min(moved, key=lambda j: moved[j])))
    return near or wide


def _displacement(chains: Chains, i: int, j: int) -> float:
    """Return the median displacement, px; inf if the frames share too few points."""
    shared = chains.shared(i, j)
    if len(shared) < _MIN_SHARED:
        return np.inf
    return float(np.median(np.linalg.norm(chains.uv[j, shared] - chains.uv[i, shared], axis=1)))


def _focal_at_minimum(residual: np.ndarray, best: int) -> float | None:
    """Return the focal length, image widths, at the vertex of a parabola around the best of `_FOCALS`, or None.

    None means that the minimum is vague.
    """
    if best < 2 or best > len(residual) - 3 or min(residual[best - 2], residual[best + 2]) < 1.15 * residual[best]:
        return None
    before, here, after = residual[best - 1 : best + 2]
    shift = 0.5 * (before - after) / max(before - 2 * here + after, 1e-12)
    return float(_FOCALS[best] * (_FOCALS[1] / _FOCALS[0]) ** np.clip(shift, -1, 1))


def _chain_rotations(chains: Chains, intrinsics: np.ndarray) -> np.ndarray:
    """Return rotations (T, 3, 3) camera-from-first-camera, each from the keyframe before; NaN after a break."""
    rotations = np.full((len(chains.uv), 3, 3), np.nan)
    rotations[0] = np.eye(3)
    for t in range(1, len(chains.uv)):
        before = [k for k in chains.keyframes if k < t][-6:]
        linked = [k for k in before if _displacement(chains, k, t) < 0.15 * chains.width] or before[-1:]
        if len(chains.shared(linked[0], t)) >= _MIN_SHARED:
            views = _TwoViews.of(chains, linked[0], t).behind()
            rotations[t] = views.turned(intrinsics)[0] @ rotations[linked[0]]
    return rotations
