"""A stage that takes real GPU memory, for tests of what happens when there is not enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param


class Hungry(Stage):
    """Fills `mib` of the GPU for each frame of a segment, then lets go of it; 24 of them are twice as much as 12."""

    slot = "geometry"
    inputs = ("prior.mask",)
    outputs = ("geometry.mask",)
    ladder = ({"mib": 256},)

    @dataclass(frozen=True)
    class Params(Stage.Params):
        mib: int = param(512, "MiB per frame")

    def process(self, segment: Segment, fields: Fields) -> Fields:
        import torch

        taken: list[Any] = []
        for _ in range(len(segment)):
            taken.append(torch.full((self.params.mib << 20,), 7, dtype=torch.uint8, device="cuda"))
        assert all(int(block[-1]) == 7 for block in taken)
        return {"geometry.mask": np.array(fields["prior.mask"])}
