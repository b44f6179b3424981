"""Some frames of a store, as if they were a store of their own."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from geoflow.store.reader import Video
from geoflow.store.schema import FRAME, ROWS, TRACKS, datasets


class Rows:
    """The rows `start`, `start + step`, ... of a dataset of an open store, read when they are indexed."""

    def __init__(self, dataset: h5py.Dataset, start: int, count: int, step: int) -> None:
        self._dataset, self._start, self._count, self._step = dataset, start, count, step
        self.name, self.dtype, self.attrs, self.file = dataset.name, dataset.dtype, dataset.attrs, dataset.file

    @property
    def shape(self) -> tuple[int, ...]:
        return (self._count, *self._dataset.shape[1:])

    def __len__(self) -> int:
        return self._count

    def __bool__(self) -> bool:
        return bool(self._dataset)  # False once its file is closed

    def __getitem__(self, where: Any) -> np.ndarray:
        """Return row i, a slice of rows with a positive step, or with `()` all of them."""
        if isinstance(where, int | np.integer):
            if not -self._count <= where < self._count:
                raise IndexError(f"frame {where} of {self.name}: it has {self._count}")
            return self._dataset[self._start + int(where) % self._count * self._step]
        rows = range(self._count)[where] if isinstance(where, slice) else range(self._count)
        if not len(rows):
            return self._dataset[:0]
        first, last = (self._start + row * self._step for row in (rows[0], rows[-1]))
        return self._dataset[first : last + 1 : rows.step * self._step]


class Passage(Video):
    """The frames `start`, `start + step`, ... before `stop` of an open store; frame 0 is frame `start` of the store.

    The tracks' `query` is the store's, whose frame numbers count in the store. The passage is closed with its store.
    """

    def __init__(self, whole: Video, start: int, stop: int, step: int = 1) -> None:
        super().__init__(whole.file, whole.path)
        self.start, self.step = start, step
        self.num_frames = len(range(start, stop, step))
        self.fps = whole.fps / step

    def _dataset(self, name: str) -> Any:
        dataset = super()._dataset(name)
        row = datasets().get(name)
        if row is None or row.layout not in (FRAME, ROWS, TRACKS):
            return dataset
        return Rows(dataset, self.start, self.num_frames, self.step)

    def _hand(self, group: str, kind: Any) -> Any:
        held = self.file.get(f"hands/{group}")
        if held is None:
            return None
        rows = slice(self.start, self.start + self.num_frames * self.step, self.step)
        return kind(**{name: held[name][rows] for name in kind.__dataclass_fields__ if name in held})
