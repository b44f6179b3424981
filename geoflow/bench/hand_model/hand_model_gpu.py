"""The network at full size on a GPU: `python -m geoflow.bench.hand_model.hand_model_gpu JSON`; a JSON object per line.

It needs torch and NumPy alone. It also runs on a CPU with few layers, so that a measurement can be rehearsed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from geoflow.bench.hand_model.made_up_hands import made_up_body, made_up_network
from geoflow.models.wilor.config import CROP, HandConfig
from geoflow.models.wilor.hand_model import HandModel

_LEAST_HANDS = 64  # measured for each batch size


def measure_on_gpu(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the device and the size of the weights, then a row for each dtype and batch size.

    `job` has device, batches (numbers of hands at once) and depth (layers; 32 in the published network). A row has
    hands_per_s, from crops on the CPU to hands on the CPU, and the peak memory with the weights.
    """
    device = torch.device(job["device"])
    network, body = made_up_network(HandConfig(depth=job["depth"]), device), made_up_body()
    weights = sum(p.numel() * p.element_size() for p in network.parameters()) / 1e6
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    yield {"device": name, "torch": torch.__version__, "weights_mb": weights}
    for dtype in (torch.float32, torch.float16) if device.type == "cuda" else (torch.float32,):
        model = HandModel(network, body, str(device), None if dtype == torch.float32 else dtype)
        for batch in job["batches"]:
            yield {"dtype": str(dtype).removeprefix("torch."), "batch": batch, **_timed(model, batch, device)}


def _timed(model: HandModel, batch: int, device: torch.device) -> dict[str, float | str]:
    on_gpu = device.type == "cuda"
    hands = max(batch, _LEAST_HANDS if on_gpu else batch)
    crops = np.random.default_rng(0).uniform(0, 255, (hands, 3, CROP, CROP)).astype(np.float32)
    try:
        model.forward(crops[:batch], batch)  # chooses kernels
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
            torch.cuda.synchronize()
        began = time.perf_counter()
        model.forward(crops, batch)  # its results are on the CPU: nothing is left to wait for
    except torch.cuda.OutOfMemoryError as error:
        return {"out_of_memory": str(error).splitlines()[0]}
    found: dict[str, float | str] = {"hands_per_s": hands / (time.perf_counter() - began)}
    return found | ({"peak_mb": torch.cuda.max_memory_allocated() / 1e6} if on_gpu else {})


if __name__ == "__main__":
    for row in measure_on_gpu(json.loads(sys.argv[1])):
        print(json.dumps(row), flush=True)
