"""What a Rerun recording has of objects: their labels over each frame, and their meshes in the world."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from geoflow.store.objects import ObjectPoses, Objects, colour_of

LABELS = "world/camera/image/labels"  # below the picture, so that the viewer lays them over it
MESHES = "world/objects"
PATHS = "world/object_paths"

Log = Callable[..., None]  # log(entity, entry, static=False)


def log_objects(rerun: Any, log: Log, objects: Objects) -> None:
    """Log once what does not change: the name and colour of each number, every mesh as its own frame has it in the
    world, and the path of each object that moves."""
    names = [rerun.AnnotationInfo(id=0, label="background", color=(0, 0, 0, 0))]
    names += [rerun.AnnotationInfo(id=n, label=f"object {n}", color=colour_of(n)) for n in objects]
    if objects.has_labels:
        log(LABELS, rerun.AnnotationContext(names), static=True)
    for number, mesh in objects.meshes.items():
        entry = rerun.Mesh3D(
            vertex_positions=mesh.world_vertices, triangle_indices=mesh.faces, vertex_colors=mesh.colours
        )
        log(f"{MESHES}/{number}", entry, static=True)
    for number, row in objects.items():
        if row.poses is not None and (strips := _strips(row.poses)):
            entry = rerun.LineStrips3D(strips, colors=colour_of(number))
            log(f"{PATHS}/{number}", entry, static=True)


def log_poses(rerun: Any, log: Log, objects: Objects, i: int) -> None:
    """Move the meshes to where frame i of the store has them; one whose pose is unknown there stays where it was."""
    for number, row in objects.items():
        if row.world_from_mesh(i) is not None and row.poses is not None:
            moved = row.poses.world_from_object[i]
            log(f"{MESHES}/{number}", rerun.Transform3D(translation=moved[:3, 3], mat3x3=moved[:3, :3]))


def log_labels(rerun: Any, log: Log, objects: Objects, i: int) -> None:
    """Log the labels of frame i of the store, if it has any."""
    if objects.has_labels:
        log(LABELS, rerun.SegmentationImage(objects.label[i]))


def _strips(poses: ObjectPoses) -> list[np.ndarray]:
    """Return the path of an object's middle, a strip for each run of frames in which it is known."""
    known = np.flatnonzero(poses.known)
    runs = np.split(known, np.flatnonzero(np.diff(known) > 1) + 1)
    return [poses.path[run] for run in runs if len(run) > 1]
