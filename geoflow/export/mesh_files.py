"""`obj`, and the meshes of `ply` and `glb`: objects in the world, in the colours of their vertices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from geoflow.environments.extras import library
from geoflow.errors import ConfigError, StoreError
from geoflow.geometry.rigid import apply
from geoflow.store.objects import Mesh
from geoflow.store.reader import Video
from geoflow.store.whole import write_whole

POINTS, MESH = "points", "mesh"  # what a `ply` or a `glb` holds
Y_UP = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenCV's axes to glTF's: half a turn about x


def export_obj(video: Video, out: Path, *, object: int = 0) -> int:
    """Write `out`, a Wavefront OBJ of the store's meshes; return the number of frames that they were made from.

    Vertices are in the store's world frame (the first camera's axes in OpenCV's convention: x right, y down, z
    forward), scene units, each followed by its colour, red, green and blue from 0 to 1. Every object is an `o` named
    `object_<number>`; `object` picks the one of that number, 0 all of them.

    Raises StoreError if the store has no such mesh, ConfigError without the library trimesh.
    """
    trimesh = library("trimesh", "export", "--to obj")
    meshes = chosen_meshes(video, object)
    scene = _scene(trimesh, meshes, np.eye(4))
    write_whole(out, scene.export(file_type="obj").encode())
    return frames_of(meshes)


def write_ply(video: Video, out: Path, number: int) -> int:
    """Write the meshes as one binary PLY, in the world frame and scene units; return the number of their frames."""
    trimesh = library("trimesh", "export", "--to ply")
    meshes = chosen_meshes(video, number)
    whole = trimesh.util.concatenate([_trimesh(trimesh, mesh, np.eye(4)) for mesh in meshes.values()])
    write_whole(out, whole.export(file_type="ply"))
    return frames_of(meshes)


def write_glb(video: Video, out: Path, number: int) -> int:
    """Write the meshes as a binary glTF, a node `object_<number>` each; return the number of their frames.

    glTF is y-up: x right, y up, z backward, half a turn about x from the world frame.
    """
    trimesh = library("trimesh", "export", "--to glb")
    meshes = chosen_meshes(video, number)
    write_whole(out, _scene(trimesh, meshes, Y_UP).export(file_type="glb"))
    return frames_of(meshes)


def wants_mesh(what: str, number: int) -> bool:
    """Whether `what` asks for meshes. Raises ConfigError where it is neither, or an object is named for points."""
    if what not in (POINTS, MESH):
        raise ConfigError(f"--set what={what}: this format holds {POINTS} or {MESH}")
    if what == POINTS and number:
        raise ConfigError(f"--set object={number}: points belong to no object; add --set what={MESH}")
    return what == MESH


def chosen_meshes(video: Video, number: int) -> dict[int, Mesh]:
    """The meshes of a store by the number of their object, or the only one wanted. Raises StoreError without any."""
    objects = video.objects
    if objects is None or not (meshes := objects.meshes):
        raise StoreError(f"{video.path} holds no mesh; run a pipeline that has the slot mesh")
    if not number:
        return meshes
    if number not in meshes:
        why = objects[number].without if number in objects else ""
        raise StoreError(
            f"{video.path} holds no mesh of object {number}{f' ({why})' if why else ''}; it holds those of "
            f"{', '.join(map(str, meshes))}"
        )
    return {number: meshes[number]}


def frames_of(meshes: dict[int, Mesh]) -> int:
    return len({mesh.frame for mesh in meshes.values()})


def _scene(trimesh: Any, meshes: dict[int, Mesh], axes: np.ndarray) -> Any:
    scene = trimesh.Scene()
    for number, mesh in meshes.items():
        name = f"object_{number}"
        scene.add_geometry(_trimesh(trimesh, mesh, axes), node_name=name, geom_name=name)
    return scene


def _trimesh(trimesh: Any, mesh: Mesh, axes: np.ndarray) -> Any:
    """In the world, with no vertex merged, dropped or moved to another place in the list."""
    vertices = apply(axes, mesh.world_vertices)
    return trimesh.Trimesh(vertices, mesh.faces, vertex_colors=mesh.colours, process=False)
