"""The four networks together, and their place while they are idle."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from geoflow.models.diffusion.clip import CLIPVision
from geoflow.models.diffusion.image_vae import ImageVAE
from geoflow.models.geometrycrafter.config import ModelConfig
from geoflow.models.geometrycrafter.point_map_vae import PointMapVAE
from geoflow.models.geometrycrafter.unet import UNet


@dataclass(frozen=True)
class Networks:
    """The networks of one variant of GeometryCrafter."""

    unet: UNet
    point_map_vae: PointMapVAE
    vae: ImageVAE
    image_encoder: CLIPVision
    config: ModelConfig

    @classmethod
    def build(cls, config: ModelConfig) -> Networks:
        """Build networks of these sizes, with torch's initial weights."""
        return cls(
            UNet(config.unet),
            PointMapVAE(config.point_map_vae),
            ImageVAE(config.vae),
            CLIPVision(config.image_encoder),
            config,
        )

    def modules(self) -> dict[str, nn.Module]:
        """Return the networks by the names of their components."""
        return {
            "unet": self.unet,
            "point_map_vae": self.point_map_vae,
            "vae": self.vae,
            "image_encoder": self.image_encoder,
        }

    def prepare(self, dtype: torch.dtype) -> None:
        """Prepare for inference: UNet and CLIP in `dtype`, both autoencoders in float32, which they need."""
        for network in self.modules().values():
            network.eval().requires_grad_(False)
        self.unet.to(dtype)
        self.image_encoder.to(dtype)
        self.vae.float()
        self.point_map_vae.float()

    def put_channels_last(self, *, autoencoders_only: bool) -> None:
        """Store the weights of convolutions with channels last; their feature maps then have this order, too."""
        networks = (self.vae, self.point_map_vae) if autoencoders_only else self.modules().values()
        for layer in (layer for network in networks for layer in network.modules()):
            if isinstance(layer, nn.Conv2d):
                layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class Offloading:
    """Keeps networks on the device: always, or with `offload` only while they are used.

    Idle networks keep their weights in host memory; nothing is copied back, since inference does not change weights.
    """

    def __init__(self, networks: Networks, device: torch.device, offload: bool) -> None:
        self._device = device
        self._offload = offload and device.type != "cpu"
        for network in networks.modules().values():
            network.to("cpu" if self._offload else device)

    @contextlib.contextmanager
    def using(self, *networks: nn.Module) -> Iterator[None]:
        """Keep these networks on the device within the block."""
        if not self._offload:
            yield
            return
        parameters = [parameter for network in networks for parameter in network.parameters()]
        at_home = [parameter.data for parameter in parameters]
        try:
            for parameter in parameters:
                parameter.data = parameter.data.to(self._device)
            yield
        finally:
            for parameter, home in zip(parameters, at_home):
                parameter.data = home
