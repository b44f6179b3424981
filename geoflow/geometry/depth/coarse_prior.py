"""A depth prior of whole clips, as coarse as what it is compared with: one disparity for each pixel of a grid."""

from __future__ import annotations

import numpy as np

from geoflow.errors import ConfigError

_LEAST_DEPTH = 1e-4  # in the prior's unit; its inverse still is in float16's range
_LEAST_CAMERAS = 3  # frames whose focal lengths are believed


def disparity_at(depth: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return the disparity (h, w) float16 of a depth map (H, W), 0 where unknown, at pixels (h, w, 2) x, y of it."""
    height, width = depth.shape
    u, v = np.rint(pixels).astype(int).transpose(2, 0, 1)
    sampled = depth[v.clip(0, height - 1), u.clip(0, width - 1)].astype(np.float32)
    known = np.isfinite(sampled) & (sampled >= _LEAST_DEPTH)
    return np.divide(1, sampled, out=np.zeros(sampled.shape), where=known).astype(np.float16)


def focal_of(focals: np.ndarray) -> float | None:
    """Return the focal length (px) that frames agree on, of theirs (T,), 0 where a frame has none; None if few have."""
    said = focals[np.isfinite(focals) & (focals > 0)]
    return float(np.median(said)) if len(said) >= _LEAST_CAMERAS else None


class CoarsePrior:
    """Disparity of frames at pixels (h, w, 2) x, y of them, 0 where unknown, and the focal length behind each.

    A network that judges depth from a picture judges it for the focal length that it believes: both go together. So a
    map is brought to another focal length by their ratio.
    """

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = pixels
        self._maps: dict[int, np.ndarray] = {}
        self._focals: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._maps)

    def add(self, frame: int, disparity: np.ndarray, focal: float, pixels: np.ndarray | None = None) -> None:
        """Take in a frame's disparity (h, w) and focal length, px; a map at other `pixels` is resampled.

        Raises ConfigError if it is not of the size of its grid.
        """
        pixels = self._pixels if pixels is None else pixels
        size = pixels.shape[:2]
        if disparity.shape != size:
            raise ConfigError(f"the prior of frame {frame} should be at the grid {size}, is {disparity.shape}")
        if disparity.any():
            same = np.array_equal(pixels, self._pixels)
            self._maps[frame] = disparity if same else _nearest(disparity, pixels, self._pixels)
            self._focals[frame] = focal

    def of(self, frame: int, focal: float) -> np.ndarray | None:
        """Return the disparity (h, w) float32 of a frame for a focal length, px; None where nothing is known."""
        found = self._maps.get(frame)
        if found is None:
            return None
        own = self._focals[frame]
        return found.astype(np.float32) * np.float32(own / focal if own > 0 else 1)


def _nearest(disparity: np.ndarray, have: np.ndarray, want: np.ndarray) -> np.ndarray:
    x = np.abs(have[0, :, 0] - want[0, :, :1]).argmin(1)
    y = np.abs(have[:, 0, 1] - want[:, 0, 1:]).argmin(1)
    return disparity[np.ix_(y, x)]
