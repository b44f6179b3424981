"""TAPIP3D (Zhang et al. 2025, arXiv:2504.14717) in `runtime_envs/tapip3d.yaml`.

The network is in `geoflow/models/tapip3d`. This module takes a segment with its depth and cameras, and the points that
the segment before handed over, and gives the tracks of all points alive. Not run with the published weights yet: the
tests run it on a CPU with small made-up weights.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from geoflow.backends.query_params import QueryParams
from geoflow.backends.torch_stage import TorchStage
from geoflow.models.tapip3d.options import TrackOptions
from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param


class Tapip3d(TorchStage):
    """3D tracks by TAPIP3D. A point goes on in the next segment, and new ones begin where the picture holds none.

    The network gets the frames that have depth, a pinhole matrix and a pose, one after another as if no frame were
    missing between them. In other frames nothing is said of any point. Where no frame has a pose, points are followed
    as each camera sees them: `tracks.uv` and `tracks.camera_xyz` then say where they are seen, and nothing is said of
    the world. Points do not go on from a segment of the one kind to one of the other.

    In the world a hidden point has a place, too, which the network believes; `tracks.visible` is False there. A point
    is not visible where its place lies outside the frame or under the user's mask.
    """

    slot = "tracks"
    inputs = ("frames.rgb", "frames.index")
    outputs = ("tracks.xyz", "tracks.visible", "tracks.uv", "tracks.query", "tracks.id")
    optional_outputs = ("tracks.object", "tracks.row", "tracks.camera_xyz")
    ordered = True
    honours = frozenset({"intrinsics"})  # by way of the camera's
    packages = ("torch",)

    @dataclass(frozen=True)
    class Params(TrackOptions, QueryParams, TorchStage.Params):
        half_precision: bool = param(True, "convolutions and attention in bfloat16 on a GPU, as the published program")
        compile: bool = param(False, "compile the network by torch.compile: slower to start, quicker in long videos")
        grid_size: int = param(
            32, "points along each side of a frame in which points are picked", at_least=1, at_most=1000
        )
        support_grid_size: int = param(
            16, "points along each side of a segment's first frame that help where no grid is; 0: none", at_least=0
        )
        camera_space: bool | None = param(  # type: ignore[assignment]
            None, "follow points as the camera sees them; if not given, only in segments without any pose"
        )
        depth: Literal["auto", "camera", "geometry"] = param(
            "auto", "whose depth: camera, geometry (brought to the camera's scale), or that of the more frames"
        )
        weights: str = param("", "folder that holds tapip3d_final.pth; empty: from the hub, as pinned")

        def __post_init__(self) -> None:
            TrackOptions.__post_init__(self)
            QueryParams.__post_init__(self)

        def options(self) -> TrackOptions:
            """Return what concerns the network."""
            own = {row.name: getattr(self, row.name) for row in dataclasses.fields(TrackOptions)}
            return TrackOptions(**{**own, "camera_space": False})  # the poses that it is given say it

    def __init__(self, params: Stage.Params | None = None) -> None:
        super().__init__(params)
        cameras = ("camera.intrinsics", "camera.cam_from_world", "camera.depth", "camera.valid")
        geometry = () if self.params.depth == "camera" else ("geometry.points", "geometry.mask", "geometry.intrinsics")
        self.optional = (*cameras, *geometry, "frames.mask", "objects.label")
        self.ladder = self.params.options().cheaper()

    def weights(self) -> dict[str, str]:
        return {"tracker": self.params.weights}

    def load(self) -> Any:
        import cv2
        import torch

        from geoflow.models.tapip3d.checkpoint import from_checkpoint

        cv2.setNumThreads(self.threads)
        path = self.located()["tracker"] / "tapip3d_final.pth"
        tracker = from_checkpoint(path, self.device, torch.bfloat16 if self.half else None)
        if self.params.compile:
            tracker.network.compile_parts()
        return tracker

    def compute(self, segment: Segment, fields: Fields) -> Fields:
        from geoflow.geometry.motion.asked_points import asked_points, asked_so_far
        from geoflow.geometry.motion.tracking_space import tracking_space
        from geoflow.models.tapip3d.handing_over import handed_over, taken_over
        from geoflow.models.tapip3d.segment_following import Wanted, follow_segment

        own, options = self.params, self.params.options()
        mask, label = fields.get("frames.mask"), fields.get("objects.label")
        space, index, asked = tracking_space(fields, own.depth, own.camera_space), fields["frames.index"], None
        if own.queries:
            asked = asked_points(own.queries, segment, index, space.posed_cameras(), self.carried)
        wanted = Wanted(own.query_every, own.grid, own.objects_only, asked, mask, label)
        carried = taken_over(self.carried, segment, space)
        tracks = follow_segment(self.model, segment, fields["frames.rgb"], space, carried, options, wanted)
        seen = tracks.seen(self.model.believed(tracks.logits, options), mask)
        self.carried = handed_over(segment, space, tracks, seen) | asked_so_far(segment, index)
        given = {"tracks.object": label is not None, "tracks.row": bool(own.queries)}
        return {name: array for name, array in tracks.fields(space, seen).items() if given.get(name, True)}
