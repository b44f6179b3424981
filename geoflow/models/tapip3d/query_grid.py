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
    """Return queries (N, 4), a frame number and a world position, float32, where the frame has depth."""
    queries = queries_at(clip, frame, grid_pixels(count, clip.size))
    return queries[np.isfinite(queries).all(1)]


def queries_at(clip: Clip, frame: int, xy: np.ndarray) -> np.ndarray:
    """Return queries (N, 4) float32 at pixels (N, 2) of a frame; positions are NaN where it has no depth.

    Depth is read at the nearest pixel.
    """
    height, width = clip.size
    xy = np.ascontiguousarray(xy, np.float32)
    x, y = np.rint(xy).astype(int).T
    depth = clip.depth[clip.order[frame]][y.clip(0, height - 1), x.clip(0, width - 1)]
    camera, pose = clip.cameras(frame, frame + 1, torch.device("cpu"))
    points = unproject_pixels(torch.from_numpy(xy), torch.from_numpy(depth), camera[0], pose[0]).numpy()
    points = np.where(depth[:, None] > 0, points, np.nan)
    return np.concatenate((np.full((len(xy), 1), frame), points), axis=1).astype(np.float32)
