"""ViPE's own tracker, the installed package `nvidia-vipe`, by which `vipe` can be judged.

The package is in a Python of its own (`runtime_envs/vipe_upstream.yaml`), and needs CUDA. Not run with the package
itself yet: the tests run the stage with another package of the same calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from actors.vipe import TrackedFrames, Vipe
from geoflow.errors import ConfigError
from geoflow.fields import LENS_FROM_GUESS, LENS_GIVEN
from geoflow.segments import Segment, Span
from geoflow.stage import Fields, Stage, param


class VipeUpstream(Vipe):
    """Poses and one shared pinhole matrix as the published program finds them; unit and depth by `vipe`'s rules.

    Frames, masks and a known camera are given in memory, and so come the results back. The prior does not take part in
    the tracking: ViPE has a network of its own for that (`keyframe_depth`). Objects are not looked for; masks say what
    moves.
    """

    packages = ("torch", "nvidia-vipe")
    optional_outputs = ("camera.unit", "camera.lens", "camera.depth_source")  # ViPE says nothing of its quality
    version = "1"
    ladder = ({"keyframe_depth": ""},)

    @dataclass(frozen=True)
    class Params(Stage.Params):
        device: str = param("auto", "auto: the GPU, without which ViPE does not work")
        chapter: int = param(
            480, "frames that are tracked together; ViPE keeps them in memory, in float32", at_least=2, at_most=960
        )
        keyframe_depth: str = param(
            "unidepth-l", "ViPE's network for the depth of keyframes, by its name there; empty: none"
        )
        momentum: float = param(
            0.0, "share of the last frames in how the prior is brought to the tracker's depth", at_least=0,
            at_most=0.9999,
        )  # fmt: skip
        depth_width: int = param(480, "working width, px, of the multi-view depth of a 4:3 picture", at_least=16)
        sources: int = param(6, "other frames that a frame's multi-view depth is computed against", at_least=1)
        area: ClassVar[int] = 384 * 512  # pixels at work; ViPE knows no other

    def weights(self) -> dict[str, str]:
        return {}  # the package downloads its own

    def load(self) -> Any:
        from geoflow.models.vipe.upstream import UpstreamTracker

        if self.params.device == "auto" and self.device == "cpu":
            raise ConfigError("vipe_upstream works on a GPU alone, and torch finds none here; use the backend vipe")
        return UpstreamTracker(self.device, self.params.keyframe_depth or None)

    @staticmethod
    def _fit(height: int, width: int, area: int) -> Any:
        from geoflow.models.vipe.preparing import fit_of

        return fit_of(height, width, area, enlarge=True)

    def _start_focal(self, span: Span, focals: np.ndarray) -> tuple[float, int]:
        known = span.video.known_intrinsics
        return (0.0, LENS_FROM_GUESS) if known is None else (float(known[0, 0]), LENS_GIVEN)

    def _track(self, span: Span, frames: TrackedFrames, prior: Any, begin: float) -> Any:
        from geoflow.models.vipe.upstream import Clip

        def pairs() -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
            masks = frames.masks()
            for rgb in frames:
                yield rgb, next(masks)

        video = span.video
        known = video.known_intrinsics
        clip = Clip(video.name, span.stop - span.start, (video.height, video.width), video.fps, pairs)
        return self.model.run(clip, known, video.distortion if known is not None else None)

    def compute(self, segment: Segment, fields: Fields) -> Fields:
        made = super().compute(segment, fields)
        del made["camera.quality"]
        return made
