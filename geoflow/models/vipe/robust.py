"""Weights by which robust kernels lessen large residuals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from geoflow.errors import ConfigError

KERNELS = ("huber", "tukey", "gnc_tls")

Weigh = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class RobustKernel:
    """A kernel by name, its threshold in pixels of the grid, and the schedule of `gnc_tls`.

    `gnc_tls` is graduated non-convexity with truncated least squares (Yang et al. 2020): mu rises from `mu_init` by the
    factor `mu_step`, `mu_steps` times, with `iterations` steps of the adjustment at each.
    """

    name: str
    threshold: float = 3.0
    mu_init: float = 1.0
    mu_step: float = 3.0
    mu_max: float = 1e6
    mu_steps: int = 4
    iterations: int = 6

    def __post_init__(self) -> None:
        if self.name not in KERNELS:
            raise ConfigError(f"robust_kernel should be one of {', '.join(KERNELS)}, found {self.name!r}")
        if not self.threshold > 0:
            raise ConfigError(f"the threshold of a robust kernel should be above 0, found {self.threshold}")

    def weights(self, asked: int) -> Iterator[Weigh]:
        """Yield, for every iteration, what gives residuals their weights; `asked` iterations if the kernel has none."""
        if self.name != "gnc_tls":
            for _ in range(asked):
                yield self._huber if self.name == "huber" else self._tukey
            return
        mu = self.mu_init
        for _ in range(self.mu_steps):
            for _ in range(self.iterations):
                yield lambda residual, mu=mu: self._truncated(residual, mu)  # type: ignore[misc]
            mu = min(mu * self.mu_step, self.mu_max)

    def _huber(self, residual: Tensor) -> Tensor:
        return (self.threshold / residual.abs().clamp(min=1e-8)).clamp(max=1)

    def _tukey(self, residual: Tensor) -> Tensor:
        return (1 - (residual / self.threshold) ** 2).clamp(min=0) ** 2

    def _truncated(self, residual: Tensor, mu: float) -> Tensor:
        limit, square = self.threshold**2, residual * residual
        if mu >= self.mu_max:
            return (square < limit).to(residual.dtype)
        fading = (torch.sqrt(limit * mu * (mu + 1) / square.clamp(min=1e-12)) - mu).clamp(min=0)
        low, high = mu / (mu + 1) * limit, (mu + 1) / mu * limit
        kept = torch.where(square < low, torch.ones_like(residual), fading)
        return torch.where(square > high, torch.zeros_like(residual), kept)
