"""The camera's path from above, as a small drawing in the corner of a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.geometry.upright import upright_from_world
from geoflow.store.reader import Video

_SHARE = 0.3  # of the shorter side of the picture
_MARGIN = 0.14  # of the drawing
_BACK, _ALL, _PAST, _NOW = (16, 20, 23), (120, 130, 138), (98, 198, 220), (242, 165, 82)
_OPACITY = 0.72
_STILL = 1e-9  # of the path's length: the camera did not move
_SHIFT = 4  # bits behind the point in OpenCV's drawings


@dataclass(frozen=True)
class PathInset:
    """Places in a square of `side` px: x to the right, y upwards where the camera looked ahead on average."""

    side: int
    places: np.ndarray  # (T, 2) float64 px, NaN where the frame has no pose
    looks: np.ndarray  # (T, 2) float64: where the camera looks, seen from above; NaN where the frame has no pose

    @classmethod
    def of(cls, video: Video, size: tuple[int, int]) -> PathInset | None:
        """Return the drawing for a picture of `size` (width, height); None if fewer than two frames have a pose, or
        the camera is at rest."""
        cameras = video.cameras
        if cameras is None or int(cameras.valid.sum()) < 2:
            return None
        upright = upright_from_world(cameras.cam_from_world[cameras.valid])
        centers = np.where(cameras.valid[:, None], cameras.centers, np.nan) @ upright.T
        xy = centers[:, [0, 2]] * [1, -1]  # down the picture is back
        low, high = np.nanmin(xy, axis=0), np.nanmax(xy, axis=0)
        if (extent := float((high - low).max())) <= _STILL:
            return None
        side = max(24, round(_SHARE * min(size)))
        places = (xy - (low + high) / 2) * (side * (1 - 2 * _MARGIN) / extent) + side / 2
        ahead = np.where(cameras.valid[:, None], cameras.cam_from_world[:, 2, :3], np.nan) @ upright.T
        return cls(side, places, ahead[:, [0, 2]] * [1, -1])

    def draw(self, picture: np.ndarray, i: int) -> None:
        """Draw the path until frame i, the rest of it paler, and the camera, into the picture's lower left corner."""
        import cv2

        corner = picture[-self.side :, : self.side]
        corner[:] = np.rint(corner * (1 - _OPACITY) + np.array(_BACK) * _OPACITY)
        own = np.ascontiguousarray(corner)
        for stop, colour, thickness in ((len(self.places), _ALL, 1), (i + 1, _PAST, 2)):
            cv2.polylines(own, self._runs(stop), False, colour, thickness, cv2.LINE_AA, _SHIFT)
        if np.isfinite(self.places[i]).all():
            at, ahead = self.places[i], self.places[i] + 0.11 * self.side * self.looks[i]
            cv2.line(own, *map(_fixed, (at, ahead)), _NOW, 2, cv2.LINE_AA, _SHIFT)
            cv2.circle(own, _fixed(at), max(3, self.side // 32) << _SHIFT, _NOW, -1, cv2.LINE_AA, _SHIFT)
        corner[:] = own

    def _runs(self, stop: int) -> list[np.ndarray]:
        """Return the path until frame `stop` as lines; where a frame has no pose, a line ends."""
        known = np.flatnonzero(np.isfinite(self.places[:stop]).all(1))
        runs = np.split(known, np.flatnonzero(np.diff(known) > 1) + 1)
        return [np.rint(self.places[run] * (1 << _SHIFT)).astype(np.int32) for run in runs if len(run)]


def _fixed(place: np.ndarray) -> tuple[int, int]:
    x, y = np.rint(place * (1 << _SHIFT)).astype(int).tolist()
    return x, y
