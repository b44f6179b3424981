"""Inverse depth that is known up to scale and shift, brought to a metric depth, and kept steady over frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.errors import InputError

_OUTLIERS = (0.1, 0.9)  # quantiles; what lies outside of them is left out of the fit
_LEAST = 1e-3  # 1 / unit of depth


@dataclass(frozen=True)
class Affine:
    """inverse depth = scale * given + bias."""

    scale: float
    bias: float

    def inverse_depth(self, given: np.ndarray, least: float = _LEAST) -> np.ndarray:
        """Return the aligned inverse depth, at least `least`."""
        return np.maximum(given * self.scale + self.bias, least)

    def depth(self, given: np.ndarray, least: float) -> np.ndarray:
        """Return the aligned depth, 0 where the aligned inverse depth is below `least`."""
        aligned = given * self.scale + self.bias
        near = aligned >= least
        return np.divide(1, aligned, out=np.zeros_like(aligned), where=near)


def fit_inverse_depth(given: np.ndarray, depth: np.ndarray, mask: np.ndarray | None = None) -> Affine:
    """Return the scale and shift that bring inverse depth (H, W) nearest to the inverse of depth (H, W).

    Depth is 0 where it is unknown; the mask says which of its values decide about outliers. Raises InputError if the
    pixels that are left have no relief.
    """
    given, known = np.asarray(given, np.float64), np.asarray(depth, np.float64)
    inverse = np.divide(1, known, out=np.full_like(known, np.inf), where=known > 0)
    used = (known > 0) if mask is None else (known > 0) & (np.asarray(mask) > 0)
    kept = _inside(given, given > 0) & _inside(inverse, used)
    values = given[kept]
    if len(values) < 2 or np.ptp(values) <= 1e-9 * np.abs(values).max():
        raise InputError(f"depth cannot be aligned: {len(values)} pixels are usable, and they have no relief")
    design = np.stack((values, np.ones_like(values)), 1)
    (scale, bias), *_ = np.linalg.lstsq(design, inverse[kept], rcond=None)
    return Affine(float(scale), float(bias))


def _inside(values: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Return where values lie between the quantiles of the used ones."""
    if not used.any():
        return np.zeros_like(used)
    low, high = np.quantile(values[used], _OUTLIERS)
    inside: np.ndarray = (values > low) & (values < high)
    return inside


class SteadyAffine:
    """A moving average over frames, started with the first."""

    def __init__(self, momentum: float = 0.99) -> None:
        self.momentum = momentum
        self.average: Affine | None = None

    def follow(self, found: Affine) -> Affine:
        """Return the average after one more frame."""
        last, m = self.average or found, self.momentum
        self.average = Affine(last.scale * m + found.scale * (1 - m), last.bias * m + found.bias * (1 - m))
        return self.average
