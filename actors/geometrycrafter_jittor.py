"""GeometryCrafter with its networks in Jittor, in `runtime_envs/geometrycrafter_jittor.yaml`.

The stage is `geometrycrafter`'s in all that it declares. Its networks are `geoflow/models/geometrycrafter_jittor`, and
read the same weights. Its environment is a Python of its own, in which there is no torch. Not run on a GPU yet, and not
with the published weights.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from actors.geometrycrafter import GeometryCrafter
from geoflow.errors import ConfigError
from geoflow.segments import Segment
from geoflow.stage import Fields, param


class GeometryCrafterJittor(GeometryCrafter):
    """Point maps as those of `geometrycrafter`, from the same weights, computed by Jittor in float32.

    Jittor compiles its core and its kernels on each machine; `geoflow envs build geometrycrafter_jittor` does so before
    a run. Otherwise the first actor does, and the others wait for it.
    """

    packages = ("jittor", "safetensors")
    version = "1"

    @dataclass(frozen=True)
    class Params(GeometryCrafter.Params):
        half_precision: bool = param(False, "of the backend geometrycrafter alone: Jittor computes in float32")

        def __post_init__(self) -> None:
            if self.half_precision:
                raise ConfigError("half_precision should be false: the networks in Jittor compute in float32")
            super().__post_init__()

    def warm(self) -> None:
        from geoflow.models.geometrycrafter_jittor import compiling

        self._start()
        from geoflow.models.geometrycrafter_jittor.warming import compile_kernels

        compile_kernels(compiling.cache_home(), self.params.model_type)

    def setup(self) -> None:
        self._start()
        self.load()

    def process(self, segment: Segment, fields: Fields) -> Fields:
        return self.compute(segment, fields)

    def teardown(self) -> None:
        super().teardown()
        if "jittor" in sys.modules:
            sys.modules["jittor"].gc()

    def _start(self) -> None:
        from geoflow.models.geometrycrafter_jittor import compiling

        with self._imports():
            compiling.import_jittor(self.params.device, self.threads)
        print(compiling.describe(), file=sys.stderr)

    def _package(self) -> Any:
        import geoflow.models.geometrycrafter_jittor

        return geoflow.models.geometrycrafter_jittor

    def _computing(self) -> tuple[Any, ...]:
        return ()
