"""A camera that walks round a box and looks ahead, tracked from what a `BoxFlow` says of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from geoflow.bench.slam.box_flow import BoxFlow
from geoflow.geometry.rigid import umeyama
from geoflow.models.vipe.slam import Slam, SlamResult

SIZE = (128, 160)
CAMERA = torch.tensor([128.0, 128, 80, 64])  # from the picture's edge
ROOM = torch.tensor([[-3.0, 3], [-1.5, 1.5], [-3, 3]])  # m
LAP = 240  # frames
OPTIONS = {"filter_thresh": 1.4, "keyframe_thresh": 1.4, "frontend_thresh": 6.0, "backend_thresh": 8.0}


def path(count: int) -> np.ndarray:
    """Return (T, 4, 4) world from camera, a lap of 10 m in `LAP` frames."""
    poses = np.tile(np.eye(4), (count, 1, 1))
    for pose, angle in zip(poses, np.arange(count) * 2 * np.pi / LAP):
        c, s = np.cos(angle + np.pi / 2), np.sin(angle + np.pi / 2)
        pose[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
        pose[:3, 3] = 1.6 * np.sin(angle), 0.15 * np.sin(3 * angle), 1.6 * np.cos(angle)
    return poses


def walk(count: int, noise: float = 0.0, *, metric: bool = False, **options: Any) -> SlamResult:
    """Track the walk; with `metric`, its depth is known at keyframes."""
    flow = BoxFlow(torch.from_numpy(path(count)), CAMERA, ROOM, SIZE, noise)
    fx, fy, cx, cy = CAMERA.tolist()
    frames = (np.zeros((*SIZE, 3), np.uint8) for _ in range(count))
    return Slam(flow).run(
        frames,
        intrinsics=np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]]),
        depth_prior=(lambda frame, rgb: flow.prior(frame).float().numpy()) if metric else None,
        **{**OPTIONS, "backend_iters": 4, **options},
    )


def centres(found: SlamResult) -> np.ndarray:
    """Return where the camera was found, (T, 3)."""
    world_from_cam = np.linalg.inv(found.cam_from_world.astype(np.float64))
    return world_from_cam[:, :3, 3]


def path_error(found: SlamResult) -> float:
    """Return the root mean square error of the camera's place, m, after a similarity."""
    own, truth = centres(found), path(len(found.cam_from_world))[:, :3, 3]
    aligned = umeyama(own, truth).apply(own)
    return float(np.sqrt(((aligned - truth) ** 2).sum(1).mean()))
