"""Frames of a clip as they come, read twice: once for keyframes, and again behind them for all other frames."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from geoflow.errors import ConfigError

Prior = Iterable[np.ndarray | None] | Callable[[int, np.ndarray], np.ndarray | None]


@dataclass(frozen=True)
class Taken:
    """A frame with what belongs to it."""

    number: int
    rgb: np.ndarray  # (H, W, 3) uint8
    valid: np.ndarray | None  # (H, W) bool
    last: bool


class FrameStream:
    """Hands out frames one at a time, and keeps none.

    Frames that can be iterated over only once are written to a temporary file as they pass, for `again`.
    """

    def __init__(
        self, frames: Iterable[np.ndarray], masks: Iterable[np.ndarray | None] | None, prior: Prior | None
    ) -> None:
        self._frames, self._masks = frames, masks
        self._ask = prior if callable(prior) else None
        self._depths = None if prior is None or callable(prior) else iter(prior)
        self._spool = _Spool() if iter(frames) is frames else None
        self._depth: np.ndarray | None = None
        self.count = 0
        self.size: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[Taken]:
        masks = None if self._masks is None else iter(self._masks)
        waiting: Taken | None = None
        for number, rgb in enumerate(self._frames):
            self._check(number, rgb)
            valid = None
            if masks is not None:
                valid = self._valid(number, _next(masks, "masks", number))
            if self._spool is not None:
                self._spool.append(rgb)
            if waiting is not None:
                yield self._with_depth(waiting)
            waiting = Taken(number, rgb, valid, False)
            self.count = number + 1
        if waiting is None:
            raise ConfigError("there are no frames; give at least one")
        yield self._with_depth(Taken(waiting.number, waiting.rgb, waiting.valid, True))

    def _with_depth(self, taken: Taken) -> Taken:
        if self._depths is not None:
            self._depth = _next(self._depths, "depth_prior", taken.number)
        return taken

    def depth(self, taken: Taken) -> np.ndarray | None:
        """Return the prior depth (H, W) of the frame that was handed out last, 0 where unknown; None if there is none.

        Raises ConfigError if it has another size than the frame.
        """
        depth = self._ask(taken.number, taken.rgb) if self._ask is not None else self._depth
        if depth is None:
            return None
        depth = np.asarray(depth, np.float32)
        if depth.shape != taken.rgb.shape[:2]:
            raise ConfigError(f"depth_prior of frame {taken.number} should be {taken.rgb.shape[:2]}, is {depth.shape}")
        return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))

    def again(self) -> Iterator[np.ndarray]:
        """Yield the frames from the first on, as far as they have been handed out."""
        return iter(self._frames) if self._spool is None else self._spool.read()

    def _check(self, number: int, rgb: np.ndarray) -> None:
        if not isinstance(rgb, np.ndarray) or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            found = f"{getattr(rgb, 'shape', type(rgb).__name__)} {getattr(rgb, 'dtype', '')}"
            raise ConfigError(f"frame {number} should be (H, W, 3) uint8, found {found}")
        if self.size is None:
            self.size = (rgb.shape[0], rgb.shape[1])
        elif rgb.shape[:2] != self.size:
            raise ConfigError(f"frame {number} has the size {rgb.shape[:2]}, the first one {self.size}")

    @staticmethod
    def _valid(number: int, ignored: np.ndarray | None) -> np.ndarray | None:
        if ignored is None:
            return None
        ignored = np.asarray(ignored)
        if ignored.ndim != 2:
            raise ConfigError(f"the mask of frame {number} should be (H, W), found {ignored.shape}")
        valid: np.ndarray = ~(ignored.astype(bool))
        return valid


def _next(values: Iterator[np.ndarray | None], name: str, number: int) -> np.ndarray | None:
    try:
        return next(values)
    except StopIteration:
        raise ConfigError(f"{name} ends before frame {number}; give one for every frame") from None


class _Spool:
    """Frames in a temporary file."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
        self._shape: tuple[int, ...] = ()
        self._count = 0

    def append(self, rgb: np.ndarray) -> None:
        self._shape = rgb.shape
        self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(rgb).tobytes())
        self._count += 1

    def read(self) -> Iterator[np.ndarray]:
        number = 0
        while number < self._count:
            length = int(np.prod(self._shape))
            self._file.seek(number * length)
            yield np.frombuffer(self._file.read(length), np.uint8).reshape(self._shape)
            number += 1
