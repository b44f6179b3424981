"""Open decoders that stay at a place in a file and continue from there.

Segments of a video follow each other, and neighbours share frames. A reader that seeks for each segment decodes
everything from the key frame before it again. Where key frames are rare (a GIF has one) that is most of the file, every
time. A cursor keeps the decoder open behind the last frame taken, and keeps the pictures that the next segment shares:
so each frame of a film is decoded about once. The pixels are the same as after a fresh seek, since both start at the
same key frames.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

OPEN = 2  # decoders per process: the film being read, and the one before or after it
IDLE_S = 600.0  # a decoder that is not used for this time is closed
_NEAR = 32  # frames ahead: nearer than most key frames, so no seek is tried

Mark = Any  # a frame's place in its stream: one type per file, rising in display or storage order


class Cursor:
    """An open decoder. `frames` yields (mark, frame, whether the frame is sound) from here on, in display order.

    `start` is the mark of the first packet given to the decoder, None if unknown. `last` is the mark of the last frame
    decoded. `number` is the number in the file of the frame taken last. `kept` holds pictures by their number in the
    file.
    """

    def __init__(self, container: Any, frames: Iterator[tuple[Mark, Any, bool]], start: Mark | None) -> None:
        self._container, self._frames = container, frames
        self.start = start
        self.last: Mark | None = None
        self.number = -1
        self.kept: dict[int, np.ndarray] = {}

    def frames(self) -> Iterator[tuple[Mark, Any, bool]]:
        for mark, frame, sound in self._frames:
            self.last = mark
            yield mark, frame, sound

    def close(self) -> None:
        self._frames, self.kept = iter(()), {}
        self._container.close()

    def can_give(self, numbers: np.ndarray) -> bool:
        """Return whether each of these frames lies ahead, or is kept."""
        return all(number > self.number or number in self.kept for number in numbers.tolist())


class Places(Protocol):
    """A way to find the wanted frames of a file. Wanted frames are counted from 0."""

    ways: int  # how many places there are to start from; way 0 is the nearest

    def open(self, k: int, way: int) -> Cursor | None:
        """Return a decoder that stands before wanted frame k; None if this way does not work."""

    def compare(self, mark: Mark, k: int) -> int:
        """Compare a frame with wanted frame k: negative if it comes before, 0 for the frame itself, positive after."""


class Search:
    """A walk through the wanted frames `numbers` (T,) of a file; `cursor` is its present place."""

    def __init__(self, places: Places, numbers: np.ndarray, cursor: Cursor | None = None) -> None:
        self._places, self._numbers = places, numbers
        self._done = 0
        self.cursor = cursor

    def frames(self, first: int) -> Iterator[Any]:
        """Yield the frames from wanted frame `first` on; end early if a frame cannot be decoded.

        A place to start from may not be early enough (open GOPs, containers without an index): then the search starts
        again from further back, before it gives up the frame.
        """
        self._done = first
        for cursor in self._cursors():
            if self.cursor is not cursor:
                self.close()
                self.cursor = cursor
            for mark, frame, sound in cursor.frames():
                order = self._places.compare(mark, self._done)
                if order < 0:
                    continue
                if order > 0 or not sound:
                    break
                cursor.number = int(self._numbers[self._done])
                yield frame
                self._done += 1
                if self._done == len(self._numbers):
                    return

    def release(self) -> Cursor | None:
        """Return the cursor where the search stands; the caller owns it from now on."""
        cursor, self.cursor = self.cursor, None
        return cursor

    def close(self) -> None:
        if self.cursor is not None:
            self.cursor.close()
            self.cursor = None

    def _cursors(self) -> Iterator[Cursor]:
        """Yield decoders to try: the standing one, unless a seek leads further; then decoders opened by seeking."""
        standing, tried = self.cursor, 0
        if standing is not None:
            nearest = None
            if self._numbers[self._done] - standing.number > _NEAR:
                tried, nearest = 1, self._places.open(self._done, 0)
            if nearest is not None and not self._leads_further(nearest, standing):
                nearest.close()
                tried, nearest = 0, None
            yield standing if nearest is None else nearest
        for way in range(tried, self._places.ways):
            if (cursor := self._places.open(self._done, way)) is not None:
                yield cursor

    def _leads_further(self, cursor: Cursor, standing: Cursor) -> bool:
        """Return whether a new decoder starts beyond the standing one, and before the wanted frame."""
        if cursor.start is None or standing.last is None:
            return False
        return bool(cursor.start > standing.last) and self._places.compare(cursor.start, self._done) <= 0


class Cursors:
    """The decoders that a process keeps open, at most OPEN; safe to use from several threads.

    Each holds the decoder's reference pictures (60 MB for most films of 1920x1080, 400 MB at worst for 3840x2160 in 10
    bits), and the processed pictures that neighbouring segments share, at most half a segment's.
    """

    def __init__(self, idle_s: float = IDLE_S) -> None:
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._held: list[tuple[Any, Cursor]] = []  # the decoder used last is at the end
        self._timer: threading.Timer | None = None

    def __len__(self) -> int:
        return len(self._held)

    def take(self, key: Any, numbers: np.ndarray) -> Cursor | None:
        """Return the decoder of file and form `key` that stands nearest before these frames, or None.

        The caller owns it now.
        """
        with self._lock:
            fitting = [row for row in self._held if row[0] == key and row[1].can_give(numbers)]
            if not fitting:
                return None
            found = max(fitting, key=lambda row: row[1].number)
            self._held = [row for row in self._held if row is not found]
            return found[1]

    def give(self, key: Any, cursor: Cursor) -> None:
        """Keep a decoder for a later call."""
        with self._lock:
            self._held.append((key, cursor))
            for _, old in self._held[:-OPEN]:
                old.close()
            self._held = self._held[-OPEN:]
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(self._idle_s, _close, [weakref.ref(self)])
            self._timer.daemon = True
            self._timer.start()

    def close(self, key: Any = None) -> None:
        """Close all decoders kept, or only those of one file and form."""
        with self._lock:
            for held, cursor in self._held:
                if key is None or held == key:
                    cursor.close()
            self._held = [row for row in self._held if key is not None and row[0] != key]
            if self._timer is not None and not self._held:
                self._timer.cancel()
                self._timer = None


def _close(reference: weakref.ref[Cursors]) -> None:
    if (cursors := reference()) is not None:
        cursors.close()
