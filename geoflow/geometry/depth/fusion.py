"""Temporal fusion: point maps of many frames, each with its own scale and errors, become one consistent sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from geoflow.geometry.cameras import pixel_grid
from geoflow.geometry.depth.registration import register, solve_scales
from geoflow.geometry.optical_flow import flow_error, quick_flow

OFFSETS = (1, 10)  # frames on each side that take part: near ones for detail, far ones for independent errors
FLOW_ERROR_PX = 1.5
REPROJECTION_PX = 2.0  # at 320 px width: a neighbour's point that lands this far from its flow has moved by itself
AGREE = 0.08  # relative depth within which views of one point are averaged
SAMPLE_STEP = 10
MIN_POINTS = 40
CHUNK = 64  # edges registered at a time


@dataclass(frozen=True)
class Edges:
    """Directed edges: frame `source` seen from frame `target`, in the source's own scale."""

    source: np.ndarray  # (E,) int
    target: np.ndarray  # (E,) int
    rotation: np.ndarray  # (E, 3, 3) target_from_source
    translation: np.ndarray  # (E, 3)
    log_ratio: np.ndarray  # (E,) log(source's depth moved into the target / target's own depth); NaN if unknown
    weight: np.ndarray  # (E,) how far to trust log_ratio; 0 where the pose itself failed


class DepthFuser:
    """Fuses the depth maps of a segment.

    `grays` are (H, W) uint8; `depth` (H, W) float32 with 0 where invalid; one pinhole matrix for all.
    """

    def __init__(self, grays: Sequence[np.ndarray], depth: Sequence[np.ndarray], intrinsics: np.ndarray) -> None:
        self.grays, self.intrinsics = grays, intrinsics.astype(np.float64)
        self.height, self.width = grays[0].shape
        self.count = len(grays)
        self.reprojection_px = REPROJECTION_PX * max(self.height, self.width) / 320
        self.grid = pixel_grid(self.height, self.width)
        self.depth = [_unit_median(d) for d in depth]
        self._flows: dict[tuple[int, int], np.ndarray] = {}
        self._trusted: dict[tuple[int, int], np.ndarray] = {}
        if not any(d.any() for d in self.depth):
            return  # nothing to fuse, so no flow is needed
        for a in range(self.count):
            for b in (a + o for o in OFFSETS if a + o < self.count):
                self._match(a, b)

    def _match(self, a: int, b: int) -> None:
        forward, backward = quick_flow(self.grays[a], self.grays[b]), quick_flow(self.grays[b], self.grays[a])
        for key, flow, other in (((a, b), forward, backward), ((b, a), backward, forward)):
            self._flows[key] = flow.astype(np.float16)  # 0.03 px at worst; a segment's flows fill half the memory
            self._trusted[key] = flow_error(flow, other) < FLOW_ERROR_PX

    def run(self, passes: int = 2) -> list[np.ndarray]:
        """Fused depth maps (H, W) float32, 0 where unknown, all in one scale with median 1 over the segment."""
        for _ in range(passes if self._flows else 0):
            edges = self.edges()
            self.depth = self._rescale(edges)
            self.depth = [self._fuse(i, edges) for i in range(self.count)]
        return _unit_median_all(self.depth)

    def edges(self) -> Edges:
        """Register every frame's points in the frames around it."""
        keys = sorted(self._flows)
        parts = [self._edges(keys[k : k + CHUNK]) for k in range(0, len(keys), CHUNK)]
        if not parts:
            none = np.zeros(0, int)
            return Edges(none, none, np.zeros((0, 3, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros(0))
        return Edges(*(np.concatenate(columns) for columns in zip(*parts)))

    def _edges(self, keys: list[tuple[int, int]]) -> tuple[np.ndarray, ...]:
        half = SAMPLE_STEP // 2
        grid = (slice(half, None, SAMPLE_STEP), slice(half, None, SAMPLE_STEP))
        uv = self.grid[grid].reshape(-1, 2)
        xyz, seen, own, weight = [], [], [], []
        for source, target in keys:
            landed = uv + self._flows[source, target][grid].reshape(-1, 2).astype(np.float32)
            depth = self.depth[source][grid].ravel()
            xyz.append(
                np.column_stack([(uv - self.intrinsics[:2, 2]) / np.diag(self.intrinsics)[:2] * depth[:, None], depth])
            )
            seen.append(landed)
            own.append(_nearest(self.depth[target], landed))
            weight.append((self._trusted[source, target][grid].ravel() & (depth > 0)).astype(float))
        points, pixels, w = np.array(xyz), np.array(seen), np.array(weight)
        rotation, translation, error = register(points, pixels, w, self.intrinsics)
        z = (points @ np.swapaxes(rotation, 1, 2))[..., 2] + translation[:, 2:]
        ratio, trust = self._ratios(z, np.array(own), error, w)
        source, target = np.array(keys).T
        return source, target, rotation, translation, ratio, trust

    def _ratios(
        self, z: np.ndarray, own: np.ndarray, error: np.ndarray, w: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        count = len(z)
        ratio, trust = np.full(count, np.nan), np.zeros(count)
        for e in range(count):
            fits = (w[e] > 0) & (error[e] < self.reprojection_px)
            if fits.sum() < max(MIN_POINTS, 0.3 * (w[e] > 0).sum()):
                continue
            trust[e] = 1e-6
            both = fits & (own[e] > 0) & (z[e] > 0)
            if both.sum() >= MIN_POINTS:
                logs = np.log(z[e][both] / own[e][both])
                ratio[e] = np.median(logs)
                trust[e] = np.sqrt(both.sum()) / (np.median(np.abs(logs - ratio[e])) + 0.01)
        return ratio, trust

    def _rescale(self, edges: Edges) -> list[np.ndarray]:
        known = np.isfinite(edges.log_ratio)
        scales = solve_scales(
            edges.source[known], edges.target[known], edges.log_ratio[known], edges.weight[known], self.count
        )
        edges.translation[:] *= np.exp(scales[edges.source])[:, None]
        return [depth * np.float32(np.exp(scale)) for depth, scale in zip(self.depth, scales)]

    def _fuse(self, i: int, edges: Edges) -> np.ndarray:
        views = [self.depth[i]]
        for e in np.flatnonzero((edges.target == i) & (edges.weight > 0)):
            views.append(self._warp(i, int(edges.source[e]), edges.rotation[e], edges.translation[e]))
        return consensus(np.stack(views))

    def _warp(self, i: int, j: int, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
        """Return frame j's depth as seen from frame i (H, W), 0 where unknown or where flow and depth disagree."""
        k = self.intrinsics.astype(np.float32)
        r, t = rotation.astype(np.float32), translation.astype(np.float32)
        landed = self.grid + self._flows[i, j]
        depth = cv2.remap(self.depth[j], landed, None, cv2.INTER_NEAREST, borderValue=0)
        ray_u, ray_v = (landed[..., 0] - k[0, 2]) / k[0, 0], (landed[..., 1] - k[1, 2]) / k[1, 1]
        x, y, z = (depth * (r[n, 0] * ray_u + r[n, 1] * ray_v + r[n, 2]) + t[n] for n in range(3))
        safe = np.maximum(z, np.float32(1e-3))
        gap_u = x / safe * k[0, 0] + k[0, 2] - self.grid[..., 0]
        gap_v = y / safe * k[1, 1] + k[1, 2] - self.grid[..., 1]
        near = gap_u * gap_u + gap_v * gap_v < self.reprojection_px**2
        return np.where((depth > 0) & (z > 1e-3) & self._trusted[i, j] & near, z, 0)


def consensus(views: np.ndarray, agree: float = AGREE) -> np.ndarray:
    """Return the robust mean of depth maps of one frame: (K, H, W), 0 unknown, to (H, W) float32; the first is its own.

    The median picks the surface, and the views near it are averaged. A pixel is unknown if several views see it and no
    two agree; a pixel that only its own frame sees is kept.
    """
    known = views > 0
    count = known.sum(0)
    ordered = np.sort(np.where(known, views, np.inf), axis=0)
    middle = np.take_along_axis(ordered, np.maximum(count - 1, 0)[None] // 2, axis=0)[0]
    middle = np.where(count > 0, middle, 1)
    near = known & (np.abs(views - middle) < agree * middle)
    votes = near.sum(0)
    mean = (views * near).sum(0) / np.maximum(votes, 1)
    return np.where((votes >= 2) | (known[0] & (count == 1)), mean, 0).astype(np.float32)


def _nearest(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Values (N,) of (H, W) at the pixels nearest to uv (N, 2); 0 outside."""
    column, row = np.rint(uv).astype(int).T
    inside = (column >= 0) & (row >= 0) & (column < image.shape[1]) & (row < image.shape[0])
    return np.where(inside, image[np.where(inside, row, 0), np.where(inside, column, 0)], 0)


def _unit_median(depth: np.ndarray) -> np.ndarray:
    valid = depth > 0
    return depth / np.float32(np.median(depth[valid])) if valid.any() else depth


def _unit_median_all(depth: list[np.ndarray]) -> list[np.ndarray]:
    medians = [np.median(d[d > 0]) for d in depth if (d > 0).any()]
    return [d / np.float32(np.median(medians)) for d in depth] if medians else depth
