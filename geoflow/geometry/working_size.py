"""Work on smaller images: sizes, pictures and pinhole matrices scaled down, and point maps collected."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from geoflow.geometry.cameras import pixel_grid, pixel_rays, resize_intrinsics
from geoflow.geometry.picture_size import shrunk_size


@dataclass(frozen=True)
class WorkingSize:
    """The size (height, width) of the frames, and the working size."""

    full: tuple[int, int]
    small: tuple[int, int]

    @classmethod
    def at_most(cls, height: int, width: int, long_side: int) -> WorkingSize:
        """Keep the aspect and bring the longer side to `long_side` px; smaller frames stay as they are.

        Long strips keep more, see `shrunk_size`.

        >>> WorkingSize.at_most(480, 640, 320).small
        (240, 320)
        """
        return cls((height, width), shrunk_size(height, width, long_side))

    def shrink(self, rgb: np.ndarray) -> np.ndarray:
        """Shrink a picture (H, W, 3) uint8 to the working size, by averaging areas."""
        if self.full == self.small:
            return rgb
        return cv2.resize(rgb, self.small[::-1], interpolation=cv2.INTER_AREA)

    def shrink_map(self, values: np.ndarray) -> np.ndarray:
        """Shrink a map (H, W) of depth or bool to the working size by its nearest pixels, so nothing is mixed."""
        if self.full == self.small:
            return values
        numbers = values.astype(np.uint8) if values.dtype == bool else values
        return cv2.resize(numbers, self.small[::-1], interpolation=cv2.INTER_NEAREST_EXACT).astype(values.dtype)

    def shrink_intrinsics(self, intrinsics: np.ndarray) -> np.ndarray:
        """Convert the pinhole matrix of full frames to that of working frames: (3, 3) float32."""
        return resize_intrinsics(intrinsics, self.small[1] / self.full[1], self.small[0] / self.full[0])

    def enlarge_intrinsics(self, intrinsics: np.ndarray) -> np.ndarray:
        """Convert the pinhole matrix of working frames to that of full frames: (3, 3) float32."""
        return resize_intrinsics(intrinsics, self.full[1] / self.small[1], self.full[0] / self.small[0])


class PointMaps:
    """Collects depth maps of one camera as float16 point maps (T, H, W, 3) with their mask (T, H, W)."""

    def __init__(self, count: int, height: int, width: int, intrinsics: np.ndarray) -> None:
        self.points = np.zeros((count, height, width, 3), np.float16)
        self.mask = np.zeros((count, height, width), bool)
        self.intrinsics = np.tile(np.asarray(intrinsics, np.float32), (count, 1, 1))
        self._rays = pixel_rays(pixel_grid(height, width), intrinsics)

    def put(self, i: int, depth: np.ndarray) -> None:
        """Set frame i from depth (H, W) float32 in a unit near the scene's median depth; 0 is unknown.

        Points that float16 cannot hold become unknown, too.
        """
        with np.errstate(over="ignore"):
            points = np.multiply(self._rays, depth[..., None], out=self.points[i], casting="same_kind")
        self.mask[i] = (points[..., 2] > 0) & (np.abs(points).max(-1) < np.inf)  # False for NaN, too
        points[~self.mask[i]] = 0
