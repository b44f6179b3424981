"""ViPE's cameras (Huang et al. 2025, arXiv:2508.10934) in `runtime_envs/vipe.yaml`.

The tracker is in `geoflow/models/vipe`. This module tracks a chapter, and gives its segments their poses and depth. Not
run with the published weights yet: the tests run it on a CPU with made-up weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoflow.backends.torch_stage import TorchStage
from geoflow.fields import MOTION_MOVING, MOTION_ROTATING, MOTION_STILL, MOTION_UNKNOWN
from geoflow.models.half_range import HALF_MAX
from geoflow.segments import Segment, Span
from geoflow.stage import SHARED, Fields, Read, Stage, param

_LEAST_PARALLAX = 2.0  # px between keyframes; with less, nothing tells near from far
_LEAST_KEYFRAMES = 3  # a camera that stands still has the first frame and the last


class Vipe(TorchStage):
    """Poses, one shared pinhole matrix and depth, up to the video's own scale, of a camera moving through a scene.

    A chapter is tracked as a whole. Depth of a frame is the prior's, brought to what the tracker knows of the frame; a
    prior that has no relief where the tracker sees some gives no depth. Without a prior it is multi-view depth with the
    tracked poses.

    Of a camera that stands still or only turns there is no depth, and `camera.valid` is False.
    """

    slot = "camera"
    span = "chapter"
    inputs = ("frames.rgb",)
    optional = ("frames.mask", "prior.points", "prior.mask")
    outputs = ("camera.intrinsics", "camera.cam_from_world", "camera.depth", "camera.valid", "camera.motion")
    optional_outputs = ("camera.quality",)
    honours = frozenset({"intrinsics", "distortion"})
    packages = ("torch", "safetensors")
    ladder = (
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
            1.0, "first guess of a focal length that is not known, in widths of the frame", at_least=0.1, at_most=10
        )
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

    def survey(self, span: Span, read: Read) -> Fields:
        """The tracked chapter: poses, the camera, and what its keyframes know of depth."""
        known, bend = span.video.known_intrinsics, span.video.distortion
        frames = _Frames(read)
        found = self.model.run(
            frames,
            intrinsics=known,
            distortion=bend if known is not None else None,
            masks=frames.masks(),
            area=self.params.area,
            keep_volumes=self.params.keep_volumes,
            frontend_factors=self.params.frontend_factors,
            most_keyframes=self.params.most_keyframes,
            close_loops=self.params.close_loops,
            backend_iters=self.params.backend_iters,
            start_focal=self._start_focal(span),
        )
        return {
            "cam_from_world": found.cam_from_world,
            "intrinsics": found.intrinsics[0],
            "valid": found.valid,
            "quality": found.quality,
            "keyframes": found.keyframes,
            "keyframe_depth": found.keyframe_depth,
            "keyframe_uv": found.keyframe_uv,
            "motion": np.array([_motion(len(found.keyframes), found.parallax)], np.uint8),
        }

    def _start_focal(self, span: Span) -> float:
        """In widths of the frame: what the source's metadata states, as a first guess."""
        stated = span.video.stated_focal
        return self.params.start_focal if stated is None else stated / span.video.width

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
        depth = np.zeros((count, height, width), np.float16)
        if code == MOTION_MOVING:
            depth = self._depth(fields, part, intrinsics, shown, bend)
        else:
            valid = np.zeros_like(valid)
        return {
            "camera.intrinsics": np.broadcast_to(shown, (count, 3, 3)).astype(np.float32),
            "camera.cam_from_world": np.where(valid[:, None, None], poses, np.nan).astype(np.float32),
            "camera.depth": depth,
            "camera.valid": valid,
            "camera.motion": np.full(count, code, np.uint8),
            "camera.quality": np.where(valid, fields[SHARED + "quality"][part], 0).astype(np.float32),
        }

    def _depth(self, fields: Fields, part: slice, intrinsics: np.ndarray, shown: np.ndarray, bend: Any) -> np.ndarray:
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
        return multiview_depth(
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

    def _from_prior(self, fields: Fields, part: slice, shown: np.ndarray, points: list[np.ndarray]) -> np.ndarray:
        """Each frame's prior, brought to what the keyframes around it know."""
        from geoflow.models.vipe.dense_depth import PriorDepth, seen_depth

        poses, valid = fields[SHARED + "cam_from_world"], fields[SHARED + "valid"]
        keyframes, masks = fields[SHARED + "keyframes"], fields.get("frames.mask")
        prior = np.where(fields["prior.mask"], fields["prior.points"][..., 2], 0).astype(np.float32)
        depth, steady = np.zeros(prior.shape, np.float16), PriorDepth(self.params.momentum)
        for t, number in enumerate(range(part.start, part.stop)):
            if not valid[number]:
                continue
            after = int(np.searchsorted(keyframes, number))
            around = np.concatenate(points[max(after - 2, 0) : after + 2])  # two on either side
            known = seen_depth(around, shown, poses[number], prior.shape[1:])
            found = steady.aligned(prior[t], known, None if masks is None else masks[t])
            if found is not None:
                depth[t] = np.where(found < HALF_MAX, found, 0)
        return depth


class _Frames:
    """A span's frames one by one, as often as asked; a frame's mask is there as long as the frame is the last."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._mask: np.ndarray | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        for piece in self._read():
            masks = piece.get("frames.mask")
            for t, frame in enumerate(piece["frames.rgb"]):
                self._mask = None if masks is None else masks[t]
                yield frame

    def masks(self) -> Iterator[np.ndarray | None]:
        while True:
            yield self._mask


def _motion(keyframes: int, parallax: float) -> int:
    if parallax >= _LEAST_PARALLAX:
        return MOTION_MOVING if keyframes >= _LEAST_KEYFRAMES else MOTION_UNKNOWN
    return MOTION_ROTATING if keyframes >= _LEAST_KEYFRAMES else MOTION_STILL
