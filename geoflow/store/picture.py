"""Small pictures, for looking at a store in a notebook."""

from __future__ import annotations

import numpy as np

from geoflow.values.frontend import in_notebook
from geoflow.values.packages import package


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
