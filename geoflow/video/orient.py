"""Display orientation: how a decoded picture must be turned before it is used."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Orientation:
    """A turn to upright: first transpose, then mirror. `rotation` is the clockwise turn in degrees: 0, 90, 180, 270."""

    transposed: bool = False
    flip_x: bool = False
    flip_y: bool = False
    rotation: int = 0

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Turn a decoded picture (H, W, ...) upright; a view."""
        if self.transposed:
            image = image.swapaxes(0, 1)
        return image[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]

    def turn_box(
        self, top: int, bottom: int, left: int, right: int, height: int, width: int
    ) -> tuple[int, int, int, int]:
        """Turn a box, rows [top, bottom) and columns [left, right) of a decoded (height, width), upright."""
        if self.transposed:
            top, bottom, left, right, height, width = left, right, top, bottom, width, height
        if self.flip_y:
            top, bottom = height - bottom, height - top
        if self.flip_x:
            left, right = width - right, width - left
        return top, bottom, left, right

    def swap(self, height: int, width: int) -> tuple[int, int]:
        """Convert a (height, width) between the decoded and the upright picture; the same in both directions."""
        return (width, height) if self.transposed else (height, width)


def from_display_matrix(a: int, b: int, c: int, d: int) -> Orientation:
    """Return the orientation of a display matrix (ISO/IEC 14496-12, section 6.2.2): x' = a x + c y, y' = b x + d y.

    Image axes are x right, y down, so a=0, b=1, c=-1, d=0 sends the top-left corner to the top-right: a quarter turn
    clockwise, which FFmpeg's counter-clockwise angle calls -90. Skewed matrices snap to the nearest quarter turn. Where
    the matrix also mirrors, `rotation` is the turn that follows a left-right mirroring.

    >>> from_display_matrix(0, 1, -1, 0).rotation
    90
    """
    sign = -1 if a * d - b * c < 0 else 1
    rotation = round(math.degrees(math.atan2(sign * b, sign * a)) / 90) * 90 % 360
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(True, flip_x=c < 0, flip_y=b < 0, rotation=rotation)
    return Orientation(False, flip_x=a < 0, flip_y=d < 0, rotation=rotation)


def of_frame(frame: Any) -> Orientation:
    """Return the orientation that a decoded PyAV frame asks for; upright if it says nothing."""
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return Orientation()
    matrix = np.frombuffer(bytes(side_data), np.int32)
    if matrix.size < 9 or not matrix[:5].any():
        return Orientation()
    return from_display_matrix(int(matrix[0]), int(matrix[1]), int(matrix[3]), int(matrix[4]))
