"""InstantMesh (Xu et al. 2024, arXiv:2404.07191): a mesh from views of an object.

Only cubes that the surface crosses are deformed and weighed. The original program does so for all of them, which takes
16 GB at the published size, and has the same mesh.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from geoflow.errors import InputError
from geoflow.models.instantmesh.empty_field import force_surface, is_empty
from geoflow.models.instantmesh.field import Field
from geoflow.models.instantmesh.flexicubes import extract
from geoflow.models.instantmesh.grid import Grid
from geoflow.models.instantmesh.mesh import Mesh
from geoflow.models.instantmesh.network import MeshNetwork


class EmptyField(InputError):
    """The views do not show an object: what was made of them has no surface."""


class Reconstructor:
    """The network on a device, ready for one object after another.

    Encoder and decoder compute in `dtype`, by default float32, as published; the field is always float32. A `grid_res`
    below the published 128 takes less memory and time and makes a coarser mesh.
    """

    def __init__(
        self,
        network: MeshNetwork,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        grid_res: int | None = None,
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self._dtype = dtype or torch.float32
        for part in (network.encoder, network.transformer):
            part.to(self._dtype)
        network.heads.float()
        self.config = dataclasses.replace(network.config, grid_res=grid_res or network.config.grid_res)
        self.to(device)

    def to(self, device: str | torch.device) -> None:
        """Move the network to a device, on which the next mesh is made."""
        self._device = torch.device(device)
        self.network.to(self._device)
        self.grid = Grid(self.config.grid_res, self.config.grid_scale, self._device)

    def mesh(self, views: Tensor | np.ndarray, cameras: Tensor | np.ndarray, *, force: bool = False) -> Mesh:
        """Return the mesh of an object.

        views (V, 3, H, W) float in 0..1, usually six of 320 x 320, on white; cameras (V, 16), such as `view_cameras()`.
        Vertices are where the field is 0, at most 1.05 from the centre along each axis; the mesh is open at the box.

        Raises EmptyField if there is no surface; with `force` there is one then: the box that the original program
        makes of it. Raises InputError for views and cameras of other shapes.
        """
        with torch.inference_mode():
            field = self.field(views, cameras)
            distance = field.distances(self.grid)
            if bool(is_empty(self.grid, distance)):
                if not force:
                    raise EmptyField(
                        "the views have no surface in common: nothing was reconstructed; look at the six views, and "
                        "give a picture in which the object is large, whole and cut out"
                    )
                distance = force_surface(self.grid, distance[None])[0]
            vertices, faces = self.surface(field, distance)
            colours = (field.colour(vertices).clamp(0, 1) * 255).to(torch.uint8)
        return Mesh(vertices.cpu().numpy(), faces.to(torch.int32).cpu().numpy(), colours.cpu().numpy())

    def field(self, views: Tensor | np.ndarray, cameras: Tensor | np.ndarray) -> Field:
        """Return the field that views (V, 3, H, W) in 0..1 and cameras (V, 16) make."""
        views, cameras = (torch.as_tensor(given).to(self._device, self._dtype) for given in (views, cameras))
        patch = self.config.encoder.patch_size
        if (
            views.dim() != 4
            or views.shape[1] != 3
            or views.shape[2] % patch
            or views.shape[3] % patch
            or 0 in views.shape
        ):
            raise InputError(f"views should be (V, 3, H, W) with sides of whole {patch} px, found {tuple(views.shape)}")
        if cameras.shape != (len(views), 16):
            raise InputError(f"cameras should be ({len(views)}, 16), one for each view, found {tuple(cameras.shape)}")
        return Field(self.network.heads, self.network(views, cameras).float())

    def surface(self, field: Field, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Return vertices (V, 3) float32 and faces (F, 3) int64 of a field's surface."""
        grid = self.grid
        cubes = grid.crossed(distance)
        used, place = grid.corners(cubes).unique(return_inverse=True)
        corners = grid.moved(used, field.deformation(grid.points(used)))[place]
        return extract(grid, distance, cubes, corners, field.weights(grid, cubes))
