"""InstantMesh (Xu et al. 2024, arXiv:2404.07191): a mesh with coloured vertices from six views of an object.

    reconstructor = from_checkpoint("instant_mesh_large.ckpt", "large", device="cuda")
    mesh = reconstructor.mesh(split_views(picture), view_cameras())  # picture (960, 640, 3) u8, from zero123plus
    mesh.vertices, mesh.faces, mesh.colours  # (V, 3), (F, 3), (V, 3) u8

Sizes and cameras need no torch; the rest imports it when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoflow.models.instantmesh.cameras import view_cameras
from geoflow.models.instantmesh.config import ReconstructorConfig
from geoflow.models.instantmesh.mesh import Mesh
from geoflow.models.on_demand import on_demand

if TYPE_CHECKING:
    from geoflow.models.instantmesh.checkpoint import from_checkpoint
    from geoflow.models.instantmesh.reconstructor import EmptyField, Reconstructor
    from geoflow.models.instantmesh.view_pictures import split_views

__all__ = [
    "EmptyField",
    "Mesh",
    "Reconstructor",
    "ReconstructorConfig",
    "from_checkpoint",
    "split_views",
    "view_cameras",
]

_MODULES = {
    "EmptyField": "reconstructor",
    "Reconstructor": "reconstructor",
    "from_checkpoint": "checkpoint",
    "split_views": "view_pictures",
}

__getattr__ = on_demand(__name__, _MODULES)
