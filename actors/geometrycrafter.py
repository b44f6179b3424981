"""GeometryCrafter (Xu et al. 2025, arXiv:2504.01016) in `runtime_envs/geometrycrafter.yaml`.

The networks and the streaming pipeline are in `geoflow/models/geometrycrafter`. This module takes a segment and its
prior, and gives its point maps. Not run with the published weights yet: the tests run it on a CPU with small made-up
weights, and `benchmarks/gpu` runs its networks on a GPU at full size.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.backends.torch_stage import TorchStage
from geoflow.errors import InputError
from geoflow.models.geometrycrafter.options import Options, nearest_size
from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param
from geoflow.store.whole import whole_draft
from geoflow.workers.declaration import option
from geoflow.workers.pipeline_worker import PipelineWorker

_PIPELINES = {"jittor": "geometry-jittor", "torch": "geometry"}
_WHOLE_SIZE = 16_384  # px of the longer side, the most that is decoded


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
        crafter, _, base = self.located().values()
        self._networks: Any = self._package().from_pretrained(crafter, base, self.params.model_type)
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
        options = self.params.at(height, width)
        if self.model is None or self.model.options != options:
            self.model = self._package().GeometryCrafter(self._networks, options, *self._computing())
        return self.model

    def _package(self) -> Any:
        """Return the package of the networks; it is imported in the stage's own process alone."""
        import geoflow.models.geometrycrafter

        return geoflow.models.geometrycrafter

    def _computing(self) -> tuple[Any, ...]:
        """Return where the networks compute, and in which precision."""
        return self.device, self.dtype

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


class GeometryCrafterWorker(PipelineWorker):
    """Point maps of a video by the whole pipeline, with the options of GeometryCrafter's scripts: writes an .npz file.

    SAVE_FOLDER/NAME.npz holds point_map (T,H,W,3) float16 and mask (T,H,W) bool, as the scripts write them. The store
    that the run leaves in SAVE_FOLDER/NAME.geoflow has more, and a second call continues from it. MoGe runs in its own
    environment, and GeometryCrafter in that of the framework: docs/jittor.md.
    """

    @dataclass(frozen=True)
    class Request:
        video_path: str = option("VIDEO", "the video")
        save_folder: str = option("FOLDER", "where to write NAME.npz", default="workspace/output/")
        cache_dir: str | None = option("FOLDER", "where the hub's weights are kept", default=None)
        height: int | None = option("PX", "at which the networks work, a multiple of 64; as the video's", default=None)
        width: int | None = option("PX", "a multiple of 64; as the video's", default=None)
        downsample_ratio: float = option("N", "factor by which frames are made smaller first", default=1.0)
        num_inference_steps: int = option("N", "of the scheduler; diff only", default=5)
        guidance_scale: float = option("N", "of classifier-free guidance, 1: none; diff only", default=1.0)
        window_size: int = option("N", "frames the UNet sees at once", default=110)
        decode_chunk_size: int = option("N", "frames decoded together", default=8)
        overlap: int = option("N", "frames that neighbouring windows share", default=25)
        process_length: int = option("N", "frames to process, -1: all", default=-1)
        process_stride: int = option("N", "take every Nth frame", default=1)
        seed: int = option("N", "of the start noise; diff only", default=42)
        model_type: str = option("diff|determ", "diffusion, or the deterministic variant", default="diff")
        force_projection: bool = option("True|False", "one focal length per frame", default=True, spelt_out=True)
        force_fixed_focal: bool = option("True|False", "one per video", default=True, spelt_out=True)
        use_extract_interp: bool = option("True|False", "resize by nearest neighbours", default=False, spelt_out=True)
        track_time: bool = option("True|False", "not used: the run's report has times", default=False, spelt_out=True)
        low_memory_usage: bool = option("True|False", "slower, with less memory", default=False, spelt_out=True)
        framework: str = option("jittor|torch", "in which the networks run", default="jittor")

    def read(self, request: Request) -> Request:
        """Return the request. Raises InputError or ConfigError if its options do not fit together."""
        if not Path(request.video_path).exists():
            raise InputError(f"{request.video_path} does not exist; check --video_path")
        if request.framework not in _PIPELINES:
            raise InputError(f"--framework should be one of {', '.join(_PIPELINES)}, found {request.framework!r}")
        if request.process_stride < 1:
            raise InputError(f"--process_stride should be at least 1, found {request.process_stride}")
        GeometryCrafter.Params(**self._options(request))
        return request

    def answer(self, request: Request) -> dict[str, Any]:
        video, folder = Path(request.video_path), Path(request.save_folder)
        settings = {f"geometry.{name}": value for name, value in self._options(request).items()}
        settings["decode.long_side"] = _WHOLE_SIZE
        flags = ["--limit", str(request.process_length)] if request.process_length > 0 else []
        if request.process_stride > 1:
            flags += ["--fps", str(_frame_rate(video) / request.process_stride)]
        if request.cache_dir:
            os.environ["HF_HUB_CACHE"] = str(Path(request.cache_dir).absolute())
        store = self.run(video, folder / f"{video.stem}.geoflow", _PIPELINES[request.framework], settings, flags)
        path = folder / f"{video.stem}.npz"
        _write_point_maps(store, path)
        return {"npz": str(path), "store": str(store)}

    @staticmethod
    def _options(request: Request) -> dict[str, Any]:
        names = {row.name for row in dataclasses.fields(Options)}
        return {name: value for name, value in dataclasses.asdict(request).items() if name in names}


def _frame_rate(video: Path) -> float:
    from geoflow.video.probe import probe

    return probe(str(video), video.stem)[0].fps


def _write_point_maps(store: Path, path: Path) -> None:
    """Write the point maps of a store as GeometryCrafter's scripts do; points outside the mask are 0."""
    from geoflow.store.reader import open_video

    with open_video(store) as video:
        points = np.zeros((len(video), *video.mask[0].shape, 3), np.float16)
        for i in range(len(video)):
            points[i] = np.nan_to_num(video.points(i))
        mask = video.mask[:]
    with whole_draft(path) as draft, open(draft, "wb") as file:
        np.savez(file, point_map=points, mask=mask.astype(bool))
