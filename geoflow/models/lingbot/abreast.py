"""Several streams side by side: products for all at once, attention for each by itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from geoflow.models.lingbot.blocks import See


class Each:
    """A `See` of B streams: what (B, heads, L, d) look at is each stream's own. Streams may hold different numbers."""

    def __init__(self, sees: Sequence[See]) -> None:
        self._sees = sees

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return torch.stack([see(*rows) for see, *rows in zip(self._sees, q, k, v)])
