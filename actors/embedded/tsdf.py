"""A mesh of each object by fusion of its depth over the frames (Curless and Levoy 1996), in `geoflow/geometry/tsdf`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geoflow.errors import StageError
from geoflow.segments import VideoInfo
from geoflow.stage import Fields, Read, Stage, param
from geoflow.values.object_names import MESH_FIELDS

if TYPE_CHECKING:
    from geoflow.geometry.tsdf.depth_view import DepthView
    from geoflow.geometry.tsdf.object_fusion import ObjectBox
    from geoflow.geometry.tsdf.surface_nets import Surface

_LEAST = 64  # points of an object, fewer of which are no surface


class Tsdf(Stage):
    """A mesh of each object from the video itself: what its frames show, and nothing made up.

    Depth of the object's pixels is fused in the world; pixels beside it say where it is not. What no frame saw is
    closed up, and `mesh.seen` says where: the mesh then fills all that the frames allow, as a visual hull does. With
    `close=False` it stays open. An object that moves has no mesh, and the store says why.
    """

    slot = "mesh"
    span = "object"
    inputs = (
        "frames.rgb",
        "frames.index",
        "objects.label",
        "camera.depth",
        "camera.intrinsics",
        "camera.cam_from_world",
        "camera.valid",
    )
    optional = ("frames.mask",)
    outputs = MESH_FIELDS
    optional_outputs = ("mesh.seen",)
    ladder = ({"resolution": 64},)

    @dataclass(frozen=True)
    class Params(Stage.Params):
        resolution: int = param(
            96, "voxels along the object's longest side; time and memory grow with its cube", at_least=8, at_most=512
        )
        max_faces: int = param(50_000, "triangles of a mesh, at most", at_least=16)
        max_frames: int = param(200, "frames that are fused, evenly over the video", at_least=1)
        close: bool = param(True, "close up what no frame saw")
        min_component: float = param(
            0.05, "parts of less than this share of the largest part's area are left out", at_least=0, at_most=1
        )
        max_seen_through: float = param(
            0.05,
            "share of the object's points that other frames may see through; above it, the object moves",
            at_least=0,
            at_most=1,
        )

        min_known: float = param(
            0.1, "share of the object's pixels with depth that can be fused; below it, it has no mesh", at_least=0
        )
        min_seen: float = param(
            0.05, "share of the mesh's area that was seen; below it, the object has no mesh", at_least=0, at_most=1
        )

    def process_object(self, video: VideoInfo, number: int, read: Read) -> Fields:
        from geoflow.geometry.tsdf.mesh_cleaning import decimated, soundness, without_crumbs
        from geoflow.geometry.tsdf.object_fusion import box_around, fuse_object, seen_through

        every = -(-video.num_frames // self.params.max_frames)
        box = box_around(self._views(read, number, every), self.params.resolution)
        if box is None or len(box.points) < _LEAST:
            raise StageError(f"object {number} is nowhere seen with known camera and depth, so it has no surface")
        if box.known < self.params.min_known:
            raise StageError(
                f"object {number} has depth that can be fused in {100 * box.known:.0f} % of its pixels, needed is "
                f"{self.params.min_known:g} (mesh.min_known); it moves, or the camera stage knows too little of it"
            )
        through = seen_through((view for _, view in self._views(read, number, every)), box)
        if through > self.params.max_seen_through:
            raise StageError(
                f"object {number} moves, or its depth is poor: frames see through {100 * through:.0f} % of its surface "
                f"as other frames saw it, allowed is {self.params.max_seen_through:g} (mesh.max_seen_through)"
            )
        views = (view for _, view in self._views(read, number, every))
        surface = without_crumbs(fuse_object(views, box, close=self.params.close), self.params.min_component)
        if not len(surface.faces):
            raise StageError(f"the depth of object {number} joins to no surface: too little of it is seen")
        if (seen := soundness(surface).seen) < self.params.min_seen:
            raise StageError(
                f"only {100 * seen:.1f} % of the surface of object {number} is seen, and the rest would be made up; "
                f"needed is {self.params.min_seen:g} (mesh.min_seen)"
            )
        surface = decimated(surface, self.params.max_faces)
        return _fields(surface, box)

    def _views(self, read: Read, number: int, every: int) -> Iterator[tuple[int, DepthView]]:
        """Yield source frame numbers and views of every so many of the video's frames that show the object."""
        from geoflow.geometry.tsdf.depth_view import DepthView

        done = 0
        for piece in read():
            label, valid = piece["objects.label"], piece["camera.valid"]
            for i in np.flatnonzero((label == number).any((1, 2)) & valid):
                if (done + i) % every:
                    continue
                depth = piece["camera.depth"][i].astype(np.float32)
                if "frames.mask" in piece:
                    depth[piece["frames.mask"][i] & (label[i] != number)] = 0  # may be in front of it at other times
                pose, lens = piece["camera.cam_from_world"][i], piece["camera.intrinsics"][i]
                view = DepthView(depth, piece["frames.rgb"][i], lens, pose, label[i] == number)
                yield int(piece["frames.index"][i]), view
            done += len(valid)


def _fields(surface: Surface, box: ObjectBox) -> Fields:
    """Return the mesh with its vertices around the object's middle, in scene units."""
    middle = box.middle.astype(np.float32)
    world_from_mesh = np.eye(4, dtype=np.float32)
    world_from_mesh[:3, 3] = middle
    return {
        "mesh.vertices": surface.vertices - middle,
        "mesh.faces": surface.faces,
        "mesh.colours": surface.colours,
        "mesh.world_from_mesh": world_from_mesh,
        "mesh.frame": np.array([box.frame], np.int64),
        "mesh.seen": surface.seen,
    }
