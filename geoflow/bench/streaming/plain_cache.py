"""What a streaming network sees of earlier frames, as its rule is written down: lists, joined anew for each frame."""

from __future__ import annotations

import torch
from torch import Tensor

from geoflow.models.lingbot.config import SPECIAL
from geoflow.models.lingbot.network import LingbotNetwork, Stream

Pair = tuple[Tensor, Tensor]  # keys and values, (heads, tokens, d) each


def plain_stream(network: LingbotNetwork) -> Stream:
    """Return a stream of the network whose caches are plain."""
    stream, config = Stream(network), network.config
    stream.frames = [PlainFrames(config.scale_frames, config.window) for _ in range(config.depth)]  # type: ignore[misc]
    trunk = range(config.trunk_depth)
    stream.cameras = [[PlainTokens() for _ in trunk] for _ in range(config.iterations)]  # type: ignore[misc]
    return stream


class PlainFrames:
    """All kept frames of one global block, in the order of time."""

    def __init__(self, forever: int, window: int) -> None:
        self.forever, self.window = forever, window
        self.frames: list[Pair] = []

    @property
    def kept(self) -> int:
        """Frames kept so far."""
        return len(self.frames)

    def begin(self, q: Tensor, k: Tensor, v: Tensor, count: int) -> Tensor:
        """See `FrameCache`."""
        self.frames += zip(k.chunk(count, dim=-2), v.chunk(count, dim=-2))
        return softmax_attention(q, k, v)

    def keep_and_see(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `FrameCache`."""
        self.frames.append((k, v))
        return softmax_attention(q, *joined(self._seen()))

    def see(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `FrameCache`."""
        return softmax_attention(q, *joined([*self._seen(), (k, v)]))

    def _seen(self) -> list[Pair]:
        late = len(self.frames) - self.window
        return [
            (k, v) if i < self.forever or i >= late else (k[:, :SPECIAL], v[:, :SPECIAL])
            for i, (k, v) in enumerate(self.frames)
        ]


class PlainTokens:
    """One token of each kept frame, for one block of the camera head."""

    def __init__(self) -> None:
        self.frames: list[Pair] = []

    def see(self, q: Tensor, k: Tensor, v: Tensor, *, keep: bool) -> Tensor:
        """See `TokenCache`."""
        seen = [*self.frames, (k, v)]
        self.frames = seen if keep else self.frames
        return softmax_attention(q, *joined(seen))


def joined(pairs: list[Pair]) -> Pair:
    """Return the tokens of all pairs, one after another."""
    keys, values = zip(*pairs)
    return torch.cat(keys, dim=-2), torch.cat(values, dim=-2)


def softmax_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention with all its scores at once."""
    return torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1) @ v
