"""Motion stereo: depth of every frame of a moving camera from its optical flow to two well-chosen neighbours.

Only the frames are needed. Depth has one unknown scale per frame. Where the camera stood still or only turned there is
no depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoflow.fields import MOTION_MOVING
from geoflow.geometry.cameras import pinhole, pixel_grid
from geoflow.geometry.depth.depth_order import order_agreement
from geoflow.geometry.depth.order_vote import outvoted
from geoflow.geometry.depth.triangulation import inverse_depth_of_matches
from geoflow.geometry.motion.camera_motion import chain_points, classify_motion
from geoflow.geometry.motion.epipolar import find_motion, told_from_mirrored
from geoflow.geometry.motion.survey import Survey, Surveyor
from geoflow.geometry.optical_flow import flow_error, quick_flow

FLOW_ERROR_PX = 1.0  # forward-backward distance beyond which a match is dropped (occlusion, blur)
EPIPOLAR_PX = (0.4, 1.0)  # distance from the epipolar line beyond which a pixel moves by itself: least and most
EPIPOLAR_NOISE = 6.0  # that distance in median distances of the pair, between these bounds
MIN_PARALLAX_PX = 1.5  # with 0.25 px of flow noise, depth from less parallax is worse than 17%
AGREE_SIGMA_PX = 0.35  # flow noise assumed when two views of the same pixel are compared
MAX_PAIR_ERROR_PX = 0.6  # a pair is not explained by motion if its median match is further from its epipolar line
LEAST_AGREEMENT = 0.3  # rank correlation of a frame's depths from two pairs below which neither is believed
FOLLOWED = 400  # points, to tell a camera that moves from one that only turns
SAMPLE_STEP = 10  # grid of pixels the relative pose is fitted to


@dataclass(frozen=True)
class PairDepth:
    """Inverse depth of frame a seen against frame b, in units of 1 / baseline."""

    inverse: np.ndarray  # (H, W) float32
    information: np.ndarray  # (H, W) float32: squared px per unit of inverse depth; 0 where invalid


@dataclass(frozen=True)
class Pair:
    """A matched pair of frames: flows and their errors both ways, and the pose b_from_a with unit translation."""

    flow_ab: np.ndarray
    flow_ba: np.ndarray
    error_ab: np.ndarray
    error_ba: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    epipolar_px: float

    def depth(self, intrinsics: np.ndarray, *, reverse: bool) -> PairDepth:
        """Triangulate in frame a, or in frame b when `reverse`."""
        flow, error, rotation, translation = self.flow_ab, self.error_ab, self.rotation, self.translation
        if reverse:
            flow, error, rotation = self.flow_ba, self.error_ba, rotation.T
            translation = -rotation @ translation
        return triangulate(flow, error, rotation, translation, intrinsics, self.epipolar_px)


def triangulate(
    flow: np.ndarray,
    error: np.ndarray,
    rotation: np.ndarray,
    translation: np.ndarray,
    intrinsics: np.ndarray,
    epipolar_px: float = EPIPOLAR_PX[1],
) -> PairDepth:
    """Compute the least-squares inverse depth along the epipolar line of every pixel, and drop bad matches.

    A pixel x of frame a with inverse depth d is seen in b at x' ~ K R K^-1 x + d K t, which is linear in d once
    `flow` (H, W, 2) px, `error` (H, W) px its forward-backward distance, `epipolar_px` the largest allowed distance of
    a match from its line.
    """
    height, width = error.shape
    u, v = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    inverse, slope2, sideways, z_b = inverse_depth_of_matches(
        u, v, flow[..., 0] + u, flow[..., 1] + v, rotation, translation, intrinsics
    )
    safe_z = np.maximum(z_b, 0.05)
    valid = (error < FLOW_ERROR_PX) & (sideways < epipolar_px * safe_z) & (inverse > 0) & (z_b > 0.05)
    information = slope2 / safe_z**2
    valid &= information * inverse**2 > MIN_PARALLAX_PX**2
    return PairDepth(inverse, np.where(valid, information, 0).astype(np.float32))


def combine(first: PairDepth, second: PairDepth) -> PairDepth:
    """Join two pairs of the same frame: scale the second to the first's baseline, and drop contradictions.

    Both neighbours rarely agree on the depth of a point that moves by itself. If they do not agree on the order of
    depth, nothing is known.
    """
    both = (first.information > 0) & (second.information > 0)
    if both.sum() < 50:
        larger = (first.information > 0).sum() >= (second.information > 0).sum()
        return first if larger else second
    if order_agreement(first.inverse, second.inverse, both) < LEAST_AGREEMENT:
        return PairDepth(first.inverse, np.zeros_like(first.information))
    ratio = float(np.exp(np.median(np.log(first.inverse[both] / second.inverse[both]))))
    inverse, information = second.inverse * ratio, second.information / ratio**2
    total = first.information + information
    mean = (first.inverse * first.information + inverse * information) / np.maximum(total, 1e-12)
    noise = np.where(both, 1 / np.maximum(first.information, 1e-12) + 1 / np.maximum(information, 1e-12), 0)
    tolerance = 3 * AGREE_SIGMA_PX * np.sqrt(noise) + 0.05 * mean
    agree = ~both | (np.abs(first.inverse - inverse) < tolerance)
    return PairDepth(mean, np.where(agree, total, 0).astype(np.float32))


class MotionStereoSolver:
    """Depth maps of one segment at working resolution.

    Frames are (H, W) uint8 grey; `ignore` marks pixels (H, W) bool per frame that move or must not be used. `moving`
    says that the camera is known to move through the scene. Without it, points are followed first, and a camera that
    stands still, only turns, or shows too little to tell, gets no depth.
    """

    def __init__(
        self,
        grays: Sequence[np.ndarray],
        intrinsics: np.ndarray | None = None,
        ignore: Sequence[np.ndarray] | None = None,
        *,
        moving: bool = False,
    ) -> None:
        self.grays, self.ignore = grays, ignore
        self.height, self.width = grays[0].shape
        if moving or self._moves(intrinsics):
            self.survey: Survey = Surveyor(grays, ignore).run(intrinsics)
        else:
            self.survey = Survey.of_nothing(len(grays), max(self.height, self.width))
        self.intrinsics = pinhole(self.survey.focal, self.height, self.width) if intrinsics is None else intrinsics
        self._pairs: dict[tuple[int, int], Pair | None] = {}
        self._last: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # gap -> the latest pose found over it

    def _moves(self, intrinsics: np.ndarray | None) -> bool:
        chains = chain_points(self.grays, self.ignore, max_points=FOLLOWED)
        return classify_motion(chains, intrinsics).code == MOTION_MOVING

    def depths(self, wanted: np.ndarray | None = None) -> dict[int, np.ndarray]:
        """Return the depth (H, W) float32 of frames, with median 1, 0 where invalid; without frames that have none.

        `wanted` (T,) bool: the frames to compute; None: all. Frames whose order of depth the others contradict have
        none.
        """
        found: dict[int, np.ndarray] = {}
        for i in range(len(self.grays)) if wanted is None else np.flatnonzero(wanted).tolist():
            depth, mask = self._frame(i)
            if mask.any():
                found[i] = depth
            self._pairs = {key: pair for key, pair in self._pairs.items() if key[1] > i}
        wrong = outvoted(found)
        return {i: depth for i, depth in found.items() if i not in wrong}

    def _frame(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        views = []
        for j in self.survey.neighbours(i):
            pair = self._pair(min(i, j), max(i, j))
            if pair is not None:
                views.append(pair.depth(self.intrinsics, reverse=j < i))
        if not views:
            empty = np.zeros((self.height, self.width), np.float32)
            return empty, empty.astype(bool)
        view = views[0] if len(views) == 1 else combine(*views)
        mask = view.information > 0
        if self.ignore is not None:
            mask &= ~self.ignore[i]
        return _normalise(view.inverse, mask)

    def _pair(self, a: int, b: int) -> Pair | None:
        if (a, b) not in self._pairs:
            self._pairs[a, b] = self._solve(a, b)
        return self._pairs[a, b]

    def _solve(self, a: int, b: int) -> Pair | None:
        flow_ab, flow_ba = quick_flow(self.grays[a], self.grays[b]), quick_flow(self.grays[b], self.grays[a])
        error_ab, error_ba = flow_error(flow_ab, flow_ba), flow_error(flow_ba, flow_ab)
        half = SAMPLE_STEP // 2
        grid = (slice(half, None, SAMPLE_STEP), slice(half, None, SAMPLE_STEP))
        good = error_ab[grid] < FLOW_ERROR_PX
        if self.ignore is not None:
            good &= ~self.ignore[a][grid]
        if good.sum() < 30:
            return None
        uv_a = pixel_grid(self.height, self.width)[grid][good].astype(np.float64)
        guesses = [self._last[b - a]] if b - a in self._last else []
        motion = find_motion(uv_a, uv_a + flow_ab[grid][good], np.ones(len(uv_a)), self.intrinsics, guesses)
        if motion is None or motion.error_px[0] > MAX_PAIR_ERROR_PX:
            return None
        matched = uv_a + flow_ab[grid][good]
        motion = told_from_mirrored(uv_a, matched, np.ones(len(uv_a)), self.intrinsics, motion)
        if motion is None:
            return None
        rotation, translation = motion.rotation[0], motion.translation[0]
        self._last[b - a] = rotation, translation
        # The sign of the translation is unknown until the points must lie in front of the camera.
        inverse = inverse_depth_of_matches(
            uv_a[:, 0], uv_a[:, 1], matched[:, 0], matched[:, 1], rotation, translation, self.intrinsics
        )[0]
        sign = np.sign(np.median(inverse)) or 1.0
        gate = float(np.clip(EPIPOLAR_NOISE * motion.error_px[0], *EPIPOLAR_PX))
        return Pair(flow_ab, flow_ba, error_ab, error_ba, rotation, sign * translation, gate)


def _normalise(inverse: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Convert inverse depth to depth with median 1; depths beyond 50 times the median count as unknown."""
    depth = np.where(mask, 1 / np.maximum(inverse, 1e-9), 0)
    if mask.sum() < 50:
        return np.zeros_like(inverse), np.zeros_like(mask)
    depth /= np.median(depth[mask])
    mask = mask & (depth < 50) & (depth > 0.02)
    return np.where(mask, depth, 0).astype(np.float32), mask
