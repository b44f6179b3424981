"""How a frame is fitted to the network, and what the network finds is brought back to the frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np

from geoflow.errors import ConfigError
from geoflow.geometry.depth.edge_aware import enlarge
from geoflow.models.lingbot.bicubic import resize
from geoflow.models.lingbot.config import PATCH

Size = tuple[int, int]  # height, width, px
Mode = Literal["whole", "crop", "pad"]

_WHITE = 255
_LEAST_FOV, _MOST_FOV = math.radians(5), math.radians(150)


@dataclass(frozen=True)
class Fit:
    """A frame of `frame` px is resized to `resized`, whose corner comes to lie at `corner` of the network's picture."""

    frame: Size
    resized: Size
    picture: Size  # what the network sees
    corner: tuple[int, int] = (0, 0)  # row and column; negative where the frame is cropped

    @classmethod
    def of(cls, frame: Size, side: int, mode: Mode = "whole") -> Fit:
        """Return how frames (height, width) are fitted to a `side`, a multiple of 14.

        whole: the longer side becomes `side`, the shorter one the nearest multiple of 14, so nothing is lost and
        pixels may be up to 7 / side from square. crop, of the original: the width becomes `side`, and of a higher
        picture the middle is taken. pad, of the original: as whole, with white beside it up to a square.

        Raises ConfigError for another mode, or a side that does not fit.

        >>> Fit.of((640, 360), 518).picture
        (518, 294)
        """
        if mode not in get_args(Mode):
            raise ConfigError(f"fit should be one of {', '.join(get_args(Mode))}, found {mode!r}")
        if side < PATCH or side % PATCH:
            near = max(1, round(side / PATCH)) * PATCH
            raise ConfigError(f"side should be a multiple of {PATCH} px, found {side}; take {near}")
        height, width = frame
        if mode != "crop" and height > width:
            resized = side, _rounded(width, side / height)
        else:
            resized = _rounded(height, side / width), side
        if mode == "whole":
            return cls(frame, resized, resized)
        square = side, side
        picture = square if mode == "pad" else (min(resized[0], side), side)
        row, column = ((whole - part) // 2 for whole, part in zip(picture, resized))
        if mode == "crop":
            row = -((resized[0] - picture[0]) // 2)
        return cls(frame, resized, picture, (row, column))

    def apply(self, rgb: np.ndarray) -> np.ndarray:
        """Return the network's picture (h, w, 3) uint8 of a frame (H, W, 3) uint8."""
        small = resize(rgb, self.resized)
        (row, column), (height, width) = self.corner, self.picture
        if row < 0:
            return small[-row : -row + height]
        if self.picture == self.resized:
            return small
        canvas = np.full((height, width, 3), _WHITE, np.uint8)
        canvas[row : row + small.shape[0], column : column + small.shape[1]] = small
        return canvas

    def intrinsics(self, fov_y: float, fov_x: float) -> np.ndarray:
        """Return the frame's pinhole matrix (3, 3) float32 px for fields of view of the network's picture, radians.

        Pixel centres lie at integers. NaN if a field of view is not one of a camera (5 to 150 degrees).
        """
        if not all(_LEAST_FOV <= fov <= _MOST_FOV for fov in (fov_y, fov_x)):
            return np.full((3, 3), np.nan, np.float32)
        matrix = np.eye(3)
        for axis, side, fov in ((1, 0, fov_y), (0, 1, fov_x)):
            factor = self.frame[side] / self.resized[side]
            matrix[axis, axis] = self.picture[side] / 2 / math.tan(fov / 2) * factor
            matrix[axis, 2] = (self.picture[side] / 2 - self.corner[side]) * factor - 0.5
        return matrix.astype(np.float32)

    def depth_back(self, depth: np.ndarray, rgb: np.ndarray) -> np.ndarray:
        """Return depth (H, W) float32 of a frame from the network's (h, w); 0 in what was cropped away.

        At edges, depth comes from the side whose colour the pixel has, and is no mean of both.
        """
        return enlarge(self._of_resized(depth), rgb)

    def confidence_back(self, confidence: np.ndarray) -> np.ndarray:
        """Return confidence (H, W) float32 of a frame from the network's (h, w); 0 in what was cropped away."""
        return cv2.resize(self._of_resized(confidence), self.frame[::-1], interpolation=cv2.INTER_LINEAR)

    def _of_resized(self, values: np.ndarray) -> np.ndarray:
        """Cut the frame out of the network's picture, or put it back to where it was cropped from."""
        (row, column), (height, width) = self.corner, self.resized
        if row >= 0:
            return np.ascontiguousarray(values[row : row + height, column : column + width])
        whole = np.zeros(self.resized, np.float32)
        whole[-row : -row + values.shape[0]] = values
        return whole


def _rounded(length: int, factor: float) -> int:
    """Return the resized length, a multiple of 14; ties go to the even multiple."""
    return max(1, round(length * factor / PATCH)) * PATCH
