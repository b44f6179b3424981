"""LingBot-Map (arXiv:2604.14141): poses, fields of view and depth of a video, frame by frame in bounded memory.

    streamer = from_checkpoint("lingbot-map.pt", "cuda", torch.bfloat16)
    for result in streamer.run(frames):  # (H, W, 3) u8 each
        result.cam_from_world, result.intrinsics, result.depth, result.confidence

Options and sizes need no torch; the rest imports it when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoflow.models.lingbot.config import LingbotConfig
from geoflow.models.lingbot.options import StreamOptions
from geoflow.models.on_demand import on_demand

if TYPE_CHECKING:
    from geoflow.models.lingbot.checkpoint import from_checkpoint
    from geoflow.models.lingbot.network import LingbotNetwork
    from geoflow.models.lingbot.streamer import FrameResult, Streamer

__all__ = ["FrameResult", "LingbotConfig", "LingbotNetwork", "StreamOptions", "Streamer", "from_checkpoint"]

_MODULES = {
    "FrameResult": "streamer",
    "LingbotNetwork": "network",
    "Streamer": "streamer",
    "from_checkpoint": "checkpoint",
}

__getattr__ = on_demand(__name__, _MODULES)
