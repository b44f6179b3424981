"""A network and a hand model with random numbers in their published sizes, and an image with squares for hands."""

from __future__ import annotations

import numpy as np
import torch

from geoflow.models.mano.body import JOINTS, SHAPES, HandBody
from geoflow.models.wilor.config import HandConfig
from geoflow.models.wilor.crops import Squares, squares_of
from geoflow.models.wilor.network import HandNetwork

_VERTICES = 778


def made_up_network(config: HandConfig, device: str | torch.device = "cpu") -> HandNetwork:
    """Return a network whose hands are nearly flat and before the camera."""
    torch.manual_seed(0)
    with torch.device(device):
        network = HandNetwork(config).eval()
    with torch.no_grad():
        network.backbone.init_cam.copy_(torch.tensor([[4.0, 0, 0]]))
        network.backbone.init_hand_pose.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(JOINTS)[None])
    return network


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
    """Return a smooth image of (width, height), and squares of hands of 40 px to half the height in it."""
    rng = np.random.default_rng(0)
    width, height = size
    side = np.geomspace(40, height / 2, count)[:, None]
    corner = rng.uniform(0, 1, (count, 2)) * (np.array(size) - side)
    boxes = np.concatenate((corner, corner + side * (0.8, 1)), axis=1)
    wave = np.sin(np.arange(height)[:, None, None] / 9 + np.arange(3)) * np.cos(np.arange(width)[:, None] / 7)
    image = np.rint(127 + 120 * wave).astype(np.uint8)
    return image, squares_of(boxes, np.arange(count) % 2 == 0, size)
