"""From the crop back to the image: where the camera sees a hand, with any focal length and principal point.

The network sees a hand of a scale, at a place in the crop. Both fix where the hand is in the image and how many pixels
a metre is there. How far away it is follows from the focal length: twice the focal length, twice the distance.
"""

from __future__ import annotations

import numpy as np

from geoflow.errors import ConfigError
from geoflow.models.wilor.config import CROP, TRAINING_FOCAL
from geoflow.models.wilor.crops import Squares

_LEAST = 1e-9


def assumed_focal(image_size: tuple[int, int]) -> float:
    """Return the focal length in px that the published program takes for an image of (width, height): 19.5 times the
    longer side, so that hands are many metres away."""
    return TRAINING_FOCAL / CROP * max(image_size)


def lens(
    image_size: tuple[int, int], focal: float | tuple[float, float] | None, principal: tuple[float, float] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the focal lengths (2,) and the principal point (2,) in px; what is None is the published program's.

    `focal` is one number, or two for x and y. Raises ConfigError if they cannot be those of a camera.
    """
    lengths = np.broadcast_to(np.asarray(assumed_focal(image_size) if focal is None else focal, np.float64), (2,))
    middle = (image_size[0] / 2, image_size[1] / 2) if principal is None else principal
    point = np.asarray(middle, np.float64)
    if not (np.isfinite(lengths).all() and (lengths > 0).all() and point.shape == (2,) and np.isfinite(point).all()):
        raise ConfigError(f"focal should be above 0 and principal two numbers, found {focal} and {principal}")
    return lengths, point


def places(camera: np.ndarray, squares: Squares, focal: np.ndarray, principal: np.ndarray) -> np.ndarray:
    """Return where the hands' models are in the camera frame: (N, 3) float32, metres.

    camera    (N, 3) scale and shift in the crop, the shift of all hands as that of right hands
    focal     (2,) px of the image; where both differ, the distance is that of their geometric mean
    principal (2,) px
    """
    camera = np.asarray(camera, np.float64)
    px_per_metre = (squares.side * camera[:, 0] + _LEAST) / 2
    shift = camera[:, 1:] * np.stack((np.where(squares.right, 1, -1), np.ones(len(camera))), axis=1)
    uv = squares.centre + shift * px_per_metre[:, None]  # of the model's origin
    depth = np.sqrt(focal.prod()) / px_per_metre
    across = (uv - principal) * (depth[:, None] / focal)
    return np.concatenate((across, depth[:, None]), axis=1).astype(np.float32)


def projection(points: np.ndarray, focal: np.ndarray, principal: np.ndarray) -> np.ndarray:
    """Return the pixels (..., 2) float32 of points (..., 3) in the camera frame."""
    points = np.asarray(points, np.float64)
    return (points[..., :2] / points[..., 2:] * focal + principal).astype(np.float32)
