"""A video and its prior as they are given: arrays, or whatever slices like arrays."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from geoflow.errors import InputError


class Frames(Protocol):
    """Rows of frames, read a few at a time: an array, an HDF5 dataset, or anything that slices like an array."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, part: slice, /) -> Any: ...


def check_given(frames: Frames, points: Frames, mask: Frames) -> None:
    """Raise InputError unless frames are (T, H, W, 3) u8, and the prior's points and mask are like them."""
    shape = tuple(frames.shape)
    if len(shape) != 4 or shape[3] != 3 or min(shape) < 1:
        raise InputError(f"frames should be (T, H, W, 3) and not empty, found {shape}")
    for name, rows, wanted in (("prior points", points, shape), ("prior mask", mask, shape[:3])):
        if tuple(rows.shape) != wanted:
            raise InputError(f"{name} should be {wanted}, like the frames, found {tuple(rows.shape)}")
    for name, rows, kinds in (("frames", frames, "u"), ("prior points", points, "f"), ("prior mask", mask, "bu")):
        dtype = np.asarray(rows[0:1]).dtype
        if dtype.kind not in kinds or (kinds == "u" and dtype != np.uint8):
            wanted_type = {"u": "uint8", "f": "float16 or float32", "bu": "bool"}[kinds]
            raise InputError(f"{name} should be {wanted_type}, found {dtype}")
