"""Euler steps from noise to latents (Karras et al. 2022, algorithm 2 without churn), with v-prediction.

A step is plain arithmetic, so latents may be tensors or numpy arrays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoflow.models.geometrycrafter.config import SchedulerConfig

_RHO = 7.0  # Karras et al. 2022, table 1


@dataclass(frozen=True)
class EulerSchedule:
    """Noise levels of one sampling, as plain numbers, so that no step has to wait for a device.

    >>> [round(sigma, 3) for sigma in EulerSchedule.of(3).sigmas]
    [700.0, 15.59, 0.002, 0.0]
    """

    sigmas: tuple[float, ...]  # one for every step, falling, then 0; float32 values

    @classmethod
    def of(cls, steps: int, config: SchedulerConfig | None = None) -> EulerSchedule:
        """Return the levels of `steps` steps; for one step, only the highest level."""
        config = config or SchedulerConfig()
        high, low = config.sigma_max ** (1 / _RHO), config.sigma_min ** (1 / _RHO)
        levels = (high + np.linspace(0, 1, steps) * (low - high)) ** _RHO
        return cls((*(float(level) for level in levels.astype(np.float32)), 0.0))

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    @property
    def initial_sigma(self) -> float:
        """Return the factor of unit noise at the start."""
        return math.hypot(self.sigmas[0], 1)

    def timestep(self, i: int) -> float:
        """Return the UNet's time step for the noise level of step i."""
        return math.log(self.sigmas[i]) / 4

    def scale_input(self, x: Any, i: int) -> Any:
        """Return noisy latents at unit variance, the UNet's input in step i."""
        return x / math.hypot(self.sigmas[i], 1)

    def step(self, v: Any, x: Any, i: int) -> Any:
        """Latents after step i from those before it, x, and the prediction v; all float32.

        x0 + (x - x0) * next / sigma equals the usual x + (x - x0) / sigma * (next - sigma), without the difference of
        large numbers.
        """
        sigma, following = self.sigmas[i], self.sigmas[i + 1]
        variance = sigma**2 + 1
        x0 = x / variance - v * (sigma / math.sqrt(variance))
        return x0 + (x - x0) * (following / sigma)
