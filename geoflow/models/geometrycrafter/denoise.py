"""Denoising: from the conditioning of a window's frames to its latents, in one step (determ) or from noise (diff)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geoflow.models.geometrycrafter.options import Options
from geoflow.models.geometrycrafter.scheduler import EulerSchedule
from geoflow.models.geometrycrafter.start import DETERM_TIMESTEP, NOISE_STRENGTH, added_ids
from geoflow.models.geometrycrafter.unet import UNet


@dataclass(frozen=True)
class Conditioning:
    """The conditioning of some frames, float32."""

    embeddings: Tensor  # (N, D), CLIP's
    video: Tensor  # (N, 4, h, w), latents of the frames
    prior: Tensor  # (N, 4, h, w), latents of the prior

    def __getitem__(self, part: slice) -> Conditioning:
        return Conditioning(self.embeddings[part], self.video[part], self.prior[part])

    def __len__(self) -> int:
        return len(self.video)

    @staticmethod
    def join(parts: list[Conditioning]) -> Conditioning:
        rows = ((part.embeddings, part.video, part.prior) for part in parts)
        return Conditioning(*(torch.cat(row) for row in zip(*rows)))


class Regression:
    """The deterministic variant: one call, whose output is minus the latents."""

    def __init__(self, unet: UNet, noise_strength: float = NOISE_STRENGTH) -> None:
        self._unet = unet
        self._noise_strength = noise_strength

    def window(self, k: int, known: Conditioning, before: Tensor | None) -> Tensor:
        """Return latents (N, 4, h, w) float32 of window k; `before` is not used."""
        sample = torch.cat([known.prior, known.video], dim=1)
        return -_predict(self._unet, sample[None], known.embeddings[None], DETERM_TIMESTEP, self._noise_strength)[0]


class Diffusion:
    """The diffusion variant: Euler steps from noise. Frames that two windows share have the same noise.

    Latents stay in float32 between steps, also if the network computes in another dtype.
    """

    def __init__(
        self,
        unet: UNet,
        schedule: EulerSchedule,
        noise: Tensor,
        options: Options,
        noise_strength: float = NOISE_STRENGTH,
    ) -> None:
        self._unet = unet
        self._noise_strength = noise_strength
        self.schedule = schedule
        self._noise = noise  # (window_size, 4, h, w), unit variance
        self._overlap = options.overlap
        self._guidance = options.guidance_scale
        self._one_by_one = options.low_memory_usage

    def window(self, k: int, known: Conditioning, before: Tensor | None) -> Tensor:
        """Return latents (N, 4, h, w) float32 of window k; `before` (M, 4, h, w) are the latents of shared frames."""
        frames = torch.arange(len(known), device=self._noise.device)
        noise = self._noise[(frames - k * self._overlap) % len(self._noise)]
        x = noise * self.schedule.initial_sigma
        if before is not None:
            x[: len(before)] = before + noise[: len(before)] * self.schedule.sigmas[0]
        for i in range(self.schedule.steps):
            v = self._v(self.schedule.scale_input(x, i), known, self.schedule.timestep(i))
            x = self.schedule.step(v, x, i)
        return x

    def _v(self, x: Tensor, known: Conditioning, timestep: float) -> Tensor:
        sample = torch.cat([x, known.video, known.prior], dim=1)[None]
        embeddings = known.embeddings[None]
        if self._guidance <= 1:
            return self._predict(sample, embeddings, timestep)[0]
        blind = torch.cat([sample[:, :, :4], torch.zeros_like(sample[:, :, 4:])], dim=2)
        samples, contexts = (blind, sample), (torch.zeros_like(embeddings), embeddings)
        if self._one_by_one:
            without, with_ = (self._predict(one, context, timestep)[0] for one, context in zip(samples, contexts))
        else:
            without, with_ = self._predict(torch.cat(samples), torch.cat(contexts), timestep)
        return without + self._guidance * (with_ - without)

    def _predict(self, sample: Tensor, context: Tensor, timestep: float) -> Tensor:
        return _predict(self._unet, sample, context, timestep, self._noise_strength)


def _predict(unet: UNet, sample: Tensor, context: Tensor, timestep: float, noise_strength: float) -> Tensor:
    """Return the network's prediction as float32, (B, T, 4, h, w), for any dtype of the network."""
    dtype = unet.conv_in.weight.dtype
    ids = torch.tensor(added_ids(noise_strength, len(sample)), device=sample.device)
    return unet(sample.to(dtype), timestep, context.to(dtype), ids).float()
