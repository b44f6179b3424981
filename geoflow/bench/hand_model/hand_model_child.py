"""One measurement in its own process: `python -m geoflow.bench.hand_model.hand_model_child JSON`; prints an object."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import torch

from geoflow.bench.geometry.geometry_child import resident_mb
from geoflow.bench.hand_model.plain_hands import PlainHands
from geoflow.models.mano.body import JOINTS, SHAPES, HandBody
from geoflow.models.wilor.config import HandConfig
from geoflow.models.wilor.crops import Squares, cut, squares_of
from geoflow.models.wilor.hand_model import HandModel
from geoflow.models.wilor.network import HandNetwork

_VERTICES = 778


@dataclass(frozen=True)
class HandFigures:
    """The cost of a number of hands on the CPU, with one thread."""

    crop_seconds: float  # CPU, all hands
    network_seconds: float  # CPU, all hands
    peak_mb: float  # resident, the whole process
    loaded_mb: float  # resident before the first hand: Python, torch, weights
    checksum: float  # mean absolute coordinate of the joints, m: both ways must have the same


def made_up_body() -> HandBody:
    """Return a hand model with MANO's shapes and random numbers."""
    rng = np.random.default_rng(0)
    weights = rng.random((_VERTICES, JOINTS)) ** 8
    regressor = rng.random((JOINTS, _VERTICES)) ** 8
    parents = [0, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14]
    return HandBody.from_arrays(
        {
            "v_template": rng.normal(0, 0.05, (_VERTICES, 3)),
            "shapedirs": rng.normal(0, 0.002, (_VERTICES, 3, SHAPES)),
            "posedirs": rng.normal(0, 0.0005, (_VERTICES, 3, (JOINTS - 1) * 9)),
            "J_regressor": regressor / regressor.sum(1, keepdims=True),
            "weights": weights / weights.sum(1, keepdims=True),
            "kintree_table": np.array([parents, range(JOINTS)]),
            "f": rng.integers(0, _VERTICES, (1538, 3)),
        }
    )


def made_up_squares(count: int, size: tuple[int, int]) -> tuple[np.ndarray, Squares]:
    """Return smooth noise of (width, height), and squares of hands of 40 px to half the height in it."""
    rng = np.random.default_rng(0)
    width, height = size
    side = np.geomspace(40, height / 2, count)[:, None]
    corner = rng.uniform(0, 1, (count, 2)) * (np.array(size) - side)
    boxes = np.concatenate((corner, corner + side * (0.8, 1)), axis=1)
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    image = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)
    return image, squares_of(boxes, np.arange(count) % 2 == 0, size)


def measure(job: dict[str, Any]) -> HandFigures:
    """Compute hands with one thread; `job` has way (ours or plain), hands, depth (layers) and size (width, height)."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network, body = HandNetwork(HandConfig(depth=job["depth"])).eval(), made_up_body()
    with torch.no_grad():
        network.backbone.init_cam.copy_(torch.tensor([[4.0, 0, 0]]))
        network.backbone.init_hand_pose.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(JOINTS)[None])
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
