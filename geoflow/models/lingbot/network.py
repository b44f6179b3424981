"""The network as a whole, and one video's way through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geoflow.errors import InputError
from geoflow.models.lingbot.aggregator import Aggregator
from geoflow.models.lingbot.camera_head import CameraHead
from geoflow.models.lingbot.config import LingbotConfig
from geoflow.models.lingbot.depth_head import DepthHead


class LingbotNetwork(nn.Module):
    """LingBot-Map (arXiv:2604.14141): pose, field of view and depth of each frame, from earlier frames only."""

    def __init__(self, config: LingbotConfig) -> None:
        super().__init__()
        self.config = config
        self.aggregator = Aggregator(config)
        self.camera_head = CameraHead(config)
        self.depth_head = DepthHead(config)

    def products_in(self, dtype: torch.dtype) -> LingbotNetwork:
        """Let products of the aggregator, and so its cache, have this dtype; norms, sums and heads stay float32."""
        for module in self.aggregator.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.to(dtype)
        return self


@dataclass
class Seen:
    """What the network says of S frames."""

    encoding: Tensor  # (S, 9)
    depth: Tensor  # (S, H, W)
    confidence: Tensor  # (S, H, W), from 1 on

    def __len__(self) -> int:
        return len(self.encoding)

    def __getitem__(self, part: slice) -> Seen:
        return Seen(self.encoding[part], self.depth[part], self.confidence[part])

    @classmethod
    def none(cls) -> Seen:
        """Return what it says of no frame."""
        return cls(torch.zeros(0, 9), torch.zeros(0, 1, 1), torch.zeros(0, 1, 1))

    @classmethod
    def joined(cls, parts: list[Seen]) -> Seen:
        """Return the frames of all parts, one after another."""
        return cls(
            *(torch.cat([getattr(part, name) for part in parts]) for name in ("encoding", "depth", "confidence"))
        )


class Stream:
    """One video's way through the network: its first frames at once with `begin`, then one frame after another.

    `expected` is the number of frames that will be kept: room for them is taken at once. 0: not known; then room is
    taken by and by. `forever` and `window` say what is seen of kept frames, `iterations` how often a pose is refined;
    None is what the network was trained with.
    """

    def __init__(
        self,
        network: LingbotNetwork,
        expected: int = 0,
        *,
        forever: int | None = None,
        window: int | None = None,
        iterations: int | None = None,
    ) -> None:
        self.network = network
        self.frames = network.aggregator.caches(expected, forever=forever, window=window)
        self.cameras = network.camera_head.caches(expected, iterations=iterations)

    @property
    def kept(self) -> int:
        """Frames kept so far: the time of the next one."""
        return self.frames[0].kept

    def begin(self, pictures: Tensor) -> Seen:
        """Take the first pictures (S, 3, H, W) in 0..1, which all see each other, and keep them."""
        return self._through(pictures, begin=True)

    def next(self, picture: Tensor, *, keep: bool = True) -> Seen:
        """Take the next picture (1, 3, H, W). One that is not kept leaves no trace."""
        return self._through(picture, begin=False, keep=keep)

    def try_next(self, picture: Tensor) -> Seen:
        """Take the next picture; `keep_tried` keeps it afterwards. The camera head keeps it anyway."""
        return self._through(picture, begin=False, keep=False, keep_camera=True)

    def keep_tried(self) -> None:
        """Keep the picture that `try_next` took."""
        for cache in self.frames:
            cache.keep_seen()

    def _through(self, pictures: Tensor, *, begin: bool, keep: bool = True, keep_camera: bool | None = None) -> Seen:
        self._check_room(len(pictures))
        levels = self.network.aggregator(pictures, self.frames, begin=begin, keep=keep)
        kept = keep if keep_camera is None else keep_camera
        encoding = self.network.camera_head(levels[-1][:, 0], self.cameras, keep=kept)[-1]
        return Seen(encoding, *self.network.depth_head(levels, tuple(pictures.shape[2:])))

    def _check_room(self, count: int) -> None:
        limit = self.network.config.max_frames
        if self.kept + count > limit:
            raise InputError(
                f"LingBot-Map can keep {limit} frames of one stream and has kept {self.kept}; "
                "keep fewer (keyframe_interval), or divide the video (window_size)"
            )


def next_abreast(streams: Sequence[Stream], pictures: Tensor, *, keep: bool = True) -> Seen:
    """Take the next picture of each of B streams of one network, (B, 3, H, W) in 0..1, which all have begun.

    The streams may have kept different numbers of frames. What is found is that of `Stream.next`, up to rounding.
    """
    for stream in streams:
        stream._check_room(1)
    network = streams[0].network
    levels = network.aggregator.abreast(pictures, [stream.frames for stream in streams], keep=keep)
    encoding = network.camera_head.abreast(levels[-1][:, 0], [stream.cameras for stream in streams], keep=keep)[-1]
    return Seen(encoding, *network.depth_head(levels, (pictures.shape[2], pictures.shape[3])))
