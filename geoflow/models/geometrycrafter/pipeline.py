"""GeometryCrafter (Xu et al. 2025): consistent point maps of a video from a per-frame prior.

A video is processed as a stream, so memory does not grow with its length:

1. A survey of the priors yields the video's scale and range of disparity, from five numbers per frame.
2. Window by window, new frames are encoded, and the window is denoised and joined to the windows before. Frames that
   no later window shares are final.
3. Final frames are decoded in groups of `decode_chunk_size`, restored to the video's size and yielded.

Frames are read once and priors twice. The fixed focal length is a mean over all frames, so it is known at the end.
Depth and mask do not depend on it and are yielded at once: nothing is decoded twice or kept for it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from geoflow.models.diffusion.config import LATENT_SCALE
from geoflow.models.geometrycrafter.denoise import Conditioning, Diffusion, Regression
from geoflow.models.geometrycrafter.encoding import FrameEncoder, survey
from geoflow.models.geometrycrafter.given import Frames
from geoflow.models.geometrycrafter.joining import blend_in
from geoflow.models.geometrycrafter.maps import FocalSum, Maps, enlarge, restore
from geoflow.models.geometrycrafter.networks import Networks, Offloading
from geoflow.models.geometrycrafter.options import Options
from geoflow.models.geometrycrafter.reconstruction import MapChunk, Reconstruction
from geoflow.models.geometrycrafter.scheduler import EulerSchedule
from geoflow.models.geometrycrafter.source import Source
from geoflow.models.geometrycrafter.start import NOISE_STRENGTH, start_noise
from geoflow.models.geometrycrafter.windows import regroup, split_into_windows


class GeometryCrafter:
    """The networks on a device, ready for videos of any length.

    UNet and CLIP compute in `dtype`, by default float16 on a GPU and float32 elsewhere; both autoencoders, latents
    between steps and results are float32. The same video and seed give the same noise on every device.

    `channels_last` stores feature maps with channels last. By default this is used for the autoencoders on a GPU, where
    decoding then takes a fifth less time. On a CPU everything would take a quarter less time, but the error of
    PyTorch's norms would be up to 5e-4 instead of 1e-6 (torch 2.13).

    The UNet gets `noise_strength` as an input, though no noise is added to the frames: it was trained with 0.02.
    """

    def __init__(
        self,
        networks: Networks,
        options: Options | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        channels_last: bool | None = None,
        noise_strength: float = NOISE_STRENGTH,
    ) -> None:
        self.options = options or Options()
        self.networks = networks
        self._noise_strength = noise_strength
        self._device = torch.device(device)
        networks.config.require(self.options.model_type)
        on_gpu = self._device.type == "cuda"
        networks.prepare(dtype or (torch.float16 if on_gpu else torch.float32))
        if channels_last or (channels_last is None and on_gpu):
            networks.put_channels_last(autoencoders_only=channels_last is None)
        self._residency = Offloading(networks, self._device, self.options.low_memory_usage)

    def reconstruct(self, frames: Frames, points: Frames, mask: Frames, noise: Tensor | None = None) -> Reconstruction:
        """Begin with a video.

        frames (T, H, W, 3) u8 · points (T, H, W, 3) float16 or float32, the prior's in its camera frame, at one scale ·
        mask (T, H, W) bool, where the prior is valid. Each may be anything that slices like an array. `noise`
        (window, 4, height / 8, width / 8) stands in for what `seed` makes.

        Raises InputError when shapes do not fit, and, with the first chunk, when a valid point is not finite.
        """
        source = Source(frames, points, mask, self._device, self.options.downsample_ratio)
        focal = FocalSum() if self.options.fixed_focal else None
        return Reconstruction(self._chunks(source, focal, noise), focal, torch.inference_mode)

    def _chunks(self, source: Source, focal: FocalSum | None, noise: Tensor | None) -> Iterator[MapChunk]:
        start = 0
        for latents in regroup(self._latents(source, noise), self.options.decode_chunk_size, torch.cat):
            maps = self.decode(latents, source)
            if focal is not None:
                focal.add(maps)
            yield self._chunk(start, enlarge(maps, source.full_size))
            start += len(latents)

    def _latents(self, source: Source, noise: Tensor | None) -> Iterator[Tensor]:
        """Yield latents (N, 4, h, w) of consecutive frames, ready for the decoder."""
        options, networks = self.options, self.networks
        encoder = FrameEncoder(networks, source, survey(source), options)
        sampler = self.sampler(source.num_frames, noise)
        encoded = (networks.vae, networks.image_encoder, networks.point_map_vae.encoder)
        known: Conditioning | None = None
        before: Tensor | None = None
        windows = split_into_windows(source.num_frames, options.window_size, options.overlap)
        for k, (start, stop) in enumerate(windows):
            common = 0 if before is None else len(before)
            with self._residency.using(*encoded):
                new = encoder.encode(start + common, stop)
            known = new if known is None or not common else Conditioning.join([known[-common:], new])
            with self._residency.using(networks.unet):
                latents = sampler.window(k, known, before if common else None)
            if before is not None and common:
                latents = blend_in(before, latents)
            final = len(latents) if stop == source.num_frames else len(latents) - options.overlap
            before = latents[final:]
            yield latents[:final] / LATENT_SCALE

    def sampler(self, num_frames: int, noise: Tensor | None = None) -> Regression | Diffusion:
        """Return the sampler that turns windows of a video with `num_frames` frames into latents."""
        if self.options.model_type == "determ":
            return Regression(self.networks.unet, self._noise_strength)
        schedule = EulerSchedule.of(self.options.num_inference_steps, self.networks.config.scheduler)
        noise = torch.from_numpy(start_noise(self.options, num_frames)) if noise is None else noise
        return Diffusion(self.networks.unet, schedule, noise.to(self._device), self.options, self._noise_strength)

    def decode(self, latents: Tensor, source: Source) -> Maps:
        """Decode a group of latents (N, 4, h, w) together; return maps at the source's size."""
        vae = self.networks.point_map_vae
        with self._residency.using(vae.decoder):
            return restore(vae.decode(latents, len(latents)), source.size, self.options)

    def _chunk(self, start: int, maps: Maps) -> MapChunk:
        diagonal: Tensor | None = None
        if not self.options.force_projection:
            diagonal = maps.diagonal
        elif not self.options.force_fixed_focal:
            diagonal = maps.frame_diagonal()
        depth, mask = maps.depth.cpu().numpy(), maps.mask.cpu().numpy()
        return MapChunk(start, depth, mask, None if diagonal is None else diagonal.cpu().numpy())
