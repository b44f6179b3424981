"""Label maps: (T, H, W) uint8, the number of the object that each pixel shows; 0 is background."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def numbers_in(labels: Iterable[np.ndarray]) -> list[int]:
    """The objects that are seen in any of these maps (H, W), in rising order; they may come one at a time.

    >>> numbers_in(np.array([[[0, 3]], [[1, 3]]], np.uint8))
    [1, 3]
    """
    seen = np.zeros(256, bool)
    for label in labels:
        seen |= np.bincount(label.ravel(), minlength=256) > 0
    return (np.flatnonzero(seen[1:]) + 1).tolist()


def with_given(found: np.ndarray, given: np.ndarray | None) -> np.ndarray:
    """Labels that a backend found, with the user's own in their place wherever these are not 0.

    `given` is the field `objects.label` that the backend was handed, None if there was none.

    >>> with_given(np.array([[1, 1, 2]], np.uint8), np.array([[0, 7, 0]], np.uint8))
    array([[1, 7, 2]], dtype=uint8)
    """
    return found if given is None else np.where(given != 0, given, found)
