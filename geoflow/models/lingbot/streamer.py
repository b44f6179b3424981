"""LingBot-Map with everything around its network: fitted frames, windows, poses as GeoFlow has them."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from geoflow.errors import ConfigError, InputError
from geoflow.geometry.rigid import invert
from geoflow.models.lingbot.fitting import Fit
from geoflow.models.lingbot.known_lens import KnownLens
from geoflow.models.lingbot.network import LingbotNetwork, Seen, Stream, next_abreast
from geoflow.models.lingbot.options import StreamOptions
from geoflow.models.lingbot.poses import world_from_cam
from geoflow.models.lingbot.windows import run_windows


@dataclass(frozen=True)
class FrameResult:
    """What is known of one frame (H, W), in the scale of its stream, which is free."""

    cam_from_world: np.ndarray  # (4, 4) float32; the world is the first frame's camera
    intrinsics: np.ndarray  # (3, 3) float32, px of the frame; NaN where the network finds no possible camera
    depth: np.ndarray  # (H, W) float32 along the optical axis; 0: unknown. (h, w) without `full_size`
    confidence: np.ndarray  # (H, W) float32, from 1 on; 0: unknown
    focal_ratio: float = 1.0  # known over found focal length, where intrinsics are known


class Streamer:
    """LingBot-Map with its weights, ready on a device."""

    def __init__(self, network: LingbotNetwork) -> None:
        self.network = network.eval().requires_grad_(False)
        self.device = network.aggregator.camera_token.device

    def run(
        self, frames: Iterable[np.ndarray], intrinsics: np.ndarray | None = None, **options: Any
    ) -> Iterator[FrameResult]:
        """Yield a result for each frame (H, W, 3) uint8, all of one size, in their order.

        Memory does not grow with the number of frames. A result comes as many frames late as two windows share, and at
        once with `window_size=None`; the first frames are answered together. The frames have to follow each other
        closely: what one shows, the next should show, too.

        Known `intrinsics` (3, 3) px of the frame, without distortion, stand in every result. The network cannot be told
        of them; its depth and its forward motion are stretched to go with them, see `KnownLens`, and `focal_ratio`
        says how far. `options` are fields of StreamOptions.

        Raises ConfigError for options that cannot be, and InputError for a frame that does not fit.
        """
        chosen = StreamOptions(**options)
        lens = None if intrinsics is None else KnownLens(_checked_lens(intrinsics))
        return self._run(frames, chosen, lens)

    def _run(
        self, frames: Iterable[np.ndarray], options: StreamOptions, lens: KnownLens | None
    ) -> Iterator[FrameResult]:
        video = _Video(frames, options, lens, self.device)
        found = run_windows(partial(self._stream, options), video.fitted, options.plan())
        while True:
            with torch.inference_mode():  # not around a yield: it would hold for the caller, too
                frame = next(found, None)
            if frame is None:
                return
            yield video.answer(frame.seen)

    def _stream(self, options: StreamOptions) -> Stream:
        return Stream(
            self.network,
            max(options.plan().expected(options.num_frames), options.room),
            forever=min(options.scale_frames, self.network.config.scale_frames),
            window=options.sliding_window,
            iterations=options.camera_iterations,
        )

    def run_abreast(
        self,
        videos: Sequence[Iterable[np.ndarray]],
        intrinsics: Sequence[np.ndarray | None] | None = None,
        **options: Any,
    ) -> Iterator[list[FrameResult | None]]:
        """Yield for each step what `run` says of the next frame of each video; None for videos that have ended.

        The network takes the frames of a step at once. Frames of all videos are of a size that becomes one size for
        the network; the videos may be of different length. Each has a stream of its own, and takes its memory.
        `intrinsics` has known ones for each video, or None. `options` are as in `run`, with `window_size` None and
        without a `flow_threshold`: by these, each video would begin anew, or keep frames, at times of its own.

        Raises ConfigError for options that cannot be, and InputError for a frame that does not fit.
        """
        chosen = StreamOptions(**{"window_size": None, **options})
        if chosen.window_size is not None or chosen.flow_threshold:
            raise ConfigError("videos side by side need window_size=None and flow_threshold=0")
        known = [None] * len(videos) if intrinsics is None else intrinsics
        if len(known) != len(videos):
            raise ConfigError(f"{len(videos)} videos need as many intrinsics, or None, found {len(known)}")
        lenses = [None if one is None else KnownLens(_checked_lens(one)) for one in known]
        rows = [_Video(frames, chosen, lens, self.device) for frames, lens in zip(videos, lenses)]
        return self._run_abreast(rows, chosen)

    def _run_abreast(self, videos: Sequence[_Video], options: StreamOptions) -> Iterator[list[FrameResult | None]]:
        plan = options.plan()
        sources = [iter(video.fitted) for video in videos]
        streams = [self._stream(options) for _ in videos]
        begun: list[Seen] = []
        for source, stream in zip(sources, streams):
            first = list(itertools.islice(source, plan.scale_frames))
            with torch.inference_mode():
                begun.append(stream.begin(torch.stack(first)) if first else Seen.none())
        for k in range(max(map(len, begun), default=0)):
            yield [video.answer(seen[k : k + 1]) if k < len(seen) else None for video, seen in zip(videos, begun)]
        for passed in itertools.count():
            pictures = [next(source, None) for source in sources]
            running = [k for k, picture in enumerate(pictures) if picture is not None]
            if not running:
                return
            taken = [picture for picture in pictures if picture is not None]
            if len({picture.shape for picture in taken}) > 1:
                sizes = sorted({f"{picture.shape[2]}x{picture.shape[1]}" for picture in taken})
                raise InputError(f"videos side by side should come to one size for the network, found {sizes}")
            with torch.inference_mode():
                keep = passed % plan.interval == 0
                seen = next_abreast([streams[k] for k in running], torch.stack(taken), keep=keep)
            found: list[FrameResult | None] = [None] * len(videos)
            for row, k in enumerate(running):
                found[k] = videos[k].answer(seen[row : row + 1])
            yield found


class _Video:
    """One video's frames on their way to the network, and its answers on their way back."""

    def __init__(
        self, frames: Iterable[np.ndarray], options: StreamOptions, lens: KnownLens | None, device: torch.device
    ) -> None:
        self.fitted = _Fitted(frames, options, device)
        self._options, self._lens = options, lens
        self._first_from_world: np.ndarray | None = None

    def answer(self, seen: Seen) -> FrameResult:
        """Return the result for the oldest frame without one; `seen` is of this frame alone."""
        rgb, fit = self.fitted.answered()
        pose = _square(seen)
        if self._first_from_world is None:
            self._first_from_world = invert(pose)
        return _result(seen, self._first_from_world @ pose, rgb, fit, self._lens, full_size=self._options.full_size)


class _Fitted:
    """Frames as tensors (3, h, w) in 0..1; those that are not answered yet are held."""

    def __init__(self, frames: Iterable[np.ndarray], options: StreamOptions, device: torch.device) -> None:
        self._frames, self._options, self._device = frames, options, device
        self._held: deque[np.ndarray] = deque()
        self._fit: Fit | None = None

    def __iter__(self) -> Iterator[torch.Tensor]:
        for k, rgb in enumerate(self._frames):
            if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
                raise InputError(f"frame {k} should be (H, W, 3) uint8, found {rgb.shape} {rgb.dtype}")
            size = rgb.shape[0], rgb.shape[1]
            if self._fit is None:
                self._fit = Fit.of(size, self._options.side, self._options.fit)
            if size != (before := self._fit.frame):
                raise InputError(f"frame {k} is {size[1]}x{size[0]}, those before were {before[1]}x{before[0]}")
            self._held.append(rgb)
            picture = torch.from_numpy(np.ascontiguousarray(self._fit.apply(rgb))).to(self._device)
            yield picture.movedim(-1, 0).float() / 255

    def answered(self) -> tuple[np.ndarray, Fit]:
        """Return the oldest frame without an answer, which now has one, and how it was fitted."""
        assert self._fit is not None
        return self._held.popleft(), self._fit


def _square(seen: Seen) -> np.ndarray:
    """Return the pose (4, 4) float64, world from camera."""
    pose = np.eye(4)
    pose[:3] = world_from_cam(seen.encoding[0].double()).cpu().numpy()
    return pose


def _result(
    seen: Seen, pose: np.ndarray, rgb: np.ndarray, fit: Fit, lens: KnownLens | None, *, full_size: bool
) -> FrameResult:
    fov_y, fov_x = seen.encoding[0, 7:].double().tolist()
    matrix, depth = fit.intrinsics(fov_y, fov_x), seen.depth[0].cpu().numpy()
    confidence = seen.confidence[0].cpu().numpy()
    if lens is not None:
        pose, depth = lens.correct(pose, matrix, depth)
        matrix = lens.intrinsics
    depth = np.where(np.isfinite(depth), depth, 0)  # of a network that has lost itself
    if full_size:
        depth, confidence = fit.depth_back(depth, rgb), fit.confidence_back(confidence)
    return FrameResult(
        invert(pose).astype(np.float32), matrix.copy(), depth, confidence, 1.0 if lens is None else lens.ratio
    )


def _checked_lens(intrinsics: np.ndarray) -> np.ndarray:
    known = np.asarray(intrinsics, np.float64)
    if known.shape != (3, 3) or not np.isfinite(known).all() or not (known[[0, 1], [0, 1]] > 0).all():
        raise ConfigError(f"intrinsics should be a pinhole matrix (3, 3), found {known.tolist()}")
    return known
