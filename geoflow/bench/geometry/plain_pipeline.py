"""GeometryCrafter's pipeline in the simplest form: the whole video in float32, one stage after another."""

from __future__ import annotations

import torch
from torch import Tensor

from geoflow.bench.geometry.plain_layers import without_shortcuts
from geoflow.models.diffusion.config import LATENT_SCALE
from geoflow.models.geometrycrafter import Networks, Options
from geoflow.models.geometrycrafter.clip_frames import normalise, resize_for_clip
from geoflow.models.geometrycrafter.denoise import Conditioning, Diffusion, Regression
from geoflow.models.geometrycrafter.encoding import encode_prior
from geoflow.models.geometrycrafter.given import Frames
from geoflow.models.geometrycrafter.joining import blend_in
from geoflow.models.geometrycrafter.maps import FocalSum, Maps, restore
from geoflow.models.geometrycrafter.priors import PriorMaps, PriorSurvey, grids, prior_maps
from geoflow.models.geometrycrafter.resizing import Size, bicubic
from geoflow.models.geometrycrafter.scheduler import EulerSchedule
from geoflow.models.geometrycrafter.start import start_noise
from geoflow.models.geometrycrafter.windows import split_into_windows


class PlainCrafter:
    """The same interface, as far as the benchmark needs it; the options are those of the streaming pipeline."""

    def __init__(self, networks: Networks, options: Options, device: str, dtype: torch.dtype) -> None:
        networks.prepare(dtype)
        for network in networks.modules().values():
            without_shortcuts(network.to(device))
        self._networks, self._options, self._device = networks, options, device

    @torch.inference_mode()
    def reconstruct(self, frames: Frames, points: Frames, mask: Frames) -> tuple[Tensor, Tensor]:
        """Return points (T, H, W, 3) float32 and mask (T, H, W) bool of a video with one focal length."""
        known = self.encode(frames, points, mask)
        latents = self.denoise(known)
        return self.decode(latents, (frames.shape[1], frames.shape[2]))

    def encode(self, frames: Frames, points: Frames, mask: Frames) -> Conditioning:
        """Encode everything at once, except for the networks' own calls."""
        size, everything = (self._options.height, self._options.width), slice(0, frames.shape[0])
        video, prior, valid = (torch.from_numpy(rows[everything]).to(self._device) for rows in (frames, points, mask))
        video = bicubic(video.permute(0, 3, 1, 2).float() / 255, size) * 2 - 1
        prior = prior.float()
        survey = PriorSurvey()
        survey.add(prior, valid)
        maps = prior_maps(prior, valid, survey.finish()).resized(size)
        step, networks = self._options.decode_chunk_size, self._networks
        parts = [slice(start, start + step) for start in range(0, len(video), step)]
        dtype = networks.image_encoder.visual_projection.weight.dtype
        pixels = [normalise(resize_for_clip(video[part])).to(dtype) for part in parts]
        return Conditioning(
            torch.cat([networks.image_encoder(part).float() for part in pixels]),
            torch.cat([networks.vae(video[part])[0] for part in parts]),
            torch.cat([encode_prior(networks, _part(maps, part)) for part in parts]),
        )

    def denoise(self, known: Conditioning) -> Tensor:
        """Return latents (T, 4, h, w) of the whole video."""
        options, unet = self._options, self._networks.unet
        sampler: Regression | Diffusion = Regression(unet)
        if options.model_type == "diff":
            schedule = EulerSchedule.of(options.num_inference_steps, self._networks.config.scheduler)
            sampler = Diffusion(
                unet, schedule, torch.from_numpy(start_noise(options, len(known))).to(self._device), options
            )
        done = known.video[:0]
        for k, (start, stop) in enumerate(split_into_windows(len(known), options.window_size, options.overlap)):
            before = done[start:] if k and options.overlap else None
            latents = sampler.window(k, known[start:stop], before)
            done = torch.cat([done[:start], latents if before is None else blend_in(before, latents)])
        return done / LATENT_SCALE

    def decode(self, latents: Tensor, size: Size) -> tuple[Tensor, Tensor]:
        """Decode groups of frames, join them, then make points."""
        groups = latents.split(self._options.decode_chunk_size)
        vae = self._networks.point_map_vae
        raw = (torch.cat(maps) for maps in zip(*(vae.decode(group, len(group)) for group in groups)))
        intrinsics, log_depth, logit = raw
        maps = restore((intrinsics, log_depth, logit), size, self._options)
        return _points(maps), maps.mask


def _points(maps: Maps) -> Tensor:
    """Return points (T, H, W, 3) with one focal length for all frames."""
    height, width = maps.depth.shape[1:]
    focal = FocalSum()
    focal.add(maps)
    diagonal = focal.diagonal()
    reach = (height**2 + width**2) ** 0.5
    columns, rows = grids(height, width, maps.depth.device)
    x, y = (diagonal * side / reach * grid * maps.depth for side, grid in ((width, columns), (height, rows)))
    return torch.stack([x, y, maps.depth], dim=-1)


def _part(maps: PriorMaps, part: slice) -> PriorMaps:
    return PriorMaps(maps.disparity[part], maps.mask[part], maps.log_depth[part], maps.intrinsics[part])
