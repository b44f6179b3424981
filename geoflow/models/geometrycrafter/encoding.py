"""Encoding of frames and priors as input of the UNet."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from geoflow.models.diffusion.config import LATENT_SCALE
from geoflow.models.geometrycrafter.clip_frames import normalise, resize_for_clip
from geoflow.models.geometrycrafter.denoise import Conditioning
from geoflow.models.geometrycrafter.networks import Networks
from geoflow.models.geometrycrafter.options import Options
from geoflow.models.geometrycrafter.priors import PriorMaps, PriorStatistics, PriorSurvey, prior_maps
from geoflow.models.geometrycrafter.resizing import bicubic
from geoflow.models.geometrycrafter.source import Source

_SURVEY_CHUNK = 8  # frames


def survey(source: Source) -> PriorStatistics:
    """Read all priors once and return their statistics."""
    found = PriorSurvey()
    for start in range(0, source.num_frames, _SURVEY_CHUNK):
        found.add(*source.prior(start, min(start + _SURVEY_CHUNK, source.num_frames)))
    return found.finish()


class FrameEncoder:
    """Encodes frames of one video independently, a few at a time."""

    def __init__(self, networks: Networks, source: Source, statistics: PriorStatistics, options: Options) -> None:
        self._networks = networks
        self._source = source
        self._statistics = statistics
        self._size = (options.height, options.width)
        self._chunk = options.encode_chunk_size

    def encode(self, start: int, stop: int) -> Conditioning:
        """Return the conditioning of frames [start, stop)."""
        edges = [*range(start, stop, self._chunk), stop]
        return Conditioning.join([self._some(*pair) for pair in itertools.pairwise(edges)])

    def _some(self, start: int, stop: int) -> Conditioning:
        frames = bicubic(self._source.frames(start, stop), self._size) * 2 - 1
        maps = prior_maps(*self._source.prior(start, stop), self._statistics).resized(self._size)
        return Conditioning(self.embed(frames), self._networks.vae(frames)[0], encode_prior(self._networks, maps))

    def embed(self, frames: Tensor) -> Tensor:
        """Return CLIP's embeddings (N, D) float32 of frames (N, 3, H, W) in -1..1."""
        tower = self._networks.image_encoder
        pixels = normalise(resize_for_clip(frames))
        return tower(pixels.to(tower.visual_projection.weight.dtype)).float()


def encode_prior(networks: Networks, maps: PriorMaps) -> Tensor:
    """Return the latents (N, 4, h, w) of a prior, at the scale of the diffusion model."""
    mean, _ = networks.vae(maps.disparity.expand(-1, 3, -1, -1))
    diagonal = maps.diagonal[:, None, None, None].expand_as(maps.disparity)
    seen = torch.cat([diagonal, maps.log_depth, maps.disparity, maps.mask], dim=1)
    return networks.point_map_vae.encode(seen, mean) * LATENT_SCALE
