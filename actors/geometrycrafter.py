"""GeometryCrafter (Xu et al. 2025, arXiv:2504.01016) in `runtime_envs/geometrycrafter.yaml`.

The networks and the streaming pipeline are in `geoflow/models/geometrycrafter`. This module takes a segment and its
prior, and gives its point maps. Not run with the published weights yet: the tests run it on a CPU with small made-up
weights, and `benchmarks/gpu` runs its networks on a GPU at full size.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoflow.backends.torch_stage import TorchStage
from geoflow.models.geometrycrafter.options import Options, nearest_size
from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param


class GeometryCrafter(TorchStage):
    """Point maps that are consistent over a segment, in the segment's mean depth, from frames and any prior.

    A segment is one video for GeometryCrafter. It is processed in windows of `window_size` frames, so memory does not
    grow with its length. The same segment, options and weights give the same result on the same kind of device.

    A known camera replaces the field of view that the networks find. Frames in which the prior has no valid pixel at
    all stay unknown in the result.
    """

    slot = "geometry"
    inputs = ("frames.rgb", "prior.points", "prior.mask", "prior.intrinsics")
    outputs = ("geometry.points", "geometry.mask", "geometry.intrinsics")
    honours = frozenset({"intrinsics"})
    packages = ("torch", "safetensors")
    divisible = False  # each half would have its own scale
    version = "2"  # since the start noise is numpy's

    @dataclass(frozen=True)
    class Params(Options, TorchStage.Params):
        height: int | None = param(  # type: ignore[assignment]
            None, "px at which the networks work, a multiple of 64; as the frames' if not given"
        )
        width: int | None = param(None, "px")  # type: ignore[assignment]
        weights: str = param("", "folder laid out as TencentARC/GeometryCrafter; empty: from the hub, as pinned")
        base_weights: str = param("", "the same for stabilityai/stable-video-diffusion-img2vid-xt")

        def __post_init__(self) -> None:
            self.at(576, 1024)

        def at(self, height: int, width: int) -> Options:
            """The options for frames of this size. Raises ConfigError when they cannot work."""
            own = {row.name: getattr(self, row.name) for row in dataclasses.fields(Options)}
            own["height"] = nearest_size(height) if self.height is None else self.height
            own["width"] = nearest_size(width) if self.width is None else self.width
            return Options(**own)

    def __init__(self, params: Stage.Params | None = None) -> None:
        super().__init__(params)
        self.ladder = self.params.at(576, 1024).cheaper()

    def weights(self) -> dict[str, str]:
        own = self.params.weights
        return {self.params.model_type: own, "point_map_vae": own, "base": self.params.base_weights}

    def load(self) -> Any:
        from geoflow.models.geometrycrafter import from_pretrained

        crafter, _, base = self.located().values()
        self._networks: Any = from_pretrained(crafter, base, self.params.model_type)
        return None  # the pipeline, which `_at` makes for the size of the frames

    def compute(self, segment: Segment, fields: Fields) -> Fields:
        from geoflow.models.geometrycrafter.collecting import LEAST_VALID, collect_in_half

        frames, mask = fields["frames.rgb"], fields["prior.mask"]
        count, height, width = frames.shape[:3]
        if mask.mean() < LEAST_VALID:
            return _nothing(fields)
        found = self._at(height, width).reconstruct(frames, fields["prior.points"], mask)
        maps = collect_in_half(found, count, (height, width), segment.video.known_intrinsics)
        return _nothing(fields) if maps is None else dict(zip(self.outputs, maps))

    def _at(self, height: int, width: int) -> Any:
        """Return the pipeline for frames of this size; all frames of one video have the same size."""
        from geoflow.models.geometrycrafter import GeometryCrafter as Crafter

        options = self.params.at(height, width)
        if self.model is None or self.model.options != options:
            self.model = Crafter(self._networks, options, self.device, self.dtype)
        return self.model

    def teardown(self) -> None:
        self._networks = None
        super().teardown()


def _nothing(fields: Fields) -> Fields:
    """Return the outputs for a segment without a usable prior: no depth, and the prior's intrinsics."""
    count, height, width = fields["prior.mask"].shape
    return {
        "geometry.points": np.zeros((count, height, width, 3), np.float16),
        "geometry.mask": np.zeros((count, height, width), bool),
        "geometry.intrinsics": fields["prior.intrinsics"].copy(),
    }
