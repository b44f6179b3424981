"""GeometryCrafter with its networks in Jittor: the stream of `geoflow.models.geometrycrafter.pipeline`, on arrays.

Only the networks run in Jittor. Windows, noise levels, priors, resizing and blending are numpy's, and what needs no
framework is the PyTorch pipeline's own: options, schedule, windows, start noise, fields of view.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from geoflow.models.diffusion.config import LATENT_SCALE
from geoflow.models.geometrycrafter.given import Frames
from geoflow.models.geometrycrafter.options import Options
from geoflow.models.geometrycrafter.reconstruction import MapChunk, Reconstruction
from geoflow.models.geometrycrafter.scheduler import EulerSchedule
from geoflow.models.geometrycrafter.start import NOISE_STRENGTH, start_noise
from geoflow.models.geometrycrafter.windows import regroup, split_into_windows
from geoflow.models.geometrycrafter_jittor.decoded_maps import FocalSum, Maps, enlarge, restore
from geoflow.models.geometrycrafter_jittor.framework import jt
from geoflow.models.geometrycrafter_jittor.networks import Networks, run
from geoflow.models.geometrycrafter_jittor.sampling import (
    Conditioning,
    Diffusion,
    FrameEncoder,
    Regression,
    Source,
    survey,
)


class GeometryCrafter:
    """The networks, ready for videos of any length; everything is float32."""

    def __init__(
        self, networks: Networks, options: Options | None = None, noise_strength: float = NOISE_STRENGTH
    ) -> None:
        self.options = options or Options()
        self.networks = networks
        self._noise_strength = noise_strength
        networks.config.require(self.options.model_type)

    def reconstruct(
        self, frames: Frames, points: Frames, mask: Frames, noise: np.ndarray | None = None
    ) -> Reconstruction:
        """Begin with a video, as the pipeline in PyTorch does; `noise` stands in for what `seed` makes.

        Raises InputError when shapes do not fit, and, with the first chunk, when a valid point is not finite.
        """
        source = Source(frames, points, mask, self.options.downsample_ratio)
        focal = FocalSum() if self.options.fixed_focal else None
        return Reconstruction(self._chunks(source, focal, noise), focal, jt.no_grad)

    def _chunks(self, source: Source, focal: FocalSum | None, noise: np.ndarray | None) -> Iterator[MapChunk]:
        start = 0
        for latents in regroup(self._latents(source, noise), self.options.decode_chunk_size, np.concatenate):
            maps = self.decode(latents, source.size)
            if focal is not None:
                focal.add(maps)
            yield self._chunk(start, enlarge(maps, source.full_size))
            start += len(latents)
            jt.gc()

    def _latents(self, source: Source, noise: np.ndarray | None) -> Iterator[np.ndarray]:
        """Yield latents (N, 4, h, w) of consecutive frames, ready for the decoder."""
        options = self.options
        encoder = FrameEncoder(self.networks, source, survey(source), options)
        sampler = self.sampler(source.num_frames, noise)
        known: Conditioning | None = None
        before: np.ndarray | None = None
        windows = split_into_windows(source.num_frames, options.window_size, options.overlap)
        for k, (start, stop) in enumerate(windows):
            common = 0 if before is None else len(before)
            new = encoder.encode(start + common, stop)
            known = new if known is None or not common else Conditioning.join([known[-common:], new])
            latents = sampler.window(k, known, before if common else None)
            if before is not None and common:
                latents = blend_in(before, latents)
            final = len(latents) if stop == source.num_frames else len(latents) - options.overlap
            before = latents[final:]
            yield latents[:final] / np.float32(LATENT_SCALE)

    def sampler(self, num_frames: int, noise: np.ndarray | None = None) -> Regression | Diffusion:
        """Return the sampler that turns windows of a video with `num_frames` frames into latents."""
        if self.options.model_type == "determ":
            return Regression(self.networks, self._noise_strength)
        schedule = EulerSchedule.of(self.options.num_inference_steps, self.networks.config.scheduler)
        noise = start_noise(self.options, num_frames) if noise is None else noise
        return Diffusion(self.networks, schedule, noise, self.options, self._noise_strength)

    def decode(self, latents: np.ndarray, size: tuple[int, int]) -> Maps:
        """Decode a group of latents (N, 4, h, w) together; return maps at the source's size."""
        return restore(run(self.networks.point_map_vae.decode, latents, len(latents)), size, self.options)

    def _chunk(self, start: int, maps: Maps) -> MapChunk:
        diagonal: np.ndarray | None = None
        if not self.options.force_projection:
            diagonal = maps.diagonal
        elif not self.options.force_fixed_focal:
            diagonal = maps.frame_diagonal()
        return MapChunk(start, maps.depth, maps.mask, diagonal)


def blend_in(before: np.ndarray, latents: np.ndarray) -> np.ndarray:
    """Blend a window's latents (N, …) with `before` (M, …), those of its first frames from earlier windows.

    The new window's weight goes from 0 at the first common frame to 1 at the last. A single common frame stays
    unchanged.
    """
    count = len(before)
    weight = np.linspace(0, 1, count, dtype=np.float32).reshape(-1, 1, 1, 1)
    return np.concatenate([before + (latents[:count] - before) * weight, latents[count:]])
