"""The camera in which the network thinks: a focal length of 5000 px for a crop of 256."""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST = 1e-9


def translation(camera: Tensor, focal: float, size: float) -> Tensor:
    """Return where a hand is (N, 3), in metres, that a camera (scale, x, y) (N, 3) describes.

    `focal` and `size` are those of the square that the scale belongs to, in pixels.
    """
    scale, x, y = camera.unbind(-1)
    return torch.stack((x, y, 2 * focal / (size * scale + _LEAST)), dim=-1)


def projected(points: Tensor, camera: Tensor, focal: float, size: float) -> Tensor:
    """Return points (N, V, 3) of hands in parts of the square's side from its centre: (N, V, 2)."""
    placed = points + translation(camera, focal, size)[:, None]
    return focal / size * placed[..., :2] / placed[..., 2:]
