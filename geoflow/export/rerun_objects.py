"""What a Rerun recording has of objects: their labels over each frame, and their meshes in the world."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geoflow.store.objects import Objects, colour_of

LABELS = "world/camera/image/labels"  # below the picture, so that the viewer lays them over it
MESHES = "world/objects"

Log = Callable[..., None]  # log(entity, entry, static=False)


def log_objects(rerun: Any, log: Log, objects: Objects) -> None:
    """Log once what does not change: the name and colour of each number, and every mesh at its place in the world."""
    names = [rerun.AnnotationInfo(id=0, label="background", color=(0, 0, 0, 0))]
    names += [rerun.AnnotationInfo(id=n, label=f"object {n}", color=colour_of(n)) for n in objects]
    if objects.has_labels:
        log(LABELS, rerun.AnnotationContext(names), static=True)
    for number, mesh in objects.meshes.items():
        entry = rerun.Mesh3D(
            vertex_positions=mesh.world_vertices, triangle_indices=mesh.faces, vertex_colors=mesh.colours
        )
        log(f"{MESHES}/{number}", entry, static=True)


def log_labels(rerun: Any, log: Log, objects: Objects, i: int) -> None:
    """Log the labels of frame i of the store, if it has any."""
    if objects.has_labels:
        log(LABELS, rerun.SegmentationImage(objects.label[i]))
