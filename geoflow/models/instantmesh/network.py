"""The whole network, with its parameters under their published names."""

from __future__ import annotations

from torch import Tensor, nn

from geoflow.models.instantmesh.config import ReconstructorConfig
from geoflow.models.instantmesh.encoder import ViewEncoder
from geoflow.models.instantmesh.field import Heads
from geoflow.models.instantmesh.triplanes import TriplaneDecoder


class MeshNetwork(nn.Module):
    """Views of an object to feature planes; `heads` reads them."""

    def __init__(self, config: ReconstructorConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ViewEncoder(config.encoder)
        self.transformer = TriplaneDecoder(config)
        self.synthesizer = nn.ModuleDict({"decoder": Heads(config.triplane_dim)})

    @property
    def heads(self) -> Heads:
        heads = self.synthesizer["decoder"]
        assert isinstance(heads, Heads)
        return heads

    def forward(self, views: Tensor, cameras: Tensor) -> Tensor:
        """views (V, 3, H, W) in 0..1, cameras (V, 16) to planes (3, C, R, R): (x, y), (x, z) and (z, y)."""
        return self.transformer(self.encoder(views, cameras).flatten(0, 1)[None])[0]
