"""How self attention sees another picture: one pass writes its tokens down, the next reads them.

Both passes go through the same network. In the first each self attention keeps the tokens that it gets. In the second
it looks at its own tokens and at those that it kept, in one softmax.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Exchange(Protocol):
    """What a self attention is to look at."""

    def seen(self, own: Tensor) -> Tensor:
        """Return the tokens (N, M, C) for keys and values of an attention whose own tokens are (N, L, C)."""


class Writing:
    """The first pass."""

    def __init__(self) -> None:
        self.stored: list[Tensor] = []  # (N, L, C) of every self attention, in the order in which they compute

    def seen(self, own: Tensor) -> Tensor:
        self.stored.append(own)
        return own


class Reading:
    """The second pass. Stored tokens are let go once they have been read."""

    def __init__(self, written: Writing) -> None:
        self._left = written.stored[::-1]
        written.stored.clear()

    def seen(self, own: Tensor) -> Tensor:
        return torch.cat([own, self._left.pop()], dim=1)
