"""A clip at the tracker's working size, made frame by frame when asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import numpy as np

from geoflow.models.tapip3d.edge_repair import repair_edges
from geoflow.models.tapip3d.resizing import resize_depth, resize_frame


class ResizedFrames:
    """Frames (T, H, W, 3) uint8, resized one at a time."""

    def __init__(self, frames: np.ndarray, size: tuple[int, int]) -> None:
        self._frames, self._size = frames, size

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> np.ndarray:
        return resize_frame(self._frames[index], self._size)


class RepairedDepth:
    """Depth (T, H, W), resized and with its edges repaired: once, into a temporary file, so that memory stays flat.

    `intrinsics` (T, 3, 3) are those of the resized maps.
    """

    def __init__(self, depth: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int]) -> None:
        self._count, self._size = len(depth), size
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
        for one, camera in zip(depth, intrinsics):
            self._file.write(repair_edges(resize_depth(one, size), camera).tobytes())

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> np.ndarray:
        area = self._size[0] * self._size[1]
        self._file.seek(4 * area * int(index))
        return np.frombuffer(bytearray(self._file.read(4 * area)), np.float32).reshape(self._size)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(self._count))


def depth_range(depths: Iterator[np.ndarray] | np.ndarray | RepairedDepth) -> tuple[float, float] | None:
    """Return from where to where depth counts in the normalisation: up to 1.5 quartile distances above the upper one.

    The quartiles are the int(n / 4)-th and int(3 n / 4)-th smallest of a clip's valid depths, counted from one. They
    are exact: positive float32 numbers have the order of their bits, whose upper and lower halves are counted in turn.
    None if no depth is valid.
    """
    upper = np.zeros(1 << 16, np.int64)
    for one in depths:
        upper += np.bincount(_bits(one) >> 16, minlength=len(upper))
    total = int(upper.sum())
    if not total:
        return None
    ranks = [max(int(share * total), 1) for share in (0.25, 0.75)]
    halves = [int(np.searchsorted(np.cumsum(upper), rank)) for rank in ranks]
    lower = np.zeros((2, 1 << 16), np.int64)
    for one in depths:
        bits = _bits(one)
        for counts, half in zip(lower, halves):
            counts += np.bincount(bits[bits >> 16 == half] & 0xFFFF, minlength=len(counts))
    quartiles = []
    for rank, half, counts in zip(ranks, halves, lower):
        within = rank - int(upper[:half].sum())
        pattern = (half << 16) | int(np.searchsorted(np.cumsum(counts), within))
        quartiles.append(float(np.array(pattern, np.uint32).view(np.float32)))
    low, high = quartiles
    return 1e-7, high + 1.5 * (high - low)


def _bits(depth: np.ndarray) -> np.ndarray:
    valid = np.ascontiguousarray(depth[depth > 0], dtype=np.float32)
    return valid.view(np.uint32).astype(np.int64)
