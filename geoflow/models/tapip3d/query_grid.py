"""Points to follow, on a grid of a frame."""

from __future__ import annotations

import numpy as np
import torch

from geoflow.models.tapip3d.clip import Clip
from geoflow.models.tapip3d.rays import unproject_pixels


def grid_pixels(count: int, size: tuple[int, int]) -> np.ndarray:
    """Return (count * count, 2) pixels x, y, row by row, over a frame of `size` (H, W); one point lies in its middle.

    The margin is a 64th of the width on all sides.
    """
    height, width = size
    if count == 1:
        return np.array([[width / 2, height / 2]], np.float32)
    margin = width / 64
    y, x = np.meshgrid(
        np.linspace(margin, height - margin, count), np.linspace(margin, width - margin, count), indexing="ij"
    )
    return np.stack((x.ravel(), y.ravel()), axis=1).astype(np.float32)


def grid_queries(clip: Clip, frame: int, count: int) -> np.ndarray:
    """Return queries (N, 4), a frame number and a world position, float32, where the frame has depth.

    Depth is read at the nearest pixel.
    """
    pixels = grid_pixels(count, clip.size)
    return pixel_queries(clip, np.full(len(pixels), frame), pixels)[0]


def pixel_queries(clip: Clip, frames: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return queries (M, 4) of pixels (N, 2) x, y in their frames (N,), and which of them (N,) bool have depth."""
    height, width = clip.size
    queries = np.zeros((len(pixels), 4), np.float32)
    has_depth = np.zeros(len(pixels), bool)
    for frame in np.unique(frames):
        chosen = np.flatnonzero(frames == frame)
        xy = pixels[chosen].astype(np.float32)
        x, y = np.rint(xy).astype(int).T
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        depth = clip.depth[clip.order[frame]][np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
        camera, pose = clip.cameras(int(frame), int(frame) + 1, torch.device("cpu"))
        points = unproject_pixels(torch.from_numpy(xy), torch.from_numpy(depth), camera[0], pose[0])
        queries[chosen, 0], queries[chosen, 1:] = frame, points.numpy()
        has_depth[chosen] = inside & (depth > 0)
    return queries[has_depth], has_depth
