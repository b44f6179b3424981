"""A depth map with its camera, and how far each of its pixels is to be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from geoflow.geometry.cameras import unproject
from geoflow.geometry.rigid import apply, invert

_EDGE = 0.03  # relative to depth: of how much inverse depth bends within 2 px where a surface ends
_NOISE = 3.0  # times the median bend: what noise alone seldom reaches
_GRAZING = 0.15  # cosine of the angle between ray and normal below which depth says little of the surface


@dataclass(frozen=True)
class DepthView:
    """One frame's depth, colours and camera.

    `surface` says which pixels show what is to be fused. The others only say that nothing is in front of what they
    show; pixels of depth 0 say nothing.
    """

    depth: np.ndarray  # (H, W) float32 z in scene units, 0 unknown
    rgb: np.ndarray  # (H, W, 3) uint8
    intrinsics: np.ndarray  # (3, 3) px
    cam_from_world: np.ndarray  # (4, 4)
    surface: np.ndarray  # (H, W) bool

    @cached_property
    def points(self) -> np.ndarray:
        """Return the pixels' points: (H, W, 3) float32, camera frame."""
        return unproject(self.depth, self.intrinsics)

    @cached_property
    def normals(self) -> np.ndarray:
        """Return unit normals towards the camera: (H, W, 3) float32, camera frame; 0 where there is none."""
        points = unproject(self._calm, self.intrinsics)
        across, down = np.zeros_like(points), np.zeros_like(points)
        across[:, 1:-1] = points[:, 2:] - points[:, :-2]
        down[1:-1] = points[2:] - points[:-2]
        normal = np.cross(down, across)
        length = np.linalg.norm(normal, axis=-1, keepdims=True)
        return np.divide(normal, length, out=np.zeros_like(normal), where=length > 0)

    @cached_property
    def weight(self) -> np.ndarray:
        """Return the weight of each pixel's surface: (H, W) float32, 0 where it is not to be fused.

        It falls with the square of the distance, as the error of depth grows, and with the angle to the normal. At
        depth edges it is 0: on planes inverse depth is linear in the image, so where it bends, the surface ends.
        """
        edges = self._bend > max(_EDGE, _NOISE * self._unrest)
        length = np.maximum(np.linalg.norm(self.points, axis=-1), 1e-9)
        cosine = -(self.normals * self.points).sum(-1) / length
        sure = self.surface & ~edges & (cosine > _GRAZING)
        return np.where(sure, cosine / np.maximum(self.depth, 1e-9) ** 2, 0).astype(np.float32)

    @cached_property
    def free(self) -> np.ndarray:
        """Return how far each pixel's ray surely meets nothing: (H, W) float32 z, the least depth around, 0 unknown."""
        import cv2

        return cv2.erode(self.depth, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)

    @cached_property
    def _calm(self) -> np.ndarray:
        """Return depth from which normals are taken: (H, W) float32, smoothed within surfaces where it is noisy."""
        if self._unrest < _EDGE / _NOISE:
            return self.depth
        import cv2

        typical = float(np.median(self.depth[self.depth > 0]))
        return cv2.bilateralFilter(self.depth, 9, _NOISE * self._unrest * typical, 3.0)

    @property
    def world_points(self) -> np.ndarray:
        """Return the points of all pixels that are to be fused: (K, 3) float64 world."""
        return apply(invert(self.cam_from_world.astype(np.float64)), self.points[self.weight > 0].astype(np.float64))

    @cached_property
    def _bend(self) -> np.ndarray:
        """Return how much inverse depth bends, relative to itself: (H, W) float32; infinite where it is not known, or
        not known beside, and at the image's border. On planes it is 0."""
        known = self.depth > 0
        inverse = np.divide(1, self.depth, out=np.zeros_like(self.depth), where=known)
        bend = np.full(known.shape, np.inf, np.float32)
        around = known[1:-1, :-2] & known[1:-1, 2:] & known[:-2, 1:-1] & known[2:, 1:-1] & known[1:-1, 1:-1]
        middle = inverse[1:-1, 1:-1]
        most = np.maximum(
            abs(inverse[1:-1, :-2] + inverse[1:-1, 2:] - 2 * middle),
            abs(inverse[:-2, 1:-1] + inverse[2:, 1:-1] - 2 * middle),
        )
        bend[1:-1, 1:-1] = np.divide(most, middle, out=np.full_like(most, np.inf), where=around)
        return bend

    @cached_property
    def _unrest(self) -> float:
        """Return the median of the bend: the noise of the depth from pixel to pixel, times about 2."""
        known = self._bend[np.isfinite(self._bend)]
        return float(np.median(known)) if len(known) else 0.0
