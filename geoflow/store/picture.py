"""Small pictures of depth, for looking at a store."""

from __future__ import annotations

import numpy as np

from geoflow.values.frontend import in_notebook
from geoflow.values.packages import package


def colour_depth(depth: np.ndarray, near: float | None = None, far: float | None = None) -> np.ndarray:
    """Return colours (H, W, 3) uint8 RGB for depth (H, W), 0 where invalid: near is bright, invalid is black.

    Colours run over inverse depth between `near` and `far`, by default the 2nd and 98th percentile.

    Raises ConfigError if OpenCV is not installed.
    """
    cv2 = package("cv2", "opencv-python-headless", "a picture of depth")
    depth = np.asarray(depth, np.float32)
    keep = depth > 0
    if not keep.any():
        return np.zeros((*depth.shape, 3), np.uint8)
    inverse = 1 / np.where(keep, depth, 1)
    low, high = np.percentile(inverse[keep], [2, 98])
    low = 1 / far if far else low
    high = 1 / near if near else high
    level = np.clip((inverse - low) / max(high - low, 1e-9), 0, 1)
    colours = cv2.applyColorMap((level * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    return np.where(keep[..., None], colours, 0).astype(np.uint8)


class Picture(np.ndarray):
    """An RGB image (H, W, 3) uint8 that a notebook shows as a picture instead of as numbers."""

    _cell: int = -1  # the notebook cell below which it was last shown

    @classmethod
    def shown(cls, image: np.ndarray) -> Picture:
        """Show an image below the running cell, also before the cell ends; do nothing outside of notebooks."""
        picture = np.ascontiguousarray(image).view(cls)
        if in_notebook():
            picture._ipython_display_()
        return picture

    def _ipython_display_(self) -> None:
        """Show the picture once per cell. IPython also calls this if the picture is the last value of a cell."""
        from IPython import get_ipython
        from IPython.display import Image, display

        cell = getattr(get_ipython(), "execution_count", -1)
        if self.ndim != 3 or self.dtype != np.uint8:  # computed from a picture, but not a picture itself
            print(repr(np.asarray(self)))
        elif cell != self._cell:
            self._cell = cell
            cv2 = package("cv2", "opencv-python-headless", "showing a picture")
            display(Image(data=cv2.imencode(".png", np.asarray(self)[..., ::-1])[1].tobytes()))
