"""A body without symmetry, and what a camera sees of it."""

from __future__ import annotations

import numpy as np

from geoflow.geometry.rigid import Sim3


def lumpy(seed: int, count: int = 2500) -> tuple[np.ndarray, np.ndarray]:
    """A star-shaped body without symmetry: vertices (V, 3) and faces, from a few waves on a sphere."""
    from scipy.spatial import ConvexHull

    rng = np.random.default_rng(seed)
    k = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * k / count), np.pi * (1 + 5**0.5) * k
    sphere = np.stack([np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar)], 1)
    faces = ConvexHull(sphere).simplices
    a, b, c = (sphere[faces[:, i]] for i in range(3))
    inward = (np.cross(b - a, c - a) * a).sum(1) < 0
    faces[inward] = faces[inward][:, ::-1]
    radius = 1 + sum(0.16 * np.sin(sphere @ rng.normal(0, 2.0, 3) + rng.uniform(0, 6)) for _ in range(5))
    return sphere * radius[:, None] * np.array([1.0, 0.8, 1.2]), faces


def seen_points(
    vertices: np.ndarray, faces: np.ndarray, pose: Sim3, noise: float, rng: np.random.Generator
) -> np.ndarray:
    """What a camera at 0 sees of the body, a point for each pixel: the nearest face on each ray, with depth noise."""
    placed = pose.apply(vertices)
    corners = placed[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    centres = corners.mean(1)
    facing = centres[(normals * centres).sum(1) < 0]
    pixel = np.round(facing[:, :2] / facing[:, 2:] * 100).astype(int)
    order = np.argsort(facing[:, 2])
    _, first = np.unique(pixel[order], axis=0, return_index=True)
    found = facing[order[first]]
    return found * (1 + noise * rng.normal(size=(len(found), 1)))


def depth_of(
    vertices: np.ndarray, faces: np.ndarray, pose: Sim3, intrinsics: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """The body's depth map (H, W) float32, 0 beside it: the nearest face's on each pixel; needs many small faces."""
    points = pose.apply(vertices)[faces].mean(1)
    pixels = np.round(points @ intrinsics.T / points[:, 2:])[:, :2].astype(int)
    depth = np.zeros(size, np.float32)
    inside = ((pixels >= 0) & (pixels < size[::-1])).all(1)
    far_first = np.argsort(-points[inside][:, 2])
    columns, rows = pixels[inside][far_first].T
    depth[rows, columns] = points[inside][far_first][:, 2]
    return depth
