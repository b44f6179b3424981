"""Conversion of decoded maps, as arrays, to depth, mask and field of view: what `geometrycrafter.maps` does.

A field of view is stored as the tangent of half the diagonal angle, measured to the centres of the corner pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.models.geometrycrafter.options import Options
from geoflow.models.geometrycrafter_jittor.resampling import Size, bilinear, exp_depth, log_bilinear, nearest

_FOCAL_EPS = 1e-4


@dataclass(frozen=True)
class Maps:
    """Some frames, restored to the size of the video."""

    diagonal: np.ndarray  # (N, H, W) float32, tangent of half the diagonal field of view, per pixel
    depth: np.ndarray  # (N, H, W) float32, z, of every pixel
    mask: np.ndarray  # (N, H, W) bool

    def frame_diagonal(self) -> np.ndarray:
        """Return one tangent per frame, (N,): the mean of the valid pixels, near 0 if hardly any is valid."""
        valid = self.mask.mean((1, 2)) + _FOCAL_EPS
        return (self.masked_diagonal().mean((1, 2), dtype=np.float64) / valid).astype(np.float32)

    def masked_diagonal(self) -> np.ndarray:
        return np.where(self.mask, self.diagonal, np.float32(0))


class FocalSum:
    """The single field of view of a video, summed over its frames."""

    def __init__(self) -> None:
        self._total, self._valid, self._pixels = 0.0, 0, 0

    def add(self, maps: Maps) -> None:
        self._total += float(maps.masked_diagonal().sum(dtype=np.float64))
        self._valid += int(maps.mask.sum())
        self._pixels += maps.mask.size

    def diagonal(self) -> float:
        """Tangent of half the diagonal field of view."""
        return self._total / self._pixels / (self._valid / self._pixels + _FOCAL_EPS)


def restore(decoded: tuple[np.ndarray, np.ndarray, np.ndarray], size: Size, options: Options) -> Maps:
    """Decoded intrinsics, log depth and mask logit, (N, 1, H', W') each, at the size of the video."""
    diagonal, log_depth, logit = decoded
    if options.use_extract_interp:
        log_depth, logit = nearest(log_depth, size), nearest(logit, size)
    else:
        log_depth, logit = log_bilinear(log_depth, size), bilinear(logit, size)
    return Maps(bilinear(diagonal, size)[:, 0], exp_depth(log_depth)[:, 0], (logit > 0)[:, 0])


def enlarge(maps: Maps, size: Size) -> Maps:
    """Return the maps of a downsampled video at its original size."""
    if maps.mask.shape[1:] == size:
        return maps
    parts = (maps.diagonal, maps.depth, maps.mask.astype(np.float32))
    diagonal, depth, mask = (bilinear(part[:, None], size)[:, 0] for part in parts)
    return Maps(diagonal, depth, mask > 0.5)
