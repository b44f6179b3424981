"""A small clip of textured planes with exact depth, drawn with one homography per plane."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from geoflow.geometry.cameras import pinhole, pixel_grid, pixel_rays

FOCAL = 150.0
# Each plane: a corner, its two edges in metres (world), far ones first. World = the camera frame of pose identity.
_PLANES = (
    ((-6.0, -4.5, 7.5), (12.0, 0.0, -2.5), (0.0, 9.0, 0.0)),
    ((-6.0, 1.0, 7.0), (12.0, 0.0, 0.0), (0.0, 0.4, -6.0)),
    ((-1.9, -1.0, 4.2), (1.3, 0.0, 0.3), (0.0, 2.1, 0.0)),
    ((0.5, -0.7, 2.9), (0.9, 0.0, 0.0), (0.1, 1.9, 0.0)),
)


@dataclass(frozen=True)
class Clip:
    rgb: np.ndarray  # (T, H, W, 3) uint8
    depth: np.ndarray  # (T, H, W) float32 m
    cam_from_world: np.ndarray  # (T, 4, 4)
    intrinsics: np.ndarray  # (3, 3)

    @property
    def grays(self) -> list[np.ndarray]:
        return [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in self.rgb]


def render(poses: np.ndarray, height: int = 120, width: int = 160) -> Clip:
    """Draw the planes from poses (T, 4, 4) cam_from_world; nearer planes cover further ones."""
    k = pinhole(FOCAL * width / 160, height, width).astype(np.float64)
    textures = [_texture(seed) for seed in range(len(_PLANES))]
    frames = [_frame(pose, k, textures, height, width) for pose in poses]
    return Clip(np.stack([f[0] for f in frames]), np.stack([f[1] for f in frames]), poses, k)


def walk(count: int, step: tuple[float, float, float] = (0.03, 0.004, 0.012), turn: float = 0.002) -> np.ndarray:
    """Poses of a camera that moves `step` metres and turns `turn` rad about the vertical per frame."""
    poses = np.tile(np.eye(4), (count, 1, 1))
    for t in range(count):
        c, s = np.cos(turn * t), np.sin(turn * t)
        poses[t, :3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
        poses[t, :3, 3] = -poses[t, :3, :3] @ (np.array(step) * t)
    return poses


@functools.cache
def _texture(seed: int, size: int = 512) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = np.zeros((size, size, 3), np.float32)
    for cells in (8, 24, 72, 216):
        image += cv2.resize(
            rng.random((cells, cells, 3), np.float32) - 0.5, (size, size), interpolation=cv2.INTER_CUBIC
        )
    return cv2.normalize(image, None, 20, 235, cv2.NORM_MINMAX).astype(np.uint8)


def _frame(
    pose: np.ndarray, k: np.ndarray, textures: list[np.ndarray], height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    rays = pixel_rays(pixel_grid(height, width), k).astype(np.float64)
    picture, depth = np.zeros((height, width, 3), np.uint8), np.zeros((height, width))
    for (corner, right, down), texture in zip(_PLANES, textures):
        origin = pose[:3, :3] @ corner + pose[:3, 3]
        axes = pose[:3, :3] @ np.column_stack([right, down])
        normal = np.cross(axes[:, 0], axes[:, 1])
        z = (normal @ origin) / (rays @ normal)
        image_from_texture = k @ np.column_stack([axes / (texture.shape[0] - 1), origin])
        drawn = cv2.warpPerspective(texture, image_from_texture, (width, height), flags=cv2.INTER_AREA)
        on = cv2.warpPerspective(np.ones(texture.shape[:2], np.uint8), image_from_texture, (width, height)) > 0
        on &= (z > 0) & ((depth == 0) | (z < depth))
        picture[on], depth[on] = drawn[on], z[on]
    return picture, depth.astype(np.float32)
