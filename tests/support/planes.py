"""Two textured planes before a moving pinhole camera: images, depth and flow are exact by construction."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from geoflow.geometry.cameras import pinhole, pixel_grid
from geoflow.geometry.rigid import invert

HEIGHT, WIDTH = 120, 160
INTRINSICS = pinhole(150.0, HEIGHT, WIDTH)
WALL_Z, BOARD_Z = 4.0, 2.0  # both planes face the first camera; the board covers x < 0


def poses(centres: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """cam_from_world (T, 4, 4) of cameras at `centres` (T, 3) turned by rotation vectors `turns` (T, 3)."""
    found = np.tile(np.eye(4), (len(centres), 1, 1))
    for pose, centre, turn in zip(found, centres, turns):
        pose[:3, :3] = cv2.Rodrigues(np.asarray(turn, float))[0]
        pose[:3, 3] = -pose[:3, :3] @ centre
    return found


def look(cam_from_world: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a camera sees: depth z (H, W), world points (H, W, 3) and a picture (H, W, 3) uint8."""
    world_from_cam = invert(cam_from_world)
    rays = np.concatenate([pixel_grid(HEIGHT, WIDTH), np.ones((HEIGHT, WIDTH, 1))], -1) @ np.linalg.inv(INTRINSICS).T
    directions, centre = rays @ world_from_cam[:3, :3].T, world_from_cam[:3, 3]
    board, wall = ((z - centre[2]) / directions[..., 2] for z in (BOARD_Z, WALL_Z))
    on_board = (centre[0] + board * directions[..., 0]) < 0
    depth = np.where(on_board, board, wall)
    xyz = centre + depth[..., None] * directions
    shade = np.where(on_board, _texture(xyz, 0), _texture(xyz, 1))
    return depth, xyz, np.repeat(shade[..., None], 3, -1).astype(np.uint8)


def _texture(xyz: np.ndarray, seed: int) -> np.ndarray:
    """Smooth noise over x and y, 40 cells to the unit: grey levels (H, W)."""
    uv = (xyz[..., :2] * 40 + 256).astype(np.float32)
    return cv2.remap(_noise(seed), uv, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


@functools.cache
def _noise(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (512, 512)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX)


def exact_flow(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Flow (H, W, 2) px of everything camera a sees towards camera b; occlusion is not looked at."""
    _, xyz, _ = look(a)
    there = (xyz @ b[:3, :3].T + b[:3, 3]) @ INTRINSICS.T
    return (there[..., :2] / there[..., 2:] - pixel_grid(HEIGHT, WIDTH)).astype(np.float32)


def handheld(count: int, reach: float = 0.5) -> np.ndarray:
    """Poses (T, 4, 4) of a camera that moves sideways by `reach` and turns a little; the first one is the identity."""
    along = np.linspace(0, 1, count)[:, None]
    return poses(along * [reach, 0.15 * reach, 0.2 * reach], along * [0.02, -0.06, 0.01])
