"""One measurement in its own process: `python -m geoflow.bench.streaming.streaming_child JSON`.

It prints a JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from typing import Any

import torch

from geoflow.bench.geometry.geometry_child import Measurement, resident_mb
from geoflow.bench.streaming.plain_cache import plain_stream
from geoflow.models.lingbot.config import LingbotConfig
from geoflow.models.lingbot.network import LingbotNetwork, Stream, next_abreast


def middle_config(window: int) -> LingbotConfig:
    """Return a third of the published widths and half of its depth, with a smaller cache."""
    return LingbotConfig(
        embed_dim=384,
        heads=6,
        depth=12,
        selected=(2, 5, 8, 11),
        vit_depth=12,
        vit_heads=6,
        camera_heads=6,
        dpt_features=64,
        dpt_channels=(64, 128, 256, 256),
        window=window,
        scale_frames=4,
    )


def measure(job: dict[str, Any]) -> Measurement:
    """Stream noise with one thread; `job` has way, frames, size (height, width), window and videos.

    way: ours; plain; or abreast, which takes a frame of each of so many `videos` at a time.

    Time is that of the frames after the first window, when the cache is full.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = middle_config(job["window"])
    network = LingbotNetwork(config).eval().requires_grad_(False)
    filling = config.scale_frames + config.window
    pictures = torch.rand(8, 3, *job["size"])  # then they are repeated
    loaded = resident_mb("VmRSS")
    with torch.inference_mode():
        count = job["videos"] if job["way"] == "abreast" else 1
        plain = job["way"] == "plain"
        streams = [plain_stream(network) if plain else Stream(network, filling + job["frames"]) for _ in range(count)]
        for stream in streams:
            stream.begin(pictures[: config.scale_frames])
            for k in range(config.window):
                stream.next(pictures[k % 8 : k % 8 + 1])
        wall, cpu = time.perf_counter(), time.process_time()
        for k in range(job["frames"]):
            if count > 1:
                next_abreast(streams, pictures[[(k + video) % 8 for video in range(count)]])
            else:
                streams[0].next(pictures[k % 8 : k % 8 + 1])
    return Measurement(time.perf_counter() - wall, time.process_time() - cpu, resident_mb("VmHWM"), loaded)


if __name__ == "__main__":
    print(json.dumps(asdict(measure(json.loads(sys.argv[1])))))
