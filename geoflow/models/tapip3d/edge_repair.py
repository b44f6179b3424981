"""Depth at silhouettes: pixels between two surfaces take the depth of the nearest pixel that lies on one."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

_RELATIVE = 0.08  # spread of depth around a pixel, of its own, from which on it may be an edge
_DEGREES = 15.0  # angle between normals, likewise
_AROUND = np.ones((3, 3), np.uint8)
_TURNS = (((-1, 0), (0, -1)), ((0, -1), (1, 0)), ((1, 0), (0, 1)), ((0, 1), (-1, 0)))  # pairs of neighbours (dy, dx)


def repair_edges(depth: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Return depth (H, W) float32 with edges repaired; 0 stays 0. Computed in float64; intrinsics (3, 3)."""
    exact = depth.astype(np.float64)
    known = exact > 0
    wrong = _steps(exact, known) & (_bends(exact, known, intrinsics.astype(np.float64)) > np.deg2rad(_DEGREES))
    sound = known & ~wrong
    if not wrong.any() or not sound.any():
        return depth.astype(np.float32)
    rows, columns = ndimage.distance_transform_edt(~sound, return_distances=False, return_indices=True)
    return np.where(known, exact[rows, columns], 0).astype(np.float32)


def _steps(depth: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Where the known depths around a pixel differ by more than a share of its own."""
    highest = cv2.dilate(np.where(known, depth, -np.inf), _AROUND, borderType=cv2.BORDER_CONSTANT, borderValue=-np.inf)
    lowest = cv2.erode(np.where(known, depth, np.inf), _AROUND, borderType=cv2.BORDER_CONSTANT, borderValue=np.inf)
    return known & ((highest - lowest) / np.where(known, depth, 1) > _RELATIVE)


def _bends(depth: np.ndarray, known: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """The largest angle (rad) between a normal and one beside it, within a pixel; a missing one is at a right angle."""
    normals, has_normal = _normals(depth, known, intrinsics)
    padded, exists = np.pad(normals, ((1, 1), (1, 1), (0, 0)), mode="edge"), np.pad(has_normal, 1, mode="edge")
    height, width = depth.shape
    angles = np.zeros_like(depth)
    for dy in range(3):
        for dx in range(3):
            cosine = (padded[dy : dy + height, dx : dx + width] * normals).sum(-1).clip(-1, 1)
            beside = exists[dy : dy + height, dx : dx + width]
            np.maximum(angles, np.arccos(cosine), out=angles, where=beside)
    return cv2.dilate(angles, _AROUND, borderType=cv2.BORDER_REPLICATE)


def _normals(depth: np.ndarray, known: np.ndarray, intrinsics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normals (H, W, 3) of unit length, 0 where there is none, and where there is one."""
    height, width = depth.shape
    y, x = np.mgrid[:height, :width].astype(np.float64)
    rays = np.stack((x, y, np.ones_like(x)), axis=-1) @ np.linalg.inv(intrinsics).T
    points = np.pad(rays * depth[..., None], ((1, 1), (1, 1), (0, 0)))
    there = np.pad(known, 1)

    def beside(values: np.ndarray, offset: tuple[int, int]) -> np.ndarray:
        return values[1 + offset[0] : 1 + offset[0] + height, 1 + offset[1] : 1 + offset[1] + width]

    total = np.zeros((height, width, 3))
    any_known = np.zeros((height, width), bool)
    for first, second in _TURNS:
        sound = known & beside(there, first) & beside(there, second)
        centre = beside(points, (0, 0))
        cross = np.cross(beside(points, first) - centre, beside(points, second) - centre)
        total += np.where(sound[..., None], cross / (np.linalg.norm(cross, axis=-1, keepdims=True) + 1e-12), 0)
        any_known |= sound
    length = np.linalg.norm(total, axis=-1, keepdims=True)
    return np.where(any_known[..., None], total / (length + 1e-12), 0), any_known
