"""What comes of a video, chunk by chunk, whichever framework computes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from geoflow.errors import GeoFlowError
from geoflow.models.geometrycrafter.field_of_view import make_points


class Focal(Protocol):
    """The single field of view of a video, which is known after its last chunk."""

    def diagonal(self) -> float: ...


@dataclass(frozen=True)
class MapChunk:
    """Consecutive frames of a result, on the host."""

    start: int  # index of the first frame
    depth: np.ndarray  # (N, H, W) float32, z at the video's mean depth as unit, of every pixel
    mask: np.ndarray  # (N, H, W) bool, where depth can be trusted
    diagonal: np.ndarray | None  # tangent of half the diagonal field of view, (N,) or (N, H, W); None: at the end


class Reconstruction:
    """Chunks of one video, computed when they are needed; it can be iterated once.

    `computing` gives the mode in which the framework of the networks computes, such as one without gradients.
    """

    def __init__(
        self, chunks: Iterator[MapChunk], focal: Focal | None, computing: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        self._chunks = chunks
        self._focal = focal
        self._computing = computing
        self._done = False

    def __iter__(self) -> Iterator[MapChunk]:
        while True:
            with self._computing():  # not across a yield: the mode would apply to the consumer, too
                chunk = next(self._chunks, None)
            if chunk is None:
                break
            yield chunk
        self._done = True

    @property
    def diagonal(self) -> float:
        """Return the tangent of half the diagonal field of view of the whole video, after all chunks."""
        if self._focal is None or not self._done:
            raise GeoFlowError("a video's focal length is known with force_fixed_focal, after its last chunk")
        return self._focal.diagonal()

    def collect(self) -> tuple[np.ndarray, np.ndarray]:
        """Return points (T, H, W, 3) float32 and mask (T, H, W) bool of the whole video, for short videos."""
        chunks = list(self)
        parts = [make_points(c.depth, self.diagonal if c.diagonal is None else c.diagonal) for c in chunks]
        return np.concatenate(parts), np.concatenate([chunk.mask for chunk in chunks])
