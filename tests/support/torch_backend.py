"""A whole torch backend, as docs/adding-a-model.md shows it: what is in it is its model, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from geoflow.backends.torch_stage import TorchStage, read_checkpoint
from geoflow.models.half_range import points_in_half
from geoflow.segments import Segment
from geoflow.stage import Fields, param


class FlatDepth(TorchStage):
    """Depth by one convolution over the picture, in no scale in particular; a camera of 60 degrees is assumed."""

    slot = "prior"
    inputs = ("frames.rgb",)
    outputs = ("prior.points", "prior.mask", "prior.intrinsics")
    ladder = ({"batch_size": 1},)
    licence, commercial = "Apache-2.0", True

    @dataclass(frozen=True)
    class Params(TorchStage.Params):
        weights: str = param("", "folder with model.pt")
        batch_size: int = param(8, "frames computed at once", at_least=1)

    def weights(self) -> dict[str, str]:
        return {"model": self.params.weights}

    def load(self) -> Any:
        import torch

        network = torch.nn.Conv2d(3, 1, 3, padding=1)
        path = self.located()["model"] / "model.pt"
        network.load_state_dict(read_checkpoint(path, lambda file: torch.load(file, weights_only=True)))
        return network

    def compute(self, segment: Segment, fields: Fields) -> Fields:
        import torch

        frames = fields["frames.rgb"]
        count, height, width = frames.shape[:3]
        points = np.zeros((count, height, width, 3), np.float16)
        mask = np.zeros((count, height, width), bool)
        focal = width / (2 * np.tan(np.radians(30)))
        camera = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]], np.float32)
        v, u = torch.meshgrid(*(torch.arange(side, device=self.device) for side in (height, width)), indexing="ij")
        rays = torch.stack([(u - camera[0, 2]) / focal, (v - camera[1, 2]) / focal, torch.ones_like(u)], dim=-1)
        for start in range(0, count, self.params.batch_size):
            part = slice(start, start + self.params.batch_size)
            with self.autocast():
                depth = self.model(self.images(frames[part]))[:, 0].float().exp()
            found = points_in_half(rays * depth[..., None], torch.isfinite(depth))
            points[part], mask[part] = (tensor.cpu().numpy() for tensor in found)
        return {"prior.points": points, "prior.mask": mask, "prior.intrinsics": np.tile(camera, (count, 1, 1))}
