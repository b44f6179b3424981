"""Conversion of a decoded frame to what players show: one field, RGB of BT.709, cropped, square pixels, upright."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from geoflow.video import colour, images, orient
from geoflow.video.aperture import Aperture
from geoflow.video.interlace import FieldPicker, fill_lines


@dataclass(frozen=True)
class Shown:
    """Settings that say how the frames of one video stream are shown."""

    signal: colour.Signal
    turn: orient.Orientation
    aspect: float = 1.0  # width over height of a stored pixel
    aperture: Aperture | None = None  # None: the whole picture
    fields: bool = False  # frames flagged as interlaced hold two fields

    def size(self, frame: Any) -> tuple[int, int]:
        """Return height and width of a decoded frame as it is shown, at full resolution."""
        aperture = self._aperture(frame.height, frame.width)
        height, width = (frame.height, frame.width) if aperture is None else aperture.size
        return self.turn.swap(*_square_pixels(height, width, self.aspect))

    @property
    def cropped(self) -> Aperture | None:
        """Return the part of an upright stored picture that is shown, None for the whole picture."""
        if self.aperture is None:
            return None
        cut, stored = self.aperture, self.aperture.stored
        return Aperture(
            self.turn.swap(*stored), *self.turn.turn_box(cut.top, cut.bottom, cut.left, cut.right, *stored), cut.aspect
        )

    def picture(self, frame: Any, height: int, width: int, threads: int, fields: FieldPicker) -> np.ndarray:
        """Convert a decoded frame to what is shown, resized to (height, width, 3) uint8 RGB."""
        stored, image = (frame.height, frame.width), self._rgb(frame, threads, fields)
        if (aperture := self._aperture(*stored)) is not None:
            image = aperture.cut(image)
        image = images.resize(image, *self.turn.swap(height, width))
        if image.dtype == np.uint16:  # after resizing: there are fewer pixels then
            image = colour.to_bt709(image, self.signal)
        return self.turn.apply(image)

    def _rgb(self, frame: Any, threads: int, fields: FieldPicker) -> np.ndarray:
        """Return the whole stored picture, (H, W, 3): uint8 if it is BT.709, else uint16 R'G'B' of the signal."""
        height, parity, kind = frame.height, None, "rgb24" if self.signal.is_plain else "rgb48le"
        if self.fields and frame.interlaced_frame:
            frame, parity = fields.first_field(frame)
        if self.signal.matrix is not None:
            frame.colorspace = self.signal.matrix
        image = frame.to_ndarray(format=kind, threads=threads)
        return image if parity is None else fill_lines(image, parity, height)

    def _aperture(self, height: int, width: int) -> Aperture | None:
        return self.aperture if self.aperture is not None and self.aperture.stored == (height, width) else None


def _square_pixels(height: int, width: int, aspect: float) -> tuple[int, int]:
    """Return the size with square pixels: the longer pixel side is stretched, so no detail is lost."""
    return (height, round(width * aspect)) if aspect >= 1 else (round(height / aspect), width)
