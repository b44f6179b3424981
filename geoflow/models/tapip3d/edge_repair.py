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
    """Return depth (H, W) float32 with edges repaired; 0 stays 0. Computed in float64; intrinsics (3, 3).

    Normals are computed near steps of depth only: few pixels, in most frames.
    """
    exact = depth.astype(np.float64)
    known = exact > 0
    wrong = _steps(exact, known)
    if not wrong.any():
        return depth.astype(np.float32)
    wrong &= _bends(exact, known, intrinsics.astype(np.float64), wrong) > np.deg2rad(_DEGREES)
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


def _grown(chosen: np.ndarray) -> np.ndarray:
    """Return the chosen pixels (H, W) and those beside them."""
    return cv2.dilate(chosen.astype(np.uint8), _AROUND, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0


def _bends(depth: np.ndarray, known: np.ndarray, intrinsics: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The largest angle (rad) between a normal and one beside it, within a pixel, at the chosen pixels (H, W).

    A missing normal is at a right angle. At the border the outermost row is repeated.
    """
    near = _grown(chosen)
    normals, has_normal = _normals(depth, known, intrinsics, _grown(near))
    rows, columns = np.nonzero(near)
    height, width = depth.shape
    own, largest = normals[rows, columns], np.zeros(len(rows))
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            beside = (rows + dy).clip(0, height - 1), (columns + dx).clip(0, width - 1)
            angle = np.arccos((normals[beside] * own).sum(-1).clip(-1, 1))
            np.maximum(largest, angle, out=largest, where=has_normal[beside])
    angles = np.zeros_like(depth)
    angles[rows, columns] = largest
    return cv2.dilate(angles, _AROUND, borderType=cv2.BORDER_REPLICATE)


def _normals(
    depth: np.ndarray, known: np.ndarray, intrinsics: np.ndarray, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Normals (H, W, 3) of unit length at the chosen pixels, 0 where there is none, and where there is one (H, W)."""
    height, width = depth.shape
    y, x = np.mgrid[:height, :width].astype(np.float64)
    rays = np.stack((x, y, np.ones_like(x)), axis=-1) @ np.linalg.inv(intrinsics).T
    points = np.pad(rays * depth[..., None], ((1, 1), (1, 1), (0, 0)))
    there = np.pad(known, 1)
    rows, columns = (index + 1 for index in np.nonzero(chosen))
    centre, total = points[rows, columns], np.zeros((len(rows), 3))
    any_known = np.zeros(len(rows), bool)
    for first, second in _TURNS:
        one, other = ((rows + dy, columns + dx) for dy, dx in (first, second))
        sound = there[rows, columns] & there[one] & there[other]
        cross = np.cross(points[one] - centre, points[other] - centre)
        total += np.where(sound[:, None], cross / (np.linalg.norm(cross, axis=-1, keepdims=True) + 1e-12), 0)
        any_known |= sound
    length = np.linalg.norm(total, axis=-1, keepdims=True)
    normals, has_normal = np.zeros((height, width, 3)), np.zeros((height, width), bool)
    normals[rows - 1, columns - 1] = np.where(any_known[:, None], total / (length + 1e-12), 0)
    has_normal[rows - 1, columns - 1] = any_known
    return normals, has_normal
