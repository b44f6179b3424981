"""Encoding and denoising of a window, on arrays: what `geometrycrafter.encoding` and `denoise` do with PyTorch."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from geoflow.models.diffusion.config import LATENT_SCALE
from geoflow.models.geometrycrafter.given import Frames, check_given
from geoflow.models.geometrycrafter.options import Options
from geoflow.models.geometrycrafter.prior_statistics import PriorStatistics, statistics_of
from geoflow.models.geometrycrafter.scheduler import EulerSchedule
from geoflow.models.geometrycrafter.start import DETERM_TIMESTEP, added_ids
from geoflow.models.geometrycrafter_jittor.array_priors import PriorMaps, prior_maps, survey_rows
from geoflow.models.geometrycrafter_jittor.networks import Networks, run
from geoflow.models.geometrycrafter_jittor.resampling import Size, bicubic, nearest_pixels, normalise, resize_for_clip

_SURVEY_CHUNK = 8  # frames


@dataclass(frozen=True)
class Conditioning:
    """The conditioning of some frames, float32."""

    embeddings: np.ndarray  # (N, D), CLIP's
    video: np.ndarray  # (N, 4, h, w), latents of the frames
    prior: np.ndarray  # (N, 4, h, w), latents of the prior

    def __getitem__(self, part: slice) -> Conditioning:
        return Conditioning(self.embeddings[part], self.video[part], self.prior[part])

    @staticmethod
    def join(parts: list[Conditioning]) -> Conditioning:
        rows = ((part.embeddings, part.video, part.prior) for part in parts)
        return Conditioning(*(np.concatenate(row) for row in zip(*rows)))


class Source:
    """Frames (T, H, W, 3) u8 with the points (T, H, W, 3) and the mask (T, H, W) of their prior, some at a time.

    `downsample_ratio` makes both smaller on the way.
    """

    def __init__(self, frames: Frames, points: Frames, mask: Frames, downsample_ratio: float = 1.0) -> None:
        check_given(frames, points, mask)
        self._frames, self._points, self._mask = frames, points, mask
        self.num_frames: int = frames.shape[0]
        self.full_size: Size = (frames.shape[1], frames.shape[2])
        height, width = (max(1, round(side / downsample_ratio)) for side in self.full_size)
        self.size: Size = (height, width)

    def frames(self, start: int, stop: int) -> np.ndarray:
        """Frames (N, 3, H, W) float32 in 0..1."""
        part = np.asarray(self._frames[start:stop]).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        return bicubic(part, self.size)

    def prior(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Points (N, H, W, 3) float32 and mask (N, H, W) bool."""
        points, mask = (np.asarray(rows[start:stop]) for rows in (self._points, self._mask))
        if self.size != self.full_size:
            rows, columns = (nearest_pixels(full, small) for full, small in zip(self.full_size, self.size))
            points, mask = (part[:, rows][:, :, columns] for part in (points, mask))
        return points.astype(np.float32), mask.astype(bool)


def survey(source: Source) -> PriorStatistics:
    """Read all priors once and return their statistics."""
    starts = range(0, source.num_frames, _SURVEY_CHUNK)
    rows = [survey_rows(*source.prior(start, min(start + _SURVEY_CHUNK, source.num_frames))) for start in starts]
    return statistics_of(np.concatenate(rows), source.size[0] * source.size[1])


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
        video = run(self._networks.vae, frames)
        return Conditioning(self.embed(frames), video, encode_prior(self._networks, maps))

    def embed(self, frames: np.ndarray) -> np.ndarray:
        """Return CLIP's embeddings (N, D) float32 of frames (N, 3, H, W) in -1..1."""
        return run(self._networks.image_encoder, normalise(resize_for_clip(frames)))


def encode_prior(networks: Networks, maps: PriorMaps) -> np.ndarray:
    """Return the latents (N, 4, h, w) of a prior, at the scale of the diffusion model."""
    mean = run(networks.vae, np.repeat(maps.disparity, 3, axis=1))
    diagonal = np.broadcast_to(maps.diagonal[:, None, None, None], maps.disparity.shape)
    seen = np.concatenate([diagonal, maps.log_depth, maps.disparity, maps.mask], axis=1)
    return run(networks.point_map_vae.encode, seen, mean) * np.float32(LATENT_SCALE)


class Regression:
    """The deterministic variant: one call, whose output is minus the latents."""

    def __init__(self, networks: Networks, noise_strength: float) -> None:
        self._unet = networks.unet
        self._noise_strength = noise_strength

    def window(self, k: int, known: Conditioning, before: np.ndarray | None) -> np.ndarray:
        """Return latents (N, 4, h, w) float32 of window k; `before` is not used."""
        sample = np.concatenate([known.prior, known.video], axis=1)[None]
        ids = np.array(added_ids(self._noise_strength, 1), np.float32)
        return -run(self._unet, sample, DETERM_TIMESTEP, known.embeddings[None], ids)[0]


class Diffusion:
    """The diffusion variant: Euler steps from noise. Frames that two windows share have the same noise."""

    def __init__(
        self, networks: Networks, schedule: EulerSchedule, noise: np.ndarray, options: Options, noise_strength: float
    ) -> None:
        self._unet = networks.unet
        self._noise_strength = noise_strength
        self.schedule = schedule
        self._noise = noise  # (window_size, 4, h, w), unit variance
        self._overlap = options.overlap
        self._guidance = np.float32(options.guidance_scale)
        self._one_by_one = options.low_memory_usage

    def window(self, k: int, known: Conditioning, before: np.ndarray | None) -> np.ndarray:
        """Return latents (N, 4, h, w) float32 of window k; `before` (M, 4, h, w) are the latents of shared frames."""
        noise = self._noise[(np.arange(len(known.video)) - k * self._overlap) % len(self._noise)]
        x = noise * np.float32(self.schedule.initial_sigma)
        if before is not None:
            x[: len(before)] = before + noise[: len(before)] * np.float32(self.schedule.sigmas[0])
        for i in range(self.schedule.steps):
            v = self._v(self.schedule.scale_input(x, i), known, self.schedule.timestep(i))
            x = self.schedule.step(v, x, i)
        return x

    def _v(self, x: np.ndarray, known: Conditioning, timestep: float) -> np.ndarray:
        sample = np.concatenate([x, known.video, known.prior], axis=1)[None]
        embeddings = known.embeddings[None]
        if self._guidance <= 1:
            return self._predict(sample, embeddings, timestep)[0]
        blind = sample.copy()
        blind[:, :, 4:] = 0
        pairs = ((blind, np.zeros_like(embeddings)), (sample, embeddings))
        if self._one_by_one:
            without, with_ = (self._predict(*pair, timestep)[0] for pair in pairs)
        else:
            samples, contexts = (np.concatenate(rows) for rows in zip(*pairs))
            without, with_ = self._predict(samples, contexts, timestep)
        return without + self._guidance * (with_ - without)

    def _predict(self, sample: np.ndarray, context: np.ndarray, timestep: float) -> np.ndarray:
        ids = np.array(added_ids(self._noise_strength, len(sample)), np.float32)
        return run(self._unet, sample, timestep, context, ids)
