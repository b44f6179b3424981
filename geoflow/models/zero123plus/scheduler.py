"""Euler steps with fresh noise in each (Karras et al. 2022; Song et al. 2021), with v-prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geoflow.models.zero123plus.config import SchedulerConfig


@dataclass(frozen=True)
class AncestralSchedule:
    """Noise levels of one sampling, as plain numbers, so that no step has to wait for a device.

    >>> AncestralSchedule.of(3).timesteps
    (999.0, 666.0, 332.0)
    """

    timesteps: tuple[float, ...]  # one for every step, falling
    sigmas: tuple[float, ...]  # one for every step, then 0; float32 values

    @classmethod
    def of(cls, steps: int, config: SchedulerConfig | None = None) -> AncestralSchedule:
        """Return the levels of `steps` steps, evenly spaced from the last step of the training."""
        config = config or SchedulerConfig()
        betas = torch.linspace(config.beta_start, config.beta_end, config.num_train_timesteps)
        kept = torch.cumprod(1 - betas, 0)  # in float32, as trained
        total = config.num_train_timesteps
        times = [int(time) - 1 for time in np.arange(total, 0, -total / steps).round()[:steps]]
        sigmas = ((1 - kept) / kept).sqrt()[times]
        return cls(tuple(float(time) for time in times), (*sigmas.tolist(), 0.0))

    @property
    def steps(self) -> int:
        return len(self.timesteps)

    @property
    def initial_sigma(self) -> float:
        """Return the factor of unit noise at the start."""
        return self.sigmas[0]

    def scale_input(self, x: Tensor, i: int) -> Tensor:
        """Return noisy latents at unit variance, the UNet's input in step i."""
        return x / math.hypot(self.sigmas[i], 1)

    def add_noise(self, x: Tensor, noise: Tensor, i: int) -> Tensor:
        """Return clean latents x with the noise of step i."""
        return x + noise * self.sigmas[i]

    def step(self, v: Tensor, x: Tensor, noise: Tensor, i: int) -> Tensor:
        """Latents after step i from those before it, x, the prediction v and unit noise; all float32."""
        sigma, following = self.sigmas[i], self.sigmas[i + 1]
        variance = sigma**2 + 1
        x0 = x / variance - v * (sigma / math.sqrt(variance))
        up = math.sqrt(following**2 * (sigma**2 - following**2) / sigma**2)
        down = math.sqrt(following**2 - up**2)
        return x + (x - x0) / sigma * (down - sigma) + up * noise
