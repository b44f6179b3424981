"""The camera that a run begins with: what the user knows of it, in the tracker's convention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoflow.errors import ConfigError
from geoflow.geometry.depth.coarse_prior import disparity_at
from geoflow.models.vipe.preparing import Fit

_SAME = 1e-3  # parts of the focal length by which cameras of one clip may differ
_EDGE = 0.5  # the tracker counts principal points from the picture's edge, everyone else from the first pixel's centre


@dataclass(frozen=True)
class CameraStart:
    """A camera of frames: `values` fx, fy, cx, cy[, k] from the picture's edge; `bend` is undone before tracking."""

    values: np.ndarray
    known: bool
    bend: np.ndarray | None = None  # (5,) OpenCV's coefficients

    def undistorted(self, picture: np.ndarray) -> np.ndarray:
        """Return a frame, mask or depth map without the lens's distortion, with the same pinhole camera."""
        if self.bend is None:
            return picture
        import cv2

        height, width = picture.shape[:2]
        camera = matrix_of(self.values)
        maps = cv2.initUndistortRectifyMap(camera, self.bend, np.eye(3), camera, (width, height), cv2.CV_32FC1)
        smooth = cv2.INTER_LINEAR if picture.ndim == 3 else cv2.INTER_NEAREST
        values = picture.astype(np.uint8) if picture.dtype == bool else picture
        found: np.ndarray = cv2.remap(values, *maps, smooth).astype(picture.dtype)
        return found


def camera_start(
    intrinsics: np.ndarray | None, distortion: float | Sequence[float] | None, size: tuple[int, int], focal: float
) -> CameraStart:
    """Return the camera of frames of `size` (height, width), a centred one of `focal` widths if it is not known.

    intrinsics (3, 3) or (T, 3, 3), all the same. A single distortion is k of a wide-angle lens (see `lens`), several
    are OpenCV's. Raises ConfigError for what cannot be a camera.
    """
    height, width = size
    if intrinsics is None:
        values = np.array([focal * width, focal * width, width / 2, height / 2])
    else:
        values = _known(np.asarray(intrinsics, np.float64))
    known = intrinsics is not None
    if distortion is None:
        return CameraStart(values, known)
    if np.ndim(distortion) == 0:
        k = float(distortion)  # type: ignore[arg-type]
        if not -0.9 < k < 10:
            raise ConfigError(f"distortion should be the k of a wide-angle lens, above -0.9, found {k}")
        return CameraStart(np.append(values, k), known)
    numbers = np.asarray(distortion, np.float64)
    if numbers.ndim != 1 or not 1 <= len(numbers) <= 5 or not np.isfinite(numbers).all():
        raise ConfigError(f"distortion should be one to five numbers, found {distortion!r}")
    if not known:
        raise ConfigError("distortion needs intrinsics; a lens of which only the distortion is known cannot be undone")
    return CameraStart(values, known, np.append(numbers, np.zeros(5 - len(numbers))))


def _known(given: np.ndarray) -> np.ndarray:
    if given.shape[-2:] != (3, 3) or given.ndim not in (2, 3) or not np.isfinite(given).all():
        raise ConfigError(f"intrinsics should be (3, 3) or (T, 3, 3) and finite, found {given.shape}")
    rows = given.reshape(-1, 3, 3)
    if not len(rows) or not (rows[:, [0, 1], [0, 1]] > 0).all():
        raise ConfigError("intrinsics should have focal lengths above 0")
    k = rows[0]
    if np.abs(rows - k).max() > _SAME * k[0, 0]:
        raise ConfigError("intrinsics should be the same for all frames; a lens that zooms is not supported")
    return np.array([k[0, 0], k[1, 1], k[0, 2] + _EDGE, k[1, 2] + _EDGE])


def matrix_of(values: np.ndarray) -> np.ndarray:
    """Return the matrix (3, 3), pixel centres on whole numbers, of fx, fy, cx, cy from the picture's edge."""
    fx, fy, cx, cy = values[:4]
    return np.array([[fx, 0, cx - _EDGE], [0, fy, cy - _EDGE], [0, 0, 1]])


def working_camera(start: CameraStart, fit: Fit) -> np.ndarray:
    """Return the camera (4 or 5,) of pictures of the working size."""
    return fit.intrinsics(start.values)


def disparity_at_grid(depth: np.ndarray, start: CameraStart, fit: Fit) -> np.ndarray:
    """Return the disparity (h, w) float16 of a depth map (H, W), 0 where unknown, at the pixels of the tracker's grid.

    The tracker sees frames without their lens's distortion, and so is the map brought there. The original samples three
    pixels further right and down than where a pixel of its grid is.
    """
    return disparity_at(start.undistorted(depth.astype(np.float32)), fit.grid_pixels())
