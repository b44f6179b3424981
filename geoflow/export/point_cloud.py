"""`ply` and `glb`: the video's points in one cloud; or its meshes, which `geoflow.export.mesh_files` writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geoflow.environments.extras import library
from geoflow.export.frames import Depths, cameras_of, frames_with_depth, lifted, pictures, posed_frames
from geoflow.export.mesh_files import POINTS, Y_UP, wants_mesh, write_glb, write_ply
from geoflow.export.track_rows import spread_out
from geoflow.geometry.rigid import apply
from geoflow.store.reader import Video
from geoflow.store.whole import write_whole

_GREY = 160


def export_ply(
    video: Video,
    out: Path,
    *,
    stride: int = 10,
    max_points: int = 1_000_000,
    colours: bool = True,
    what: str = POINTS,
    object: int = 0,
) -> int:
    """Write `out`, a binary PLY of at most `max_points` points; return the number of frames that they come from.

    Vertices are float32 in the store's world frame (the first camera's axes in OpenCV's convention: x right, y down, z
    forward), scene units, with the pixels' colours; without `colours` they are grey. They are drawn at random from the
    pixels with depth of every `stride`-th frame, equally many from each frame.

    With `what` "mesh", the meshes of objects are written instead, in the same frame and unit, with the colours of their
    vertices; `object` picks the one of that number, 0 all of them.

    Raises StoreError if no frame has pose and depth or if pixels cannot be read, or if there is no such mesh,
    ConfigError without the library trimesh.
    """
    if wants_mesh(what, object):
        return write_ply(video, out, object)
    trimesh = library("trimesh", "export", "--to ply")
    frames, points, rgba = _cloud(video, stride, max_points, colours)
    write_whole(out, trimesh.PointCloud(points, rgba).export(file_type="ply"))
    return len(frames)


def export_glb(
    video: Video,
    out: Path,
    *,
    stride: int = 10,
    max_points: int = 500_000,
    colours: bool = True,
    what: str = POINTS,
    object: int = 0,
) -> int:
    """Write `out`, a binary glTF of the points of `export_ply` and the camera's path; return the number of frames.

    `stride`, `max_points`, `colours`, `what` and `object` are those of `export_ply`. glTF is y-up: x right, y up, z
    backward. The nodes are `points` and `cameras`; the path goes through all posed frames. Of meshes, each is a node
    `object_<number>`, and alone.

    Raises the errors of `export_ply`.
    """
    if wants_mesh(what, object):
        return write_glb(video, out, object)
    trimesh = library("trimesh", "export", "--to glb")
    frames, points, rgba = _cloud(video, stride, max_points, colours)
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.PointCloud(apply(Y_UP, points), rgba), node_name="points", geom_name="points")
    centers = apply(Y_UP, cameras_of(video).centers[posed_frames(video)])
    if len(centers) > 1:
        line = trimesh.path.entities.Line(np.arange(len(centers)), color=[255, 80, 0, 255])
        scene.add_geometry(trimesh.path.Path3D([line], centers), node_name="cameras", geom_name="cameras")
    write_whole(out, scene.export(file_type="glb"))
    return len(frames)


def _cloud(video: Video, stride: int, max_points: int, colours: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the frames used (M,), points (K, 3) float32 world, colours (K, 4) uint8."""
    posed, depths = posed_frames(video, stride), Depths(video)
    frames, _ = frames_with_depth(video, depths, posed)
    frames = frames[spread_out(len(frames), max_points)]  # at least one point per frame
    share = max_points // len(frames)
    images = pictures(video, frames) if colours else None
    points, rgba = [], []
    for i in frames:
        xyz, where = lifted(video, depths, i)
        rng = np.random.default_rng(int(i))
        drawn = np.sort(rng.permutation(len(xyz))[:share])
        points.append(xyz[drawn])
        colour = np.full((len(drawn), 4), 255, np.uint8)
        colour[:, :3] = _GREY if images is None else next(images)[where][drawn]
        rgba.append(colour)
    return frames, np.concatenate(points), np.concatenate(rgba)
