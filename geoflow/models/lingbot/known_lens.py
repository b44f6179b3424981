"""What a known lens changes in the network's answer, which cannot be told of it beforehand."""

from __future__ import annotations

import numpy as np


class KnownLens:
    """Corrects a stream's poses and depths for known intrinsics, frame after frame.

    The network finds a focal length of its own, f, and depth z and motion that explain the pictures with it. A point
    at column u stays at X = u z / f, and moves sideways in the picture as before, if f and z both grow by the same
    factor r = f_known / f; so does the forward part of the camera's motion. So the matrix is replaced, depth is
    multiplied by r, and of each step of the camera the part along its optical axis is, too. Rotations are left as they
    are, and so is the assumption that the principal point is in the middle. It is an approximation, and better the
    nearer r is to 1: a few per cent are common; `ratio` is there to be checked.
    """

    def __init__(self, intrinsics: np.ndarray) -> None:
        self.intrinsics = np.asarray(intrinsics, np.float32)
        self.ratio = 1.0  # known over found focal length, of the last frame
        self._found: np.ndarray | None = None  # the last camera's centre, as the network has it
        self._centre = np.zeros(3)

    def correct(
        self, world_from_cam: np.ndarray, found: np.ndarray, depth: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a frame's pose (4, 4) and depth (h, w) for the known lens.

        `found` is the matrix (3, 3) that the network would have. If that is NaN, the factor stays as it was.
        A pose of NaN stays as it is.
        """
        if not np.isfinite(world_from_cam).all():
            return world_from_cam, depth * np.float32(self.ratio)
        before = self.ratio
        focal = found[0, 0] * found[1, 1]
        if np.isfinite(focal):
            self.ratio = float(np.sqrt(self.intrinsics[0, 0] * self.intrinsics[1, 1] / focal))
        centre, forward = world_from_cam[:3, 3], world_from_cam[:3, 2]
        if self._found is None:
            self._centre = centre.copy()
        else:
            step = centre - self._found
            self._centre = self._centre + step + (np.sqrt(before * self.ratio) - 1) * (forward @ step) * forward
        self._found = centre
        pose = world_from_cam.copy()
        pose[:3, 3] = self._centre
        return pose, depth * np.float32(self.ratio)
