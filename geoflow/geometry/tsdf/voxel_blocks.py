"""A truncated signed distance function in blocks of 8 x 8 x 8 voxels, kept only near surfaces.

Places of voxels are whole numbers (x, y, z) on one grid over the whole world, so that blocks that are fused apart fit
together. A place packs into one int64 key.
"""

from __future__ import annotations

import numpy as np

from geoflow.geometry.tsdf.depth_view import DepthView

SIDE = 8
VOXELS = SIDE**3
TRUNCATION = 4.0  # voxels; half a block
_BITS = 21
_HALF = 1 << (_BITS - 1)
FAINT = np.float32(1e-12)  # weight of what is known without having been seen
_AT_ONCE = 256  # blocks updated at once, about 15 MB of intermediate arrays
# (512, 3): places of a block's voxels within it, in the order of its arrays
INSIDE = np.stack(np.meshgrid(*[np.arange(SIDE)] * 3, indexing="ij"), -1).reshape(-1, 3)


def keys_of(places: np.ndarray) -> np.ndarray:
    """Return keys (...) int64 of places (..., 3), each from -2^20 to 2^20 - 1; keys rise with x, then y, then z."""
    x, y, z = np.moveaxis(np.asarray(places, np.int64) + _HALF, -1, 0)
    return x << (2 * _BITS) | y << _BITS | z


def places_of(keys: np.ndarray) -> np.ndarray:
    """Return the places (..., 3) int64 of keys.

    >>> places_of(keys_of(np.array([[3, -2, 0]])))
    array([[ 3, -2,  0]])
    """
    mask = (1 << _BITS) - 1
    return np.stack([keys >> (2 * _BITS), keys >> _BITS & mask, keys & mask], -1) - _HALF


def blocks_near(points: np.ndarray, voxel: float) -> np.ndarray:
    """Return the keys, rising, of blocks within the truncation of points (K, 3) in the world.

    Points too far away for the grid are left out.
    """
    step = TRUNCATION * voxel
    near = np.abs(points).max(-1) < (_HALF - 4 * SIDE) * voxel / SIDE
    cells = places_of(np.unique(keys_of(np.floor(points[near] / step).astype(np.int64))))
    around = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    return np.unique(keys_of((cells[:, None] + around) // int(SIDE / TRUNCATION)))


def with_neighbours(keys: np.ndarray) -> np.ndarray:
    """Return the keys, rising, of blocks and of all that touch them."""
    around = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    return np.unique(keys_of(places_of(keys)[:, None] + around))


class VoxelBlocks:
    """Blocks of voxels into which depth maps are fused one after another.

    For each of B blocks and 512 voxels: `distance` to the surface in truncations, -1 (behind it) to 1; `weight`, 0
    where nothing is known; and `colour`, sums of weighted red, green, blue, and of their weights, near the surface.
    """

    def __init__(self, keys: np.ndarray, voxel: float) -> None:
        self.keys = np.sort(keys)
        self.voxel = voxel
        self.distance = np.zeros((len(keys), VOXELS), np.float32)
        self.weight = np.zeros((len(keys), VOXELS), np.float32)
        self.colour = np.zeros((len(keys), VOXELS, 4), np.float32)
        self._corners = places_of(self.keys) * SIDE * voxel  # (B, 3) world

    @property
    def nbytes(self) -> int:
        return self.distance.nbytes + self.weight.nbytes + self.colour.nbytes

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Return the rows (...) of blocks by their keys, -1 for those that are not here."""
        row = np.searchsorted(self.keys, keys).clip(0, max(len(self.keys) - 1, 0))
        return np.where(self.keys[row] == keys, row, -1) if len(self.keys) else np.full(keys.shape, -1)

    def fuse(self, view: DepthView) -> None:
        """Add what a frame shows. The same frames in the same order give the same values, whatever other blocks are
        there."""
        rows = self._in_sight(view)
        for start in range(0, len(rows), _AT_ONCE):
            self._fuse(view, rows[start : start + _AT_ONCE])

    def clear_outside(self, low: np.ndarray, high: np.ndarray) -> None:
        """Make all voxels empty that lie outside of a box in the world."""
        for row, corner in enumerate(self._corners):
            xyz = corner + INSIDE * self.voxel
            outside = ((xyz < low) | (xyz > high)).any(1)
            self.distance[row, outside], self.weight[row, outside] = 1, np.maximum(self.weight[row, outside], FAINT)

    def _in_sight(self, view: DepthView) -> np.ndarray:
        """Return the rows of blocks that may project into the image."""
        rotation, shift = view.cam_from_world[:3, :3].astype(np.float64), view.cam_from_world[:3, 3]
        reach = SIDE * self.voxel * 3**0.5 / 2
        center = (self._corners + (SIDE - 1) / 2 * self.voxel) @ rotation.T + shift
        depth = center[:, 2] + reach
        height, width = view.depth.shape
        (fx, _, cx), (_, fy, cy) = view.intrinsics[:2].astype(np.float64)
        x_px, y_px = fx * center[:, 0], fy * center[:, 1]
        seen = (depth > 0) & (center[:, 2] - reach < view.depth.max() + reach)
        for offset, focal, low, high in ((x_px, fx, cx, width - cx), (y_px, fy, cy, height - cy)):
            seen &= (offset + low * depth > -focal * reach) & (offset - high * depth < focal * reach)
        return np.flatnonzero(seen)

    def _fuse(self, view: DepthView, rows: np.ndarray) -> None:
        rotation, shift = view.cam_from_world[:3, :3].astype(np.float64), view.cam_from_world[:3, 3]
        corners = (self._corners[rows] @ rotation.T + shift).astype(np.float32)
        xyz = corners[:, None] + (INSIDE * self.voxel @ rotation.T).astype(np.float32)  # (R, 512, 3) camera
        pixel, inside = pixels_of(xyz, view.intrinsics, view.depth.shape)
        xyz, z = xyz[inside], xyz[..., 2][inside]
        at = (rows[:, None] * VOXELS + np.arange(VOXELS))[inside]
        weight = view.weight.ravel()[pixel]
        normal = view.normals.reshape(-1, 3)[pixel]
        gap = view.depth.ravel()[pixel] - z
        # To the plane through the pixel's point: along the ray alone, slanted surfaces would come to lie off.
        away = (normal * (xyz - view.points.reshape(-1, 3)[pixel])).sum(-1) / (TRUNCATION * self.voxel)
        band = (weight > 0) & (away > -1) & (gap > -2 * TRUNCATION * self.voxel)
        empty = ~band & (weight == 0) & (view.free.ravel()[pixel] - z > self.voxel)
        faint = np.float32(0.1) / np.maximum(view.free.ravel()[pixel], 1e-9) ** 2
        new = np.where(band, weight * np.minimum(1 + away, 1), np.where(empty, faint, 0)).astype(np.float32)
        value = np.where(band, away.clip(-1, 1), 1).astype(np.float32)
        kept = new > 0
        at, new, value, pixel = at[kept], new[kept], value[kept], pixel[kept]
        self._average(at, new, value)
        shown = band[kept] & (abs(value) < 1)
        rgb = view.rgb.reshape(-1, 3)[pixel[shown]]
        colour = self.colour.reshape(-1, 4)
        colour[at[shown]] += np.concatenate([rgb, np.ones((len(rgb), 1))], 1).astype(np.float32) * new[shown, None]

    def _average(self, at: np.ndarray, new: np.ndarray, value: np.ndarray) -> None:
        distance, weight = self.distance.reshape(-1), self.weight.reshape(-1)
        total = weight[at] + new
        distance[at] += (value - distance[at]) * (new / total)
        weight[at] = total


def pixels_of(xyz: np.ndarray, intrinsics: np.ndarray, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixel (K,), counted row by row, of each of the points (..., 3) float32 in the camera that lies in an
    image of `size`, and which points these are: (...) bool."""
    height, width = size
    k = intrinsics.astype(np.float32)
    z = xyz[..., 2]
    ahead = np.maximum(z, np.float32(1e-6))
    u = np.rint((k[0, 0] * xyz[..., 0] + k[0, 1] * xyz[..., 1]) / ahead + k[0, 2])
    v = np.rint(k[1, 1] * xyz[..., 1] / ahead + k[1, 2])
    inside = (z > 1e-6) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    return v[inside].astype(np.int64) * width + u[inside].astype(np.int64), inside
