"""Depth maps and image edges: sharpen edges, fill small holes, carry depth over even surfaces, enlarge.

At the border of two surfaces, depth is taken from pixels of similar colour: a mean would invent surfaces between
foreground and background.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.linalg import solveh_banded

COLOR_SIGMA = 12.0  # grey levels per channel at which another colour loses its weight
STEP = 1.06  # ratio of the largest to the smallest depth in a 3x3 window that makes it an edge
FILL_SUPPORT = 0.4  # share of a hole's (weighted) window that must be known
FILL_SPREAD = 0.08  # relative spread of this window's depths above which a hole is not filled
_SPREAD_LEVELS = 8.0  # grey levels from one pixel to the next at which values carry over to a third
_SPREAD_ROUNDS = 3
_EDGE_LEVELS = 25.0  # grey levels over three channels: about the contrast that marks an edge
_SAME = 0.05  # relative difference up to which depths belong to one surface


def edges(depth: np.ndarray) -> np.ndarray:
    """Return where a depth map (H, W) float32 jumps, or borders on unknown depth (0): (H, W) bool."""
    kernel = np.ones((3, 3), np.uint8)
    low, high = cv2.erode(depth, kernel), cv2.dilate(depth, kernel)
    return (high > STEP * low) & (high > 0)


def sharpen(depth: np.ndarray, guide: np.ndarray, radius: int = 2) -> np.ndarray:
    """Move depth edges onto colour edges.

    Depth is (H, W) float32 with 0 unknown, guide (H, W, 3) uint8; known pixels stay the same.
    """
    row, column = np.nonzero(edges(depth) & (depth > 0))
    if not len(row):
        return depth
    value, _, _ = _median(depth, guide, guide[row, column], row, column, radius)
    out = depth.copy()
    out[row, column] = np.where(value > 0, value, depth[row, column])
    return out


def fill(depth: np.ndarray, guide: np.ndarray, radius: int = 3, rounds: int = 2) -> np.ndarray:
    """Fill small holes from pixels of similar colour around them; a hole without smooth support stays 0."""
    out = depth
    size = 2 * radius + 1
    for _ in range(rounds):
        known = cv2.boxFilter((out > 0).astype(np.float32), -1, (size, size), borderType=cv2.BORDER_CONSTANT)
        row, column = np.nonzero((out == 0) & (known > FILL_SUPPORT))
        if not len(row):
            break
        value, support, spread = _median(out, guide, guide[row, column], row, column, radius)
        good = (support > FILL_SUPPORT) & (spread < FILL_SPREAD)
        out = out.copy()
        out[row[good], column[good]] = value[good]
    return out


def spread(sums: np.ndarray, weight: np.ndarray, guide: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Carry values over even surfaces, up to edges of `guide` (h, w, 3) uint8.

    Two edge-aware least-squares smoothings (Min et al. 2014: rows and columns in turn, three rounds): of weighted
    values `sums` (h, w), and of their weights (h, w), which are 0 where nothing is known. `reach` is the distance in px
    that values carry on an even surface. Returns the carried values and their support (0..1), the mean weight around a
    pixel.
    """
    picture = guide.astype(np.float32)
    across = np.exp(-np.abs(np.diff(picture, axis=1)).max(-1) / _SPREAD_LEVELS)
    down = np.exp(-np.abs(np.diff(picture, axis=0)).max(-1) / _SPREAD_LEVELS)
    carried = np.stack([sums, weight], -1).astype(np.float64)
    for turn in range(_SPREAD_ROUNDS):
        strength = 1.5 * reach**2 * 4.0 ** (_SPREAD_ROUNDS - 1 - turn) / (4.0**_SPREAD_ROUNDS - 1)
        carried = _smooth_rows(carried, strength * across)
        carried = np.swapaxes(_smooth_rows(np.swapaxes(carried, 0, 1), strength * down.T), 0, 1)
    support = carried[..., 1]
    return (carried[..., 0] / np.maximum(support, 1e-9)).astype(np.float32), support.astype(np.float32)


def _smooth_rows(values: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """Minimise |x - values|^2 + sum ties |x_i - x_(i+1)|^2 along every row of (h, w, C); ties is (h, w - 1).

    All rows are one tridiagonal system, with no tie from the end of one row to the next.
    """
    height, width, channels = values.shape
    tie = np.concatenate([ties, np.zeros((height, 1))], 1).ravel()
    bands = np.zeros((2, height * width))
    bands[0, 1:] = -tie[:-1]
    bands[1] = 1 + tie
    bands[1, 1:] += tie[:-1]
    solved = solveh_banded(bands, values.reshape(-1, channels), check_finite=False)
    return solved.reshape(height, width, channels)


def enlarge(depth: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Bring depth (h, w) to the size of its image (H, W, 3) uint8 without smearing it across edges of the picture.

    Joint bilateral upsampling (Kopf et al. 2007) over the four nearest cells; 0 where the nearest cell is unknown.
    """
    height, width = rgb.shape[:2]
    if depth.shape == (height, width):
        return depth
    lowest, highest = (grow(depth, np.ones((3, 3), np.uint8)) for grow in (cv2.erode, cv2.dilate))
    uneven = (highest > 0) & ((lowest == 0) | (highest >= (1 + _SAME) * lowest))
    full = cv2.resize(depth, (width, height), interpolation=cv2.INTER_LINEAR)
    edges = np.flatnonzero(cv2.resize(uneven.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST))
    full.ravel()[edges] = _bilateral(depth, rgb, edges)
    return full


def _bilateral(depth: np.ndarray, rgb: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return depth (N,) at image pixels (flat indices) from the four cells around; similar colours count most."""
    h, w = depth.shape
    guide = cv2.resize(rgb, (w, h), interpolation=cv2.INTER_AREA).astype(np.float32).reshape(-1, 3)
    colour = rgb.reshape(-1, 3).take(pixels, axis=0).astype(np.float32)
    rows, columns = np.divmod(pixels.astype(np.int32), np.int32(rgb.shape[1]))
    u = (columns + np.float32(0.5)) * np.float32(w / rgb.shape[1]) - np.float32(0.5)
    v = (rows + np.float32(0.5)) * np.float32(h / rgb.shape[0]) - np.float32(0.5)
    left, top = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
    value, weight = np.empty((4, len(pixels)), np.float32), np.empty((4, len(pixels)), np.float32)
    for corner in range(4):
        row, column = top + corner // 2, left + corner % 2
        near = (1 - np.abs(v - row)) * (1 - np.abs(u - column))
        cell = row.clip(0, h - 1) * w + column.clip(0, w - 1)
        difference = colour - guide.take(cell, axis=0)
        like = np.einsum("ij,ij->i", difference, difference) / np.float32(-2 * _EDGE_LEVELS**2)
        value[corner] = depth.ravel().take(cell)
        weight[corner] = near * np.exp(like) + np.float32(1e-9)
    known = weight * (value > 0)
    lead = value[known.argmax(0), np.arange(len(pixels))]
    same = known * (np.abs(value - lead) < _SAME * lead)
    mean = (same * value).sum(0) / np.maximum(same.sum(0), 1e-12)
    return np.where((known.sum(0) > 0.5 * weight.sum(0)) & (lead > 0), mean, 0)


def _median(
    depth: np.ndarray, guide: np.ndarray, color: np.ndarray, row: np.ndarray, column: np.ndarray, radius: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour-weighted median of depth in windows around N pixels, for pixels of colour (N, 3).

    Returns values (N,) float32 (0 if the window is empty), the known share of the window's weight, and the weighted
    mean distance from the median, relative to the median.
    """
    pad = cv2.copyMakeBorder(depth, radius, radius, radius, radius, cv2.BORDER_CONSTANT, value=0)
    pad_guide = cv2.copyMakeBorder(guide, radius, radius, radius, radius, cv2.BORDER_REPLICATE)
    step_row, step_column = (g.ravel() for g in np.mgrid[0 : 2 * radius + 1, 0 : 2 * radius + 1])
    index = (row * pad.shape[1] + column)[:, None] + (step_row * pad.shape[1] + step_column)
    values = pad.ravel().take(index)
    weight = np.zeros(values.shape, np.float32)
    for channel in range(3):
        gap = pad_guide[..., channel].astype(np.float32).ravel().take(index)
        gap -= color[:, channel, None]
        gap *= gap
        weight += gap
    distance2 = ((step_row - radius) ** 2 + (step_column - radius) ** 2) / (2 * radius**2)
    weight = np.exp(-weight / (6 * COLOR_SIGMA**2) - distance2.astype(np.float32)) + np.float32(1e-6)
    known = weight * (values > 0)
    order = np.argsort(values, axis=1)
    ranked = np.cumsum(np.take_along_axis(known, order, axis=1), axis=1)
    total = ranked[:, -1]
    place = (ranked < total[:, None] / 2).sum(1)[:, None]
    median = np.take_along_axis(values, np.take_along_axis(order, np.minimum(place, values.shape[1] - 1), 1), 1)[:, 0]
    spread = (known * np.abs(values - median[:, None])).sum(1) / np.maximum(total * median, 1e-9)
    return np.where(total > 0, median, 0), total / weight.sum(1), spread
