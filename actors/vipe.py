"""ViPE's cameras (Huang et al. 2025, arXiv:2508.10934) in `runtime_envs/vipe.yaml`.

The tracker is in `geoflow/models/vipe`. This module tracks a chapter, and gives its segments their poses and depth. Not
run with the published weights yet: the tests run it on a CPU with made-up weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geoflow.backends.torch_stage import TorchStage
from geoflow.fields import (
    DEPTH_MATCHED,
    DEPTH_NONE,
    LENS_FROM_GUESS,
    LENS_FROM_PRIOR,
    LENS_FROM_STATED,
    LENS_GIVEN,
    MOTION_MOVING,
    MOTION_ROTATING,
    MOTION_STILL,
    MOTION_UNKNOWN,
    UNIT_OWN,
)
from geoflow.models.half_range import HALF_MAX
from geoflow.segments import Segment, Span, VideoInfo
from geoflow.stage import CONDENSED, SHARED, Fields, Read, Stage, param

if TYPE_CHECKING:
    from geoflow.geometry.depth.coarse_prior import CoarsePrior
    from geoflow.models.vipe.camera_start import CameraStart
    from geoflow.models.vipe.preparing import Fit
    from geoflow.models.vipe.slam import SlamResult

_LEAST_PARALLAX = 2.0  # px between keyframes; with less, nothing tells near from far
_LEAST_KEYFRAMES = 3  # a camera that stands still has the first frame and the last


_PRIOR = ("prior.points", "prior.mask", "prior.intrinsics")


class Vipe(TorchStage):
    """Poses, one shared pinhole matrix and depth of a camera moving through a scene.

    A chapter is tracked as a whole. Its lengths have the unit of the prior, by one factor for the chapter, on which
    most of its keyframes agree; they are metres if the prior's are. Without a prior, or if few keyframes have one, or
    if it says something else in every keyframe, lengths have a unit of their own. `camera.unit` says which.

    A focal length that is not known is found. The search begins with what the file states, else with the prior's, else
    with a guess (`camera.lens`).

    Depth of a frame is the prior's, brought to what the tracker knows of the frame. A prior that has no relief where
    the tracker sees some gives no depth, and `camera.depth_source` says so. Without a prior it is multi-view depth with
    the tracked poses.

    Of a camera that stands still or only turns there is no depth, and `camera.valid` is False.
    """

    slot = "camera"
    span = "chapter"
    inputs = ("frames.rgb",)
    optional = ("frames.mask", *_PRIOR)
    surveyed = _PRIOR
    outputs = ("camera.intrinsics", "camera.cam_from_world", "camera.depth", "camera.valid", "camera.motion")
    optional_outputs: tuple[str, ...] = ("camera.quality", "camera.unit", "camera.lens", "camera.depth_source")
    version = "2"  # the prior is used while tracking
    metric_by = depth_by = "prior.points"
    honours = frozenset({"intrinsics", "distortion"})
    packages = ("torch", "safetensors")
    ladder: tuple[dict[str, Any], ...] = (
        {"keep_volumes": False},
        {"area": 320 * 240},
        {"frontend_factors": 32, "most_keyframes": 64},
    )

    @dataclass(frozen=True)
    class Params(TorchStage.Params):
        chapter: int = param(960, "frames that are tracked together, beside the next chapter's first ones", at_least=2)
        area: int = param(384 * 512, "pixels of a frame at work, at most", at_least=4096)
        keep_volumes: bool = param(True, "keep what is compared of frames: quicker, for about 2 GB in float16")
        frontend_factors: int = param(48, "pairs of keyframes compared after each new one", at_least=8)
        most_keyframes: int = param(
            96, "keyframes adjusted at once; beyond that the oldest stay as they are", at_least=64
        )
        close_loops: bool = param(True, "bend the path so that places visited again agree, within a chapter")
        backend_iters: int = param(24, "rounds of the last adjustment", at_least=1)
        start_focal: float = param(
            1.0, "first guess of a focal length that neither the file nor a prior states, in widths of the frame",
            at_least=0.1, at_most=10,
        )  # fmt: skip
        momentum: float = param(
            0.0, "share of the last frames in how the prior is brought to the tracker's depth; ViPE has 0.99, for a "
            "prior that is the same from frame to frame", at_least=0, at_most=0.9999,
        )  # fmt: skip
        depth_width: int = param(480, "working width, px, of the multi-view depth of a 4:3 picture", at_least=16)
        sources: int = param(6, "other frames that a frame's multi-view depth is computed against", at_least=1)
        weights: str = param("", "folder with droid.pth or droid.safetensors; empty: the one of configs/models.yaml")

    def __init__(self, params: Stage.Params | None = None) -> None:
        super().__init__(params)
        self.chapter_length = self.params.chapter

    def weights(self) -> dict[str, str]:
        return {"droid": self.params.weights}

    def load(self) -> Any:
        from geoflow.models.vipe.checkpoint import from_checkpoint

        folder = self.located()["droid"]
        converted = folder / "droid.safetensors"
        path = converted if converted.is_file() else folder / "droid.pth"
        return from_checkpoint(path, self.device, self.dtype if self.half else None)

    def condense(self, segment: Segment, fields: Fields) -> Fields:
        """The prior's disparity at the pixels of the tracker's grid, and the focal length that it goes with."""
        from geoflow.models.vipe.camera_start import disparity_at_grid

        if any(name not in fields for name in _PRIOR):
            return {}
        video, mask = segment.video, fields["prior.mask"]
        fit, start = self._fit(video.height, video.width, self.params.area), self._camera(video)
        depth = np.where(mask, fields["prior.points"][..., 2], 0)
        seen = mask.reshape(len(mask), -1).any(1)
        return {
            "disparity": np.stack([disparity_at_grid(one, start, fit) for one in depth]),
            "focal": np.where(seen, fields["prior.intrinsics"][:, 0, 0], 0).astype(np.float32),
            "area": np.full(len(mask), self.params.area),  # a cheaper setting of the survey may have another
        }

    @staticmethod
    def _camera(video: VideoInfo) -> CameraStart:
        from geoflow.models.vipe.camera_start import camera_start

        known = video.known_intrinsics
        bend = video.distortion if known is not None else None
        return camera_start(known, bend, (video.height, video.width), 1.0)

    def survey(self, span: Span, read: Read) -> Fields:
        """The tracked chapter: poses, the camera, and what its keyframes know of depth."""
        from geoflow.geometry.depth.coarse_prior import CoarsePrior
        from geoflow.geometry.depth.prior_unit import unit_of_prior

        video = span.video
        prior = CoarsePrior(self._fit(video.height, video.width, self.params.area).grid_pixels())
        frames = TrackedFrames(read, prior, self._fit)
        begin, lens = self._start_focal(span, frames.first_focals())
        found = self._track(span, frames, prior, begin)
        focal = float(found.intrinsics[0, 0, 0])
        unit = unit_of_prior(found.keyframe_depth, found.keyframes, lambda frame: prior.of(frame, focal))
        poses = found.cam_from_world.copy()
        poses[:, :3, 3] *= unit.factor
        return {
            "cam_from_world": poses,
            "intrinsics": found.intrinsics[0],
            "valid": found.valid,
            "quality": found.quality,
            "keyframes": found.keyframes,
            "keyframe_depth": found.keyframe_depth * np.float32(unit.factor),
            "keyframe_uv": found.keyframe_uv,
            "motion": np.array([_motion(len(found.keyframes), found.parallax)], np.uint8),
            "unit": np.array([unit.code if len(prior) else UNIT_OWN], np.uint8),
            "lens": np.array([lens], np.uint8),
        }

    @staticmethod
    def _fit(height: int, width: int, area: int) -> Fit:
        """Return how the tracker brings frames to its working size."""
        from geoflow.models.vipe.preparing import fit_of

        return fit_of(height, width, area)

    def _track(self, span: Span, frames: TrackedFrames, prior: CoarsePrior, begin: float) -> SlamResult:
        """Track a chapter; `begin` is the focal length (px) to begin with."""
        video = span.video
        known = video.known_intrinsics
        found: SlamResult = self.model.run(
            frames,
            intrinsics=known,
            distortion=video.distortion if known is not None else None,
            masks=frames.masks(),
            disparity_prior=lambda frame: prior.of(frame, begin),
            prior_follows_focal=True,
            prior_scale_free=True,
            area=self.params.area,
            keep_volumes=self.params.keep_volumes,
            frontend_factors=self.params.frontend_factors,
            most_keyframes=self.params.most_keyframes,
            close_loops=self.params.close_loops,
            backend_iters=self.params.backend_iters,
            start_focal=begin / video.width,
        )
        return found

    def _start_focal(self, span: Span, focals: np.ndarray) -> tuple[float, int]:
        """Return the focal length (px) to begin with, and where it is from.

        What the source's metadata states comes before the median of the prior's (T,), 0 where a frame has none.
        """
        from geoflow.geometry.depth.coarse_prior import focal_of

        video = span.video
        if (known := video.known_intrinsics) is not None:
            return float(known[0, 0]), LENS_GIVEN
        if video.stated_focal is not None:
            return video.stated_focal, LENS_FROM_STATED
        if (said := focal_of(focals)) is not None:
            return said, LENS_FROM_PRIOR
        return self.params.start_focal * video.width, LENS_FROM_GUESS

    def compute(self, segment: Segment, fields: Fields) -> Fields:
        from geoflow.geometry.lens_distortion import nearest_pinhole

        rgb = fields["frames.rgb"]
        count, height, width = rgb.shape[:3]
        part = slice(*(np.array([segment.start, segment.stop]) - fields[SHARED + "range"][0]))
        code, bend = int(fields[SHARED + "motion"][0]), segment.video.distortion
        intrinsics = fields[SHARED + "intrinsics"].astype(np.float32)
        shown = intrinsics
        if bend is not None and segment.video.known_intrinsics is not None:
            shown = nearest_pinhole(intrinsics, bend, height, width)
        poses, valid = fields[SHARED + "cam_from_world"][part], fields[SHARED + "valid"][part]
        depth, source = np.zeros((count, height, width), np.float16), np.zeros(count, np.uint8)
        if code == MOTION_MOVING:
            depth, source = self._depth(fields, part, intrinsics, shown, bend)
        else:
            valid = np.zeros_like(valid)
        return {
            "camera.intrinsics": np.broadcast_to(shown, (count, 3, 3)).astype(np.float32),
            "camera.cam_from_world": np.where(valid[:, None, None], poses, np.nan).astype(np.float32),
            "camera.depth": depth,
            "camera.valid": valid,
            "camera.motion": np.full(count, code, np.uint8),
            "camera.quality": np.where(valid, fields[SHARED + "quality"][part], 0).astype(np.float32),
            "camera.unit": np.where(valid, fields[SHARED + "unit"], UNIT_OWN).astype(np.uint8),
            "camera.lens": np.full(count, fields[SHARED + "lens"][0], np.uint8),
            "camera.depth_source": source,
        }

    def _depth(
        self, fields: Fields, part: slice, intrinsics: np.ndarray, shown: np.ndarray, bend: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return depth (T, H, W) and what it is made of (T,)."""
        from geoflow.models.vipe.dense_depth import world_points

        poses, valid = fields[SHARED + "cam_from_world"], fields[SHARED + "valid"]
        keyframes = fields[SHARED + "keyframes"]
        points = world_points(
            fields[SHARED + "keyframe_depth"], fields[SHARED + "keyframe_uv"], intrinsics, poses[keyframes]
        )
        if "prior.points" in fields and "prior.mask" in fields:
            return self._from_prior(fields, part, shown, points)
        from geoflow.geometry.depth.multiview import multiview_depth

        near = [cloud[::7] for cloud, number in zip(points, keyframes) if part.start - 8 <= number < part.stop + 8]
        depth = multiview_depth(
            fields["frames.rgb"],
            intrinsics,
            poses[part],
            valid[part],
            np.concatenate([np.zeros((0, 3)), *near]),
            distortion=bend,
            masks=fields.get("frames.mask"),
            width=self.params.depth_width,
            sources=self.params.sources,
        )
        there = depth.reshape(len(depth), -1).any(1)
        return depth, np.where(there, DEPTH_MATCHED, DEPTH_NONE).astype(np.uint8)

    def _from_prior(
        self, fields: Fields, part: slice, shown: np.ndarray, points: list[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Each frame's prior, brought to what the keyframes around it know, and what came of that (T,)."""
        from geoflow.models.vipe.dense_depth import PriorDepth, seen_depth

        poses, valid = fields[SHARED + "cam_from_world"], fields[SHARED + "valid"]
        keyframes, masks = fields[SHARED + "keyframes"], fields.get("frames.mask")
        prior = np.where(fields["prior.mask"], fields["prior.points"][..., 2], 0).astype(np.float32)
        depth, steady = np.zeros(prior.shape, np.float16), PriorDepth(self.params.momentum)
        source = np.full(len(prior), DEPTH_NONE, np.uint8)
        for t, number in enumerate(range(part.start, part.stop)):
            if not valid[number]:
                continue
            after = int(np.searchsorted(keyframes, number))
            around = np.concatenate(points[max(after - 2, 0) : after + 2])  # two on either side
            known = seen_depth(around, shown, poses[number], prior.shape[1:])
            found, source[t] = steady.aligned(prior[t], known, None if masks is None else masks[t])
            if found is not None:
                depth[t] = np.where(found < HALF_MAX, found, 0)
        return depth, source


class TrackedFrames:
    """A span's frames one by one, as often as asked; a frame's mask is there as long as the frame is the last.

    What segments condensed of the frames goes to `prior` as they come.
    """

    def __init__(self, read: Read, prior: CoarsePrior, fit: Callable[[int, int, int], Fit]) -> None:
        self._read, self._prior, self._fit = read, prior, fit
        self._begun: Iterator[Fields] | None = None  # the first reading, where it was looked into
        self._mask: np.ndarray | None = None

    def first_focals(self) -> np.ndarray:
        """Return the prior's focal lengths (T,), px, in the first frames, before these are asked for."""
        pieces = self._read()
        first = next(pieces)
        self._begun = itertools.chain((first,), pieces)
        return first.get(CONDENSED + "focal", np.zeros(0))

    def __iter__(self) -> Iterator[np.ndarray]:
        pieces, self._begun = self._begun or self._read(), None
        number = 0
        for piece in pieces:
            self._take(number, piece)
            masks = piece.get("frames.mask")
            for t, frame in enumerate(piece["frames.rgb"]):
                self._mask = None if masks is None else masks[t]
                yield frame
            number += len(piece["frames.rgb"])

    def masks(self) -> Iterator[np.ndarray | None]:
        while True:
            yield self._mask

    def _take(self, first: int, piece: Fields) -> None:
        if CONDENSED + "disparity" not in piece:
            return
        height, width = piece["frames.rgb"].shape[1:3]
        rows = (piece[CONDENSED + name] for name in ("disparity", "focal", "area"))
        for t, (disparity, focal, area) in enumerate(zip(*rows)):
            pixels = self._fit(height, width, int(area)).grid_pixels()
            self._prior.add(first + t, disparity, float(focal), pixels)


def _motion(keyframes: int, parallax: float) -> int:
    if parallax >= _LEAST_PARALLAX:
        return MOTION_MOVING if keyframes >= _LEAST_KEYFRAMES else MOTION_UNKNOWN
    return MOTION_ROTATING if keyframes >= _LEAST_KEYFRAMES else MOTION_STILL
