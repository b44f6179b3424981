"""`mesh`: the surface of what rests in a video, fused from the depth of its frames, as one coloured mesh."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.environments.extras import library
from geoflow.errors import StoreError
from geoflow.export.frames import Depths, Written, cameras_of, frames_with_depth, pictures, posed_frames
from geoflow.export.mesh_files import Y_UP
from geoflow.geometry.rigid import apply
from geoflow.geometry.tsdf.depth_view import DepthView
from geoflow.geometry.tsdf.mesh_cleaning import Soundness, decimated, soundness, without_crumbs
from geoflow.geometry.tsdf.surface_nets import Surface
from geoflow.geometry.tsdf.tiles import fuse
from geoflow.store.reader import Video
from geoflow.store.whole import write_whole

_VOXEL = 0.01  # of the median depth
_CRUMB = 0.001  # of the largest part's area
_GREY = 160
_SAMPLED = 16  # frames from which the median depth is taken


def export_mesh(
    video: Video,
    out: Path,
    *,
    stride: int = 5,
    voxel: float = 0.0,
    max_faces: int = 1_000_000,
    max_blocks: int = 8192,
    colours: bool = True,
    objects: bool = False,
) -> Written:
    """Write `out`, a .glb, .ply or .obj of the surface that every `stride`-th frame shows, and say how sound it is.

    Depth is fused in voxels with sides of `voxel` scene units, 0: 1 % of the median depth. About `max_blocks` blocks of
    8 x 8 x 8 voxels are in memory at once, 12 KB each: larger scenes are fused tile by tile. The mesh has at most
    `max_faces` triangles. It has the pixels' colours; without `colours` it is grey. The labelled objects are left out,
    since they may move; with `objects` they are taken as a part of the scene. What moves without a label is taken out
    as far as other frames see through it. Nothing is closed up: where no frame looks, the mesh is open.

    Vertices are in the store's world frame (the first camera's axes in OpenCV's convention: x right, y down, z
    forward), scene units; in glTF turned to y up, as by `export_glb`.

    Raises StoreError if no frame has pose and depth, if pixels cannot be read, or if the frames show no surface;
    ConfigError without the library trimesh.
    """
    trimesh = library("trimesh", "export", "--to mesh")
    frames, scene = _frames(video, stride), _Scene(video, colours, objects)
    side = voxel or _VOXEL * scene.median_depth(frames)
    surface = fuse(
        lambda chosen, rgb: scene.views([int(frames[i]) for i in chosen], rgb),
        len(frames),
        side,
        max_blocks=max_blocks,
        max_faces=max_faces,
    )
    surface = None if surface is None else decimated(without_crumbs(surface, _CRUMB), max_faces)
    if surface is None or not len(surface.faces):
        raise StoreError(
            f"{video.path}: the depth of its frames joins to no surface with voxels of {side:g} scene units; "
            "give others with --set voxel=..., or more frames with --set stride=1"
        )
    sound = soundness(surface)
    said = f"{len(surface.faces):,} faces, {sound}, voxels of {side:.3g}"
    write_whole(out, _encoded(trimesh, surface, sound, out.suffix, side))
    return Written(len(frames), said)


def _frames(video: Video, stride: int) -> np.ndarray:
    return frames_with_depth(video, Depths(video), posed_frames(video, stride))[0]


class _Scene:
    """The frames of a store as the views that are fused."""

    def __init__(self, video: Video, colours: bool, objects: bool) -> None:
        self.video, self.colours = video, colours
        self.depths = Depths(video)
        self.poses = cameras_of(video).cam_from_world
        found = video.objects
        self.label = found.label if found is not None and found.has_labels and not objects else None

    def median_depth(self, frames: np.ndarray) -> float:
        """Return the median of the depth in some of the frames, scene units."""
        some = frames[np.linspace(0, len(frames) - 1, min(len(frames), _SAMPLED)).astype(int)]
        depths = (self.depths[int(i)][0] for i in some)
        return float(np.median([np.median(depth[depth > 0]) for depth in depths]))

    def views(self, frames: list[int], rgb: bool) -> Iterator[DepthView]:
        """Yield the frames; black where `rgb` is False, or grey if no colours are wanted."""
        images = pictures(self.video, frames) if rgb and self.colours else _plain(self, frames)
        for i, image in zip(frames, images):
            depth, intrinsics = self.depths[i]
            rests = np.ones(depth.shape, bool) if self.label is None else self.label[i] == 0
            # Depth that is not finite would spread over its neighbours.
            depth = np.where(np.isfinite(depth) & rests, depth, 0).astype(np.float32)
            yield DepthView(depth, image, intrinsics, self.poses[i], rests)


def _plain(scene: _Scene, frames: Iterable[int]) -> Iterator[np.ndarray]:
    grey = np.full((scene.video.height, scene.video.width, 3), _GREY, np.uint8)
    return (grey for _ in frames)


def _encoded(trimesh: Any, surface: Surface, sound: Soundness, suffix: str, voxel: float) -> bytes:
    """Return the file's bytes. What is known of the mesh stands in its header (ply, obj) or in the scene's `extras`."""
    facts = {
        "watertight": sound.watertight,
        "seen_share": round(sound.seen, 4),
        "area": round(sound.area, 6),
        "voxel": voxel,
    }
    vertices = apply(Y_UP, surface.vertices) if suffix == ".glb" else surface.vertices
    mesh = trimesh.Trimesh(vertices, surface.faces, vertex_colors=surface.colours, process=False)
    if suffix == ".glb":
        whole = trimesh.Scene(metadata=facts)
        whole.add_geometry(mesh, node_name="scene", geom_name="scene")
        return bytes(whole.export(file_type="glb"))
    lines = [f"{name} {value}" for name, value in facts.items()]
    if suffix == ".obj":
        return "".join(f"# {line}\n" for line in lines).encode() + mesh.export(file_type="obj").encode()
    first, second, rest = mesh.export(file_type="ply").split(b"\n", 2)
    return b"\n".join([first, second, *(f"comment {line}".encode() for line in lines), rest])
