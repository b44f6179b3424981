"""Zero123++ (Shi et al. 2023, arXiv:2310.15110): six views around an object from one picture of it.

In each step the network sees the picture, with as much noise as the views have then, and then the views, whose self
attention reads what it saw in the picture. What is read depends on the noise, so it is made anew in each step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from geoflow.errors import ConfigError
from geoflow.models.diffusion.clip import CLIPVision
from geoflow.models.diffusion.config import LATENT_SCALE, LATENT_STRIDE
from geoflow.models.diffusion.image_vae import ImageAutoencoder
from geoflow.models.zero123plus.config import CLIP_EXTRACTOR, ExtractorConfig, SchedulerConfig
from geoflow.models.zero123plus.noises import Given, Noises
from geoflow.models.zero123plus.picture import extract, on_white
from geoflow.models.zero123plus.reference import Reading, Writing
from geoflow.models.zero123plus.scheduler import AncestralSchedule
from geoflow.models.zero123plus.unet import UNet

SIZE = (960, 640)  # height and width of the picture of views: three rows of two, 320 px each
_SIZE_STEP = 64  # px; the UNet halves the latents, an eighth of the picture, three times
_LATENT_MEAN, _LATENT_STD = 0.22, 0.75  # of the views' latents in training
_CONTRAST = 0.8 / 0.5  # pictures were trained with a deviation of 0.8 instead of 0.5

Watch = Callable[[str, Tensor | np.ndarray], None]


@dataclass(frozen=True)
class Prompt:
    """What the cross attention sees besides the picture's embedding, from the published model."""

    text: Tensor  # (M, D) float32, the empty text: a constant of the checkpoint
    ramp: Tensor  # (M,) float32, how much of the picture's embedding is added to each token

    def to(self, device: torch.device) -> Prompt:
        return Prompt(self.text.to(device), self.ramp.to(device))

    def contexts(self, picture: Tensor, guided: bool) -> Tensor:
        """The picture's embedding (1, D) to contexts (1, M, D), or (2, M, D) with the one without a picture first."""
        seen = self.text + self.ramp[:, None] * picture
        return torch.stack([self.text, seen] if guided else [seen])


@dataclass(frozen=True)
class Extractors:
    """How the picture becomes the input of the autoencoder and of CLIP."""

    vae: ExtractorConfig = field(default_factory=ExtractorConfig)
    clip: ExtractorConfig = CLIP_EXTRACTOR


class Views:
    """The networks on a device, ready for one picture after another.

    UNet and CLIP compute in `dtype`, by default float16 on a GPU and float32 elsewhere; the autoencoder and the latents
    between steps are float32. The same picture and seed give the same noise on every device.
    """

    def __init__(
        self,
        unet: UNet,
        vae: ImageAutoencoder,
        vision: CLIPVision,
        prompt: Prompt,
        scheduler: SchedulerConfig | None = None,
        extractors: Extractors | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        self._dtype = dtype or (torch.float16 if torch.device(device).type == "cuda" else torch.float32)
        for network in (unet, vae, vision):
            network.eval().requires_grad_(False)
        self._unet, self._vision, self._vae = unet.to(self._dtype), vision.to(self._dtype), vae.float()
        self._prompt, self._scheduler, self._extractors = prompt, scheduler, extractors or Extractors()
        self.to(device)

    def to(self, device: str | torch.device) -> None:
        """Move the networks to a device, on which the next views are made."""
        self._device = torch.device(device)
        for network in (self._unet, self._vision, self._vae):
            network.to(self._device)
        self._prompt = self._prompt.to(self._device)

    def generate(
        self,
        rgba: np.ndarray,
        steps: int = 75,
        guidance: float = 4.0,
        seed: int = 42,
        *,
        noises: Given | None = None,
        size: tuple[int, int] = SIZE,
        watch: Watch | None = None,
    ) -> np.ndarray:
        """Return the picture of six views, (960, 640, 3) uint8: three rows of two, 320 px each.

        rgba (H, W, 4) uint8, square, with the object in its middle (`square_foreground`); (H, W, 3) on white also goes.
        Azimuths 30, 90, 150, 210, 270 and 330 degrees from the picture's, elevations 20 and -10 in turn. `noises` stand
        in for what `seed` makes (`Noises` says in which order); `size` is another height and width, in steps of 64;
        `watch` is shown intermediate results by name.

        Raises InputError for a picture that cannot be used, ConfigError for settings that cannot work.
        """
        _check(steps, guidance, size)
        watch = watch or _unseen
        draws = Noises(seed, noises, self._device)
        with torch.inference_mode():
            picture = on_white(rgba)
            watch("picture", picture)
            condition = self._condition(picture, guidance > 1, draws, watch)
            contexts = self._contexts(picture, guidance > 1, watch)
            latents = self._sample(condition, contexts, steps, guidance, size, draws, watch)
            return self._decode(latents, watch)

    def _condition(self, picture: Tensor | np.ndarray, guided: bool, draws: Noises, watch: Watch) -> Tensor:
        """Latents of the picture (1, 4, h, w), or (2, 4, h, w) with those of plain grey first; not scaled."""
        pixels = extract(np.asarray(picture), self._extractors.vae)
        watch("pixels_vae", pixels)
        found = self._encode(pixels, draws)
        watch("condition_latent", found)
        if not guided:
            return found
        negative = self._encode(torch.zeros_like(pixels), draws)
        watch("negative_latent", negative)
        return torch.cat([negative, found])

    def _encode(self, pixels: Tensor, draws: Noises) -> Tensor:
        """A draw (1, 4, h, w) from the autoencoder's distribution."""
        mean, logvar = self._vae(pixels.to(self._device))
        return mean + (0.5 * logvar).exp() * draws.draw(*mean.shape)

    def _contexts(self, picture: np.ndarray, guided: bool, watch: Watch) -> Tensor:
        """Contexts (1 or 2, M, D) of the cross attention."""
        pixels = extract(picture, self._extractors.clip)
        watch("pixels_clip", pixels)
        seen = self._vision(pixels.to(self._device, self._dtype)).float()
        watch("global_embeds", seen)
        contexts = self._prompt.contexts(seen, guided)
        watch("prompt_embeds", contexts)
        return contexts

    def _sample(
        self,
        condition: Tensor,
        contexts: Tensor,
        steps: int,
        guidance: float,
        size: tuple[int, int],
        draws: Noises,
        watch: Watch,
    ) -> Tensor:
        """Latents (1, 4, h, w) float32 of the views."""
        schedule = AncestralSchedule.of(steps, self._scheduler)
        latents = draws.draw(1, condition.shape[1], *(side // LATENT_STRIDE for side in size)) * schedule.initial_sigma
        contexts = contexts.to(self._dtype)
        for i in range(steps):
            noisy = schedule.add_noise(condition, draws.draw(*condition.shape), i)
            inputs = {
                "condition": schedule.scale_input(noisy, i),
                "sample": schedule.scale_input(latents, i).expand(len(condition), -1, -1, -1),
            }
            v = self._predict(inputs, schedule.timesteps[i], contexts, f"step{i}_", watch)
            if len(v) > 1:
                v = v[:1] + guidance * (v[1:] - v[:1])
            watch(f"step{i}_guided", v)
            latents = schedule.step(v, latents, draws.draw(*latents.shape), i)
            watch(f"step{i}_latents", latents)
        return latents

    def _predict(
        self, inputs: dict[str, Tensor], timestep: float, contexts: Tensor, prefix: str, watch: Watch
    ) -> Tensor:
        """v (1 or 2, 4, h, w) float32 of the sample, after the network has seen the condition."""
        written = Writing()
        for name, given in inputs.items():
            watch(f"{prefix}{name}_in", given)
            exchange = written if name == "condition" else Reading(written)
            v = self._unet(given.to(self._dtype), timestep, contexts, exchange).float()
            watch(f"{prefix}{name}_out", v)
        return v

    def _decode(self, latents: Tensor, watch: Watch) -> np.ndarray:
        """Latents (1, 4, h, w) to a picture (8 h, 8 w, 3) uint8."""
        scaled = (latents / _LATENT_STD + _LATENT_MEAN) / LATENT_SCALE
        watch("decoder_in", scaled)
        decoded = self._vae.decode(scaled)
        watch("decoded", decoded)
        picture = (decoded[0] * _CONTRAST / 2 + 0.5).clamp(0, 1).permute(1, 2, 0)
        watch("image", picture)
        return (picture * 255).round().to(torch.uint8).cpu().numpy()


def _check(steps: int, guidance: float, size: tuple[int, int]) -> None:
    if steps < 1:
        raise ConfigError(f"steps should be at least 1, found {steps}")
    if not math.isfinite(guidance):
        raise ConfigError(f"guidance should be a number (1: none), found {guidance}")
    if any(side < _SIZE_STEP or side % _SIZE_STEP for side in size):
        raise ConfigError(f"height and width should be multiples of {_SIZE_STEP}, found {size[0]} x {size[1]}")


def _unseen(name: str, value: Tensor | np.ndarray) -> None:
    """Watch nothing."""
