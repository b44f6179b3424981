"""The export formats, and the function that writes any of them."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from geoflow.errors import ConfigError
from geoflow.export.colmap import export_colmap
from geoflow.export.depth_folder import export_depth
from geoflow.export.depth_video import export_depth_video
from geoflow.export.frames import Written
from geoflow.export.lerobot import export_lerobot
from geoflow.export.mesh_files import export_obj
from geoflow.export.nerfstudio import export_nerfstudio
from geoflow.export.point_cloud import export_glb, export_ply
from geoflow.export.preview import export_preview
from geoflow.export.rerun_log import export_rerun
from geoflow.export.scene_mesh import export_mesh
from geoflow.export.tapip3d import export_tapip3d
from geoflow.export.tapvid3d import export_tapvid3d
from geoflow.export.vipe import export_vipe
from geoflow.export.y2r import export_y2r
from geoflow.files.locations import is_remote
from geoflow.store.reader import open_video
from geoflow.values.plain import plain


@dataclass(frozen=True)
class Format:
    """One format: `function(video, out, **options)` writes it and returns how many frames went in."""

    function: Callable[..., int | Written]
    what: str
    suffix: str  # of the file; "" for a folder
    reader: str  # the tools that open it
    others: tuple[str, ...] = ()  # suffixes that may stand in its place, for other kinds of file

    @property
    def options(self) -> dict[str, Any]:
        """Option -> default."""
        parameters = inspect.signature(self.function).parameters.values()
        return {row.name: row.default for row in parameters if row.kind is row.KEYWORD_ONLY}


@dataclass(frozen=True)
class Exported:
    """The result of an export: its path, and how many of the store's frames are in it."""

    path: Path
    frames: int
    of: int
    said: str = ""  # of the result, if the format has something to say


FORMATS: dict[str, Format] = {
    "tapip3d": Format(export_tapip3d, "npz of video, depth and cameras", ".npz", "TAPIP3D's inference.py"),
    "vipe": Format(export_vipe, "ViPE's artefacts: rgb, pose, intrinsics, depth", "", "vipe.utils.io"),
    "tapvid3d": Format(export_tapvid3d, "npz of frames and 3D tracks", ".npz", "TAPVid-3D's evaluate_model.py"),
    "colmap": Format(export_colmap, "sparse model and images", "", "COLMAP, pycolmap, 3DGS trainers"),
    "nerfstudio": Format(export_nerfstudio, "transforms.json, pictures and points", "", "nerfstudio (ns-train)"),
    "ply": Format(export_ply, "coloured points of the world, or meshes", ".ply", "trimesh, MeshLab, Open3D"),
    "glb": Format(export_glb, "coloured points and the camera's path, or meshes", ".glb", "trimesh, Blender, browsers"),
    "obj": Format(export_obj, "meshes of objects in the world", ".obj", "trimesh, Blender, MeshLab"),
    "mesh": Format(
        export_mesh,
        "surface of what rests, fused from depth",
        ".glb",
        "trimesh, Blender, MeshLab",
        (".ply", ".obj"),
    ),
    "rerun": Format(export_rerun, "recording over time", ".rrd", "the Rerun viewer"),
    "lerobot": Format(export_lerobot, "dataset v3.0 of one episode", "", "LeRobotDataset"),
    "y2r": Format(export_y2r, "HDF5 of windows of tracks and hands", ".hdf5", "y2r's TrackDataset"),
    "depth": Format(export_depth, "depth/GeometryCrafter/, a file per frame", "", "numpy, OpenCV"),
    "depth_video": Format(export_depth_video, "depth in colours, an mp4", ".mp4", "any player"),
    "preview": Format(export_preview, "frames beside depth, with tracks, hands and path, an mp4", ".mp4", "any player"),
}


def format_named(to: str) -> Format:
    """Return a format by name. Raises ConfigError if there is none of this name."""
    if to not in FORMATS:
        raise ConfigError(f"--to {to}: there is no such format; the formats are: {', '.join(FORMATS)}")
    return FORMATS[to]


def export_store(file: str | os.PathLike[str], to: str, out: str | os.PathLike[str], **options: Any) -> Exported:
    """Write the store `file` in the format `to` as `out`, which appears only when it is whole.

    `options` are the keyword arguments of the format's function, which describes them.

    Raises ConfigError for an unknown format or option, or if a needed library is not installed. Raises StoreError that
    names file and remedy if the store lacks what the format needs, or the disk refuses.
    """
    form = format_named(to)
    options = plain(options, "options")
    if is_remote(out):
        raise ConfigError(f"-o {out}: exports are written to a local disk; give a path, and copy the export from there")
    if form.suffix and Path(out).suffix not in (suffixes := (form.suffix, *form.others)):
        raise ConfigError(f"-o {out}: {to} writes one file, whose name should end in {' or '.join(suffixes)}")
    check_options(to, options)
    with open_video(file) as video:
        done = form.function(video, Path(out), **options)
        frames, said = (done.frames, done.said) if isinstance(done, Written) else (done, "")
        return Exported(Path(out), frames, len(video), said)


def check_options(to: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigError for an option that the format does not have, or a value of the wrong type."""
    check_values(to, options, FORMATS[to].options, get_type_hints(FORMATS[to].function))


def check_values(to: str, options: Mapping[str, Any], known: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """Raise ConfigError for an option that is not `known`, by name with its default, or a value of the wrong type."""
    if unknown := sorted(set(options) - set(known)):
        there = ", ".join(f"{name}={value!r}" for name, value in known.items()) or "none"
        raise ConfigError(f"--set {', '.join(unknown)}: {to} has no such option; it has: {there}")
    for name, value in options.items():
        kind = hints[name]
        fits = isinstance(value, int | float) if kind is float else isinstance(value, kind)
        if not fits or (kind is not bool and isinstance(value, bool)):
            raise ConfigError(f"--set {name}={value}: {to} takes a {kind.__name__} here, such as {known[name]!r}")
        if kind in (int, float) and not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"--set {name}={value}: {to} takes a positive number here, such as {known[name]!r}")
