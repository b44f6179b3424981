"""Names of fields that exist for each object: between stages, `mesh.3.vertices` is `mesh.vertices` of object 3."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

MESH = "mesh"  # the group that exists for each object
MESH_FIELDS = tuple(f"{MESH}.{name}" for name in ("vertices", "faces", "colours", "world_from_mesh", "frame"))
MESH_SEEN = f"{MESH}.seen"  # the one more that a mesh may have
MOST_OBJECTS = 255  # per video: a label is one byte, and 0 is background
_OF_OBJECT = re.compile(rf"{MESH}\.([1-9][0-9]*)\.(\w+)")


def kind_of(name: str) -> str:
    """Return the name of a field's row: the name without the number of an object.

    >>> kind_of("mesh.3.vertices"), kind_of("camera.depth")
    ('mesh.vertices', 'camera.depth')
    """
    match = _OF_OBJECT.fullmatch(name)
    return f"{MESH}.{match[2]}" if match else name


def object_of(name: str) -> int | None:
    """Return the number of the object in a field's name; None if there is none.

    >>> object_of("mesh.3.vertices"), object_of("mesh.vertices")
    (3, None)
    """
    match = _OF_OBJECT.fullmatch(name)
    return int(match[1]) if match else None


def name_for(name: str, number: int) -> str:
    """Return the name between stages of a field of object `number`.

    >>> name_for("mesh.vertices", 3)
    'mesh.3.vertices'
    """
    group, _, leaf = name.rpartition(".")
    return f"{group}.{number}.{leaf}"


def meshes_in(arrays: Mapping[str, np.ndarray]) -> dict[int, dict[str, np.ndarray]]:
    """Return the meshes among fields between stages: object number -> {"vertices": ..., "faces": ..., ...}."""
    found: dict[int, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        if (number := object_of(name)) is not None:
            found.setdefault(number, {})[name.rpartition(".")[2]] = array
    return dict(sorted(found.items()))
