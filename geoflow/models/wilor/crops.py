"""Squares around hands, cut out of an image as the network was trained on them.

The published program cuts with OpenCV 4, which rounds source positions to 1/32 pixel, and blurs a whole image before
it cuts a large square out of it. Here the same numbers come from one weighted sum per axis: along an axis, a pixel of
the square is a sum of a few source pixels, whose weights hold both the blur and the position. Only pixels that are
used are read, a mirrored image is never made, and the numbers do not depend on OpenCV's version.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.errors import ConfigError
from geoflow.models.wilor.config import CROP, DEVIATION, MEAN

RESCALE = 2.0  # the square's side over the box's
_HEIGHT_OVER_WIDTH = 256 / 192  # of what the network sees
_BLUR_FROM = 1.1  # source pixels per two pixels of the square from which on the image is blurred
_TRUNCATE = 4.0  # standard deviations
_STEPS = 32  # positions between two pixels
_FINE = 1024  # positions are first rounded to this


@dataclass(frozen=True)
class Squares:
    """Where squares are in an image, one row per hand."""

    centre: np.ndarray  # (N, 2) float32 px, of the box in the image as it is
    side: np.ndarray  # (N,) float32 px
    right: np.ndarray  # (N,) bool; other squares are cut out of the mirrored image
    image_size: tuple[int, int]  # width, height

    @property
    def sigma(self) -> np.ndarray:
        """Standard deviation in px by which the image is blurred first: (N,) float64, 0 for squares cut out as is."""
        ratio = self.side.astype(np.float64) / (2 * CROP)
        return np.where(ratio > _BLUR_FROM, (ratio - 1) / 2, 0.0)

    @property
    def crop_from_image(self) -> np.ndarray:
        """Affine maps (N, 2, 3) float64 from pixels of the image (of the mirrored one for left hands) to the crop."""
        centre = self.centre.astype(np.float64).copy()
        centre[~self.right, 0] = self.image_size[0] - 1 - centre[~self.right, 0]
        # The middles of the right and lower edges are rounded to float32 in the published program.
        edge = centre.astype(np.float32) + self.side[:, None] / np.float32(2)
        found = np.zeros((len(centre), 2, 3))
        for axis in range(2):
            middle = centre[:, axis].astype(np.float32).astype(np.float64)
            found[:, axis, axis] = CROP / 2 / (edge[:, axis] - middle)
            found[:, axis, 2] = CROP / 2 - found[:, axis, axis] * middle
        return found


def squares_of(boxes: np.ndarray, right: np.ndarray, image_size: tuple[int, int], rescale: float = RESCALE) -> Squares:
    """Return the squares around boxes (N, 4): x1, y1, x2, y2 in px of an image of (width, height).

    A box is widened to the proportion that the network sees; the square's side is its longer side times `rescale`.
    Raises ConfigError for boxes without an area.
    """
    boxes, right = np.asarray(boxes, np.float32), np.asarray(right).astype(bool).reshape(-1)
    boxes = boxes if boxes.size else boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ConfigError(f"boxes should be (N, 4): x1, y1, x2, y2; found {boxes.shape}")
    if len(boxes) != len(right):
        raise ConfigError(f"each box should have a side, found {len(boxes)} boxes and {len(right)} sides")
    size = boxes[:, 2:] - boxes[:, :2]
    if not np.isfinite(boxes).all() or (size <= 0).any():
        raise ConfigError(f"boxes should be x1, y1, x2, y2 with x1 < x2 and y1 < y2, found {boxes.tolist()}")
    side = np.maximum(size[:, 1], size[:, 0] * np.float32(_HEIGHT_OVER_WIDTH)) * np.float32(rescale)
    return Squares((boxes[:, :2] + boxes[:, 2:]) / 2, side, right, image_size)


def cut(image: np.ndarray, squares: Squares) -> np.ndarray:
    """Return the squares (N, 3, 256, 256) float32 of an image (H, W, 3) uint8, in its order of colours, 0..255.

    Left hands come mirrored. Pixels outside of the image are 0.
    """
    found = np.empty((len(squares.side), 3, CROP, CROP), np.float32)
    for k, (affine, sigma, right) in enumerate(zip(squares.crop_from_image, squares.sigma, squares.right)):
        column, row = (_positions(affine[axis, axis], affine[axis, 2]) for axis in range(2))
        down = _weights(row, image.shape[0], sigma)
        across = _weights(column, image.shape[1], sigma, mirrored=not right)
        square = weighted(image, down, across)
        # OpenCV rounds what it makes of whole grey levels to whole grey levels.
        found[k] = (square if sigma else np.floor(square + np.float32(0.5))).transpose(2, 0, 1)
    return found


def blurred(image: np.ndarray, rows: slice, columns: slice, sigma: float) -> np.ndarray:
    """Return a part (h, w, 3) float32 of the image as it is blurred before a large square is cut out of it."""
    places = [np.arange(part.start, part.stop) * _STEPS for part in (rows, columns)]
    return weighted(image, *(_weights(at, length, sigma) for at, length in zip(places, image.shape[:2])))


def normalised(crops: np.ndarray) -> np.ndarray:
    """Return crops (N, 3, 256, 256), RGB in 0..255, as the network takes them, float32."""
    mean, deviation = (255 * np.array(row, np.float32)[:, None, None] for row in (MEAN, DEVIATION))
    return ((crops - mean) / deviation).astype(np.float32)


Weights = tuple[np.ndarray, np.ndarray]  # source indices (M, K), and their weights (M, K)


def weighted(image: np.ndarray, down: Weights, across: Weights) -> np.ndarray:
    """Return (M, L, C) float32 weighted sums of pixels of an image (H, W, C): of rows first, then of columns."""
    first, last = int(across[0].min()), int(across[0].max()) + 1
    part = image[:, first:last]
    rows = _summed(part, *down)
    return _summed(rows.swapaxes(0, 1), across[0] - first, across[1]).swapaxes(0, 1)


def _summed(array: np.ndarray, indices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = array[indices[:, 0]] * weights[:, 0, None, None]
    part = np.empty_like(total)
    for k in range(1, indices.shape[1]):
        total += np.multiply(array[indices[:, k]], weights[:, k, None, None], out=part)
    return total


def _positions(scale: float, shift: float) -> np.ndarray:
    """Return source positions (256,) int64 in 1/32 px along an axis, as OpenCV 4 rounds them."""
    inverse = 1 / scale
    steps = np.rint(inverse * np.arange(CROP) * _FINE).astype(np.int64)
    start = int(np.rint(-inverse * shift * _FINE)) + _FINE // _STEPS // 2
    return (start + steps) >> 5  # _FINE / _STEPS = 2^5


def _weights(positions: np.ndarray, length: int, sigma: float, *, mirrored: bool = False) -> Weights:
    """Return which pixels along an axis, with which weights, give a linear interpolation of the blurred image.

    Positions are in 1/32 px, and of the mirrored axis if `mirrored`. Outside of the image there is 0; the blur,
    however, continues the image's last pixels.
    """
    radius = int(_TRUNCATE * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 / sigma**2 * offsets**2.0) if sigma else np.ones(1)
    kernel = kernel / kernel.sum()
    before, part = positions >> 5, (positions & (_STEPS - 1)) / _STEPS
    spread = np.zeros((len(positions), len(kernel) + 1))
    for step, share in ((0, 1 - part), (1, part)):
        inside = (before + step >= 0) & (before + step < length)
        spread[:, step : step + len(kernel)] += (share * inside)[:, None] * kernel
    # A pixel before the image's first: the blur at the first pixel continues the image, at its own place.
    indices = np.clip(before[:, None] + np.arange(-radius, radius + 2), 0, length - 1)
    return length - 1 - indices if mirrored else indices, spread.astype(np.float32)
