"""Keys and values of earlier frames, in buffers that are read where they were written.

The order of keys does not matter to attention. So the tokens that a new frame sees always lie in one piece, from the
buffer's beginning on:

    scale frames | kept frames of the window (a ring) | special tokens of frames that left the window | frame at hand

A frame that is kept takes the place of the one that leaves the window. Nothing else is moved or copied.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from geoflow.models.lingbot.config import SPECIAL

_GROWTH = 64  # frames that a buffer grows by, where the number of kept frames was not known before


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of (heads, L, d) to (heads, M, d), in the shape for which torch has kernels that hold no scores."""
    return F.scaled_dot_product_attention(q[None], k[None], v[None])[0]


class FrameCache:
    """What one global block sees of earlier frames: (2, heads, tokens, d), keys and values.

    The first `forever` kept frames stay with all their tokens, then the last `window` ones; of all others the special
    tokens stay. `expected` is the number of frames that will be kept, as far as it is known.
    """

    def __init__(self, forever: int, window: int, expected: int = 0) -> None:
        self.slots, self.forever, self.expected = forever + window, forever, expected
        self.kept = 0  # frames
        self._rows: Tensor | None = None
        self._size = 0  # tokens of a frame

    @property
    def left(self) -> int:
        """Frames of which only special tokens are seen."""
        return max(0, self.kept - self.slots)

    def seen_by_next(self, *, keep: bool) -> tuple[int, int]:
        """Return how many frames the next one sees with all tokens, and with special tokens; both count itself."""
        return min(self.kept + 1, self.slots if keep else self.slots + 1), self.kept + 1

    def begin(self, q: Tensor, k: Tensor, v: Tensor, count: int) -> Tensor:
        """Let the tokens (heads, count * P, d) of the stream's first frames see each other, and keep the frames."""
        for frame_k, frame_v in zip(k.chunk(count, dim=-2), v.chunk(count, dim=-2)):
            self._place(frame_k, frame_v)
        return attend(q, k, v)

    def keep_and_see(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Keep a frame (heads, P, d), which may make another one leave the window, and let it see what is kept."""
        self._place(k, v)
        return self._see(q, self._end)

    def see(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Let a frame (heads, P, d) see what is kept, and itself; it may be kept afterwards, see `keep_seen`."""
        end = self._end
        rows = self._room(k, end + k.shape[-2])
        rows[0, :, end : end + k.shape[-2]], rows[1, :, end : end + k.shape[-2]] = k, v
        return self._see(q, end + k.shape[-2])

    def keep_seen(self) -> None:
        """Keep the frame that `see` has just had."""
        assert self._rows is not None
        k, v = self._rows[:, :, self._end : self._end + self._size].clone()
        self._place(k, v)

    @property
    def _end(self) -> int:
        return min(self.kept, self.slots) * self._size + self.left * SPECIAL

    def _see(self, q: Tensor, end: int) -> Tensor:
        assert self._rows is not None
        return attend(q, self._rows[0, :, :end], self._rows[1, :, :end])

    def _place(self, k: Tensor, v: Tensor) -> None:
        slot = self.kept
        rows = self._room(k, self._end + max(k.shape[-2], SPECIAL))
        if self.kept >= self.slots:
            slot = self.forever + (self.kept - self.forever) % (self.slots - self.forever)
            leaving = slice(slot * self._size, slot * self._size + SPECIAL)
            rows[:, :, self._end : self._end + SPECIAL] = rows[:, :, leaving]
        place = slice(slot * self._size, (slot + 1) * self._size)
        rows[0, :, place], rows[1, :, place] = k, v
        self.kept += 1

    def _room(self, k: Tensor, tokens: int) -> Tensor:
        """Return the buffer, with room for so many tokens."""
        if self._rows is None:
            heads, self._size, dim = k.shape
            room = min(self.expected or self.slots, self.slots) + 1  # and the frame at hand
            left = max(0, self.expected - self.slots)
            self._rows = k.new_empty((2, heads, room * self._size + left * SPECIAL, dim))
        if tokens > self._rows.shape[2]:
            step = self._size if self.kept < self.slots else _GROWTH * SPECIAL
            grown = self._rows.new_empty((*self._rows.shape[:2], tokens + step, self._rows.shape[3]))
            grown[:, :, : self._rows.shape[2]] = self._rows
            self._rows = grown
        return self._rows


class TokenCache:
    """Keys and values (2, heads, T, d) of one token per frame, all of which stay."""

    def __init__(self, expected: int = 0) -> None:
        self.kept = 0
        self._expected = expected
        self._rows: Tensor | None = None

    def see(self, q: Tensor, k: Tensor, v: Tensor, *, keep: bool) -> Tensor:
        """Let the tokens (heads, S, d) of S frames see all kept ones and each other; `keep` them or not."""
        end = self.kept + k.shape[-2]
        if self._rows is None or end > self._rows.shape[2]:
            room = max(end, self._expected + 1) if self._rows is None else end + _GROWTH
            grown = k.new_empty((2, k.shape[0], room, k.shape[2]))
            if self._rows is not None:
                grown[:, :, : self.kept] = self._rows[:, :, : self.kept]
            self._rows = grown
        self._rows[0, :, self.kept : end], self._rows[1, :, self.kept : end] = k, v
        self.kept = end if keep else self.kept
        return attend(q, self._rows[0, :, :end], self._rows[1, :, :end])
