"""One measurement in its own process: `python -m geoflow.bench.hand_model.hand_model_child JSON`; prints an object."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from geoflow.bench.geometry.geometry_child import resident_mb
from geoflow.bench.hand_model.made_up_hands import made_up_body, made_up_network, made_up_squares
from geoflow.bench.hand_model.plain_hands import PlainHands
from geoflow.models.wilor.config import HandConfig
from geoflow.models.wilor.crops import cut
from geoflow.models.wilor.hand_model import HandModel


@dataclass(frozen=True)
class HandFigures:
    """The cost of a number of hands on the CPU, with one thread."""

    crop_seconds: float  # CPU, all hands
    network_seconds: float  # CPU, all hands
    peak_mb: float  # resident, the whole process
    loaded_mb: float  # resident before the first hand: Python, torch, weights
    checksum: float  # mean absolute coordinate of the joints, m: both ways must have the same


def measure(job: dict[str, Any]) -> HandFigures:
    """Compute hands with one thread; `job` has way (ours or plain), hands, depth (layers) and size (width, height)."""
    torch.set_num_threads(1)
    network, body = made_up_network(HandConfig(depth=job["depth"])), made_up_body()
    image, squares = made_up_squares(job["hands"], tuple(job["size"]))
    ours, plain = HandModel(network, body), PlainHands(network, body)
    loaded, start = resident_mb("VmRSS"), time.process_time()
    with torch.inference_mode():
        if job["way"] == "ours":
            crops = cut(image, squares)
            between = time.process_time()
            joints = [ours.forward(crops, job["batch"]).joints]
        else:
            each = [plain.crop(image, squares, k) for k in range(job["hands"])]
            between = time.process_time()
            joints = [plain.forward(crop).joints for crop in each]
    seconds = between - start, time.process_time() - between
    checksum = float(torch.cat(joints).abs().mean())
    return HandFigures(*seconds, resident_mb("VmHWM"), loaded, checksum)


if __name__ == "__main__":
    print(json.dumps(asdict(measure(json.loads(sys.argv[1])))))
