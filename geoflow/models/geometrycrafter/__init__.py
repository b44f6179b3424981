"""GeometryCrafter (Xu et al., ICCV 2025, arXiv:2504.01016): point maps of a video that are consistent over time.

    networks = from_pretrained(crafter_folder, diffusion_folder, "determ")
    crafter = GeometryCrafter(networks, Options(model_type="determ", height=384, width=640), device="cuda")
    found = crafter.reconstruct(frames, prior_points, prior_mask)  # (T, H, W, 3) u8, (T, H, W, 3), (T, H, W)
    for chunk in found:
        chunk.depth, chunk.mask  # (N, H, W)
    found.diagonal  # the focal length, for make_intrinsics and make_points

Options and sizes need no torch; the rest imports it when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoflow.models.geometrycrafter.config import ModelConfig
from geoflow.models.geometrycrafter.options import LADDER, Options
from geoflow.models.on_demand import on_demand

if TYPE_CHECKING:
    from geoflow.models.geometrycrafter.field_of_view import make_intrinsics, make_points
    from geoflow.models.geometrycrafter.loading import from_pretrained
    from geoflow.models.geometrycrafter.networks import Networks
    from geoflow.models.geometrycrafter.pipeline import GeometryCrafter
    from geoflow.models.geometrycrafter.reconstruction import MapChunk, Reconstruction

__all__ = [
    "LADDER",
    "GeometryCrafter",
    "MapChunk",
    "ModelConfig",
    "Networks",
    "Options",
    "Reconstruction",
    "from_pretrained",
    "make_intrinsics",
    "make_points",
]

_MODULES = {
    "GeometryCrafter": "pipeline",
    "MapChunk": "reconstruction",
    "Networks": "networks",
    "Reconstruction": "reconstruction",
    "from_pretrained": "loading",
    "make_intrinsics": "field_of_view",
    "make_points": "field_of_view",
}

__getattr__ = on_demand(__name__, _MODULES)
