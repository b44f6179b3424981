"""The random draws of one sampling, in their order."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from geoflow.errors import InputError

Given = Iterable["np.ndarray | Tensor"]


class Noises:
    """Unit noise: from a seed, always made on the CPU, so that the device does not change it; or as it is given.

    Draws in order: of the condition's latent, of the negative one (with guidance), of the views; then for each step of
    the condition, of the negative first (with guidance), and of the views.
    """

    def __init__(self, seed: int, given: Given | None, device: torch.device) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._given = None if given is None else iter(given)
        self._device = device

    def draw(self, *shape: int) -> Tensor:
        """Return the next draw, float32. Raises InputError if what was given has another shape, or has ended."""
        if self._given is None:
            return torch.randn(shape, generator=self._generator).to(self._device)
        found = next(self._given, None)
        if found is None or tuple(found.shape) != shape:
            what = "none is left" if found is None else f"found {tuple(found.shape)}"
            raise InputError(f"the next of the given noises should be {shape}, {what}")
        return torch.as_tensor(found, dtype=torch.float32, device=self._device)
