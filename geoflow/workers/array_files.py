"""Arrays passed to and from a worker as .npy files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from geoflow.errors import InputError

_SLACK = 1e-3  # resizing may leave values this far beyond 0..1


def read_images(path: str) -> np.ndarray:
    """Return the images of a .npy file, (B, 3, H, W) float32 in 0..1; the file may also hold one image, (3, H, W).

    Raises InputError that says what the file should hold.
    """
    try:
        images = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as .npy: {error}") from None
    if not isinstance(images, np.ndarray) or images.dtype != np.float32:
        raise InputError(f"{path} should hold float32 in 0..1, found {getattr(images, 'dtype', 'several arrays')}")
    if images.ndim == 3:
        images = images[None]
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
        raise InputError(f"{path} should be (B, 3, H, W) or (3, H, W), found {images.shape}")
    low, high = float(images.min()), float(images.max())
    if not (low >= -_SLACK and high <= 1 + _SLACK):  # also refuses NaN
        raise InputError(f"{path} should be in 0..1, found {low:g} to {high:g}")
    return images


def save_array(array: np.ndarray, who: str) -> str:
    """Save an array in a new file of the temporary folder and return its path; the receiver removes the file."""
    with tempfile.NamedTemporaryFile(prefix=f"geoflow-{who}-", suffix=".npy", delete=False) as file:
        np.save(file, array)
    return str(Path(file.name))
