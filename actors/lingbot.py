"""LingBot-Map (2026, arXiv:2604.14141) in `runtime_envs/lingbot.yaml`: cameras and depth from one network.

The network and its stream are in `geoflow/models/lingbot`. This module takes a chapter of the video through it, and
gives each segment its part. Not run with the published weights yet: the tests run it on a CPU with small made-up ones.

It works on chapters. A segment's own frames would each time begin a new world, whose scale the first few frames decide.
As an ordered stage it would have to hand on some gigabytes of keys and values after each segment, for another actor to
take over. A chapter begins anew by itself, and its cameras and small depth maps are shared by its segments.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from geoflow.backends.torch_stage import TorchStage
from geoflow.fields import DOUBT_NONE, DOUBT_UNMATCHED, MOTION_MOVING, MOTION_STILL, UNIT_OWN, VIEW_BARE, VIEW_CUT
from geoflow.segments import Segment, Span
from geoflow.stage import CONDENSED, SHARED, Fields, Read, Stage, param

if TYPE_CHECKING:
    from geoflow.models.lingbot.chapter import ViewResult
    from geoflow.models.lingbot.chapter_hints import ChapterHints

_FILES = {"long": "lingbot-map-long.pt", "balanced": "lingbot-map.pt"}
_OPTIONS = ("side", "scale_frames", "sliding_window", "camera_iterations")  # as those of `Streamer.run`
_CHEAPER = (("sliding_window", 32), ("scale_frames", 2), ("side", 392))
_GEOMETRY = ("geometry.points", "geometry.mask", "geometry.intrinsics")
_SURVEYED = ("prior.points", "prior.mask", "prior.intrinsics", "objects.label")


class LingbotMap(TorchStage):
    """Poses, one pinhole matrix and depth of all frames that the network believes in, in its own unit or a prior's.

    The network always answers with a moving camera. What the camera does is found by followed points instead: where a
    segment shows the same view throughout, all its frames have one pose. `camera.quality` says what share of these
    points poses and depth explain, `camera.focal_error` how far the focal lengths scatter that the network finds, one
    for each frame. A cut begins a new world; of a segment with a cut, the view with most posed frames is kept. Views
    too bare to follow anything have no pose and no depth.

    A known lens replaces the network's own, which it cannot be told of: depth and forward motion are stretched to go
    with it. Things that move stay in the depth, except where the user's masks mark them. Pixels of `objects.label` do
    not count in the camera's motion and its quality.

    With a prior above, lengths of a view have its unit, by one factor for the view on which most of its frames agree;
    they are metres if the prior's are. `camera.unit` says which. The prior is used for nothing else. Masked pixels and,
    where the user gave labels of all frames, labelled ones do not count in that, and not in a frame's confidence.
    """

    slot = "camera"
    span = "chapter"
    inputs = ("frames.rgb",)
    optional = ("frames.mask", *_SURVEYED)
    surveyed = _SURVEYED
    outputs = ("camera.intrinsics", "camera.cam_from_world", "camera.depth", "camera.valid", "camera.motion")
    optional_outputs: tuple[str, ...] = (
        "camera.quality",
        "camera.doubt",
        "camera.focal_error",
        "camera.unit",
    )
    version = "2"  # a prior gives the unit
    metric_by = "prior.points"
    honours = frozenset({"intrinsics"})
    packages = ("torch",)
    chapter_reach = 0  # a frame sees none that come later, so they would not help; segments overlap by themselves

    @dataclass(frozen=True)
    class Params(TorchStage.Params):
        checkpoint: Literal["long", "balanced"] = param(
            "long", "long: for long videos; balanced: the published scores'"
        )
        weights: str = param("", "folder with the checkpoint's file; empty: from the hub, as pinned")
        chapter: int = param(288, "frames in one world; neighbours share those that their segments share", at_least=2)
        geometry: bool = param(False, "give geometry.* as well: the same depth as point maps")
        side: int = param(518, "longer side in px at which the network works, a multiple of 14", at_least=14)
        scale_frames: int = param(8, "first frames, which see each other and set the scale", at_least=1)
        sliding_window: int = param(64, "kept frames that a frame sees whole; memory grows with it", at_least=1)
        camera_iterations: int = param(4, "times that a pose is refined", at_least=1)
        least_confidence: float = param(1.5, "of a pixel's depth, and of a frame's on average; from 1 on", at_least=1)
        max_points: int = param(1000, "points followed at a time, to tell the camera's motion", at_least=8)

        def __post_init__(self) -> None:
            from geoflow.models.lingbot.fitting import Fit

            Fit.of((self.side, self.side), self.side)

    def __init__(self, params: Stage.Params | None = None) -> None:
        super().__init__(params)
        self.chapter_length = self.params.chapter
        cheaper = ((name, value) for name, value in _CHEAPER if value < getattr(self.params, name))
        self.ladder = tuple({name: value} for name, value in cheaper)
        if self.params.geometry:
            self.optional_outputs = (*self.optional_outputs, *_GEOMETRY)

    def weights(self) -> dict[str, str]:
        return {self.params.checkpoint: self.params.weights}

    def load(self) -> Any:
        import torch

        from geoflow.models.lingbot.checkpoint import from_checkpoint

        wide = self.half and self.device.startswith("cuda") and torch.cuda.is_bf16_supported(False)
        dtype = torch.bfloat16 if wide else self.dtype
        name = self.params.checkpoint
        return from_checkpoint(self.located()[name] / _FILES[name], self.device, dtype)

    def condense(self, segment: Segment, fields: Fields) -> Fields:
        """The prior's disparity and the labelled objects at a coarse grid, and the prior's focal length."""
        from geoflow.models.lingbot.chapter_hints import condensed_hints
        from geoflow.models.lingbot.frame_grid import FrameGrid

        return condensed_hints(FrameGrid(segment.video.height, segment.video.width), fields)

    def survey(self, span: Span, read: Read) -> Fields:
        """Points followed through the chapter, and each view's way through the network."""
        import cv2

        from geoflow.geometry.motion.camera_motion import chain_points
        from geoflow.geometry.views import classify_views
        from geoflow.models.lingbot.chapter import follow_view
        from geoflow.models.lingbot.chapter_hints import ChapterHints
        from geoflow.models.lingbot.chapter_unit import in_unit_of_prior
        from geoflow.models.lingbot.frame_grid import FrameGrid
        from geoflow.models.lingbot.options import TRAINED

        cv2.setNumThreads(self.threads)
        grays: list[np.ndarray] = []
        masks: list[np.ndarray] = []
        hints = ChapterHints(FrameGrid(span.video.height, span.video.width))
        for piece in read():
            _take(hints, len(grays), piece)
            grays += [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in piece["frames.rgb"]]
            masks += [*piece.get("frames.mask", ())]
        views = classify_views([cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB) for gray in grays])
        chains = chain_points(grays, masks or None, max_points=self.params.max_points)
        del grays
        starts = [0, *np.flatnonzero(views == VIEW_CUT).tolist()]
        found: Fields = {"starts": np.array(starts), "bare": views == VIEW_BARE}
        found |= {f"chains.{name}": array for name, array in chains.to_arrays().items()}
        frames = (frame for piece in read() for frame in piece["frames.rgb"])
        for k, (start, stop) in enumerate(itertools.pairwise([*starts, len(views)])):
            view = follow_view(
                self.model,
                itertools.islice(frames, stop - start),
                span.video.known_intrinsics,
                least_confidence=self.params.least_confidence,
                hints=hints,
                start=start,
                num_frames=stop - start,
                window_size=None,
                room=TRAINED,  # the first chapter is measured for all, and may be short
                **{name: getattr(self.params, name) for name in _OPTIONS},
            )
            view = in_unit_of_prior(view, hints, start, views[start:stop] != VIEW_BARE)
            found |= {f"view.{k}.{name}": array for name, array in view.to_arrays().items()}
        return found

    def compute(self, segment: Segment, fields: Fields) -> Fields:
        from geoflow.geometry.depth.edge_aware import enlarge
        from geoflow.geometry.motion.camera_motion import Chains, classify_motion
        from geoflow.geometry.motion.lifting import CamerasWithDepth
        from geoflow.geometry.motion.pose_quality import explained_tracks

        begin = int(fields[SHARED + "range"][0])
        own = slice(segment.start - begin, segment.stop - begin)
        view, poses, small, valid = _longest(fields, own)
        chains = Chains.from_arrays(_named(f"{SHARED}chains.", fields)).part(own.start, own.stop)
        if "objects.label" in fields:
            chains = chains.outside(fields["objects.label"] > 0)
        motion = classify_motion(chains, segment.video.known_intrinsics).code
        if motion == MOTION_STILL and valid.any():
            poses[valid] = poses[valid][valid.sum() // 2]
        rgb = fields["frames.rgb"]
        depth = np.zeros(rgb.shape[:3], np.float16)
        for i in np.flatnonzero(valid):
            depth[i] = enlarge(small[i].astype(np.float32), rgb[i])
        if "frames.mask" in fields:
            depth[fields["frames.mask"]] = 0
        doubt = np.where(valid, DOUBT_NONE, DOUBT_UNMATCHED) if motion == MOTION_MOVING else np.zeros(len(rgb))
        intrinsics = np.tile(view.intrinsics, (len(rgb), 1, 1))
        found = {
            "camera.intrinsics": intrinsics,
            "camera.cam_from_world": poses.astype(np.float32),
            "camera.depth": depth,
            "camera.valid": valid,
            "camera.motion": np.full(len(rgb), motion, np.uint8),
            "camera.quality": explained_tracks(chains.uv, CamerasWithDepth(intrinsics, poses, depth, valid)),
            "camera.doubt": doubt.astype(np.uint8),
            "camera.focal_error": np.where(valid, view.focal_error, np.nan).astype(np.float32),
            "camera.unit": np.where(valid, view.unit, UNIT_OWN).astype(np.uint8),
        }
        return {**found, **_as_geometry(depth, view.intrinsics)} if self.params.geometry else found


def _take(hints: ChapterHints, first: int, piece: Fields) -> None:
    """Give hints what a piece, from frame `first` of the chapter on, has besides the frames."""
    for mask in (piece.get("frames.mask"), piece.get(CONDENSED + "label")):
        if mask is not None:
            hints.take_mask(first, mask)
    if CONDENSED + "disparity" in piece:
        hints.take_prior(first, piece[CONDENSED + "disparity"], piece[CONDENSED + "focal"])


def _named(prefix: str, fields: Fields) -> Fields:
    return {name.removeprefix(prefix): array for name, array in fields.items() if name.startswith(prefix)}


def _views(fields: Fields) -> Iterator[tuple[slice, ViewResult]]:
    """The chapter's views, with their frames of the chapter."""
    from geoflow.models.lingbot.chapter import ViewResult

    for k, start in enumerate(fields[SHARED + "starts"].tolist()):
        view = ViewResult.from_arrays(_named(f"{SHARED}view.{k}.", fields))
        yield slice(start, start + len(view.valid)), view


def _longest(fields: Fields, own: slice) -> tuple[ViewResult, np.ndarray, np.ndarray, np.ndarray]:
    """Return the view with the most posed frames of a segment; the segment's poses, depth, and which frames have both.

    `own` are the segment's frames of the chapter. Frames of other views, and bare ones, have neither.
    """
    best: tuple[int, slice, ViewResult] | None = None
    bare = fields[SHARED + "bare"]
    for frames, view in _views(fields):
        there = slice(max(own.start, frames.start), min(own.stop, frames.stop))
        posed = int((view.valid & ~bare[frames])[there.start - frames.start : max(0, there.stop - frames.start)].sum())
        if best is None or posed > best[0]:
            best = posed, frames, view
    assert best is not None
    _, frames, view = best
    count = own.stop - own.start
    poses, valid = np.full((count, 4, 4), np.nan), np.zeros(count, bool)
    depth = np.zeros((count, *view.depth.shape[1:]), np.float16)
    for i, t in enumerate(range(own.start, own.stop)):
        if frames.start <= t < frames.stop and view.valid[t - frames.start] and not bare[t]:
            poses[i], depth[i], valid[i] = view.cam_from_world[t - frames.start], view.depth[t - frames.start], True
    return view, poses, depth, valid


def _as_geometry(depth: np.ndarray, intrinsics: np.ndarray) -> Fields:
    """Return depth maps (T, H, W) as the fields of point maps."""
    from geoflow.geometry.working_size import PointMaps

    count, height, width = depth.shape
    maps = PointMaps(count, height, width, intrinsics)
    for i, one in enumerate(depth):
        if one.any():
            maps.put(i, one.astype(np.float32))
    return dict(zip(_GEOMETRY, (maps.points, maps.mask, maps.intrinsics)))
