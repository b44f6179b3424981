"""The whole network, with parameters named as in the published checkpoint: crops to hands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from geoflow.models.mano.body import HandBody, PosedHands
from geoflow.models.mano.rotations import from_six
from geoflow.models.wilor.backbone import Backbone, Numbers
from geoflow.models.wilor.config import COLUMNS, CROP, JOINTS, TRAINING_FOCAL, HandConfig
from geoflow.models.wilor.projection import projected, translation
from geoflow.models.wilor.refinement import Refinement


@dataclass(frozen=True)
class Prediction:
    """N hands as the network gives them: all as right hands, about the hand model's origin, in metres."""

    numbers: Numbers
    rotations: Tensor  # (N, 16, 3, 3), the whole hand's first, then of each joint relative to its parent
    vertices: Tensor  # (N, V, 3)
    joints: Tensor  # (N, 21, 3), wrist, then thumb to little finger, base to tip

    @property
    def crop_translation(self) -> Tensor:
        """The hands' place (N, 3) before a camera with a focal length of 5000 px for the crop's 256."""
        return translation(self.numbers.camera, TRAINING_FOCAL, CROP)

    @property
    def crop_uv(self) -> Tensor:
        """The joints (N, 21, 2) in parts of the crop's side from its centre: -0.5..0.5 is inside."""
        return projected(self.joints, self.numbers.camera, TRAINING_FOCAL, CROP)

    def rows(self, index: Any) -> Prediction:
        """Return some of the hands."""
        numbers = Numbers(*(getattr(self.numbers, row.name)[index] for row in fields(Numbers)))
        return Prediction(numbers, self.rotations[index], self.vertices[index], self.joints[index])


def joined(parts: Sequence[Prediction]) -> Prediction:
    """Return the hands of several predictions in one, float32 on the CPU."""

    def one(name: str, of: Sequence[Any]) -> Tensor:
        return torch.cat([getattr(part, name).float().cpu() for part in of])

    numbers = Numbers(*(one(row.name, [part.numbers for part in parts]) for row in fields(Numbers)))
    return Prediction(numbers, *(one(name, parts) for name in ("rotations", "vertices", "joints")))


class HandNetwork(nn.Module):
    """Backbone and refinement. The hand model is no part of the module: its licence is its own."""

    def __init__(self, config: HandConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.refine_net = Refinement(config.width, config.grid[0])

    def forward(self, image: Tensor, body: HandBody) -> Prediction:
        """Return the hands in normalised crops (N, 3, 256, 256), RGB, all as right hands."""
        first, features = self.first_look(image)
        with torch.autocast(image.device.type, enabled=False):  # what follows decides millimetres, and is little work
            coarse = posed(first, body)
            return prediction_of(self.refine_net(features.float(), coarse.vertices, first), body)

    def first_look(self, image: Tensor) -> tuple[Numbers, Tensor]:
        """Return the estimate before its refinement, and the features (N, width, 16, 12)."""
        numbers, features = self.backbone(image[..., COLUMNS])
        return numbers, features


def prediction_of(numbers: Numbers, body: HandBody) -> Prediction:
    """Return the hands of a network's numbers."""
    hands = posed(numbers, body)
    return Prediction(numbers, rotations_of(numbers), hands.vertices, hands.joints)


def posed(numbers: Numbers, body: HandBody) -> PosedHands:
    """Return the hand model in the pose and shape of a network's numbers."""
    return body.pose(rotations_of(numbers), numbers.betas)


def rotations_of(numbers: Numbers) -> Tensor:
    """Return the rotations (N, 16, 3, 3) of a network's numbers."""
    found: Tensor = from_six(numbers.pose.unflatten(-1, (JOINTS, 6)))
    return found
