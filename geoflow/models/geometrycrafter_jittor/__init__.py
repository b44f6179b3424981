"""GeometryCrafter with its networks in Jittor, from the same published weights as `geoflow.models.geometrycrafter`.

    compiling.import_jittor(device="cpu")  # first: Jittor is set up when it is imported, once per process
    networks = from_pretrained(crafter_folder, diffusion_folder, "determ")
    crafter = GeometryCrafter(networks, Options(model_type="determ", height=384, width=640))
    found = crafter.reconstruct(frames, prior_points, prior_mask)

It is a second copy of the networks, and not one topology over two frameworks. What could be shared is the wiring, and
PyTorch's wiring is written around writes in place, memory formats and layers that see some frames at a time; a switch
beneath it would make both harder to read, and would cost PyTorch speed. The keys, shapes and numbers of both copies are
held to the same reference data. What needs no framework is in `geometrycrafter`, and imported from there.

- `compiling`, `framework`: Jittor's set-up on a machine, and Jittor itself
- `layers`, `video_layers`, `unet`, `autoencoders`, `image_tower`: the networks; they must not import torch
- `networks`: all four, their weights, and calls with arrays
- `resampling`, `array_priors`, `decoded_maps`, `sampling`, `pipeline`: the rest, in numpy
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoflow.models.on_demand import on_demand

if TYPE_CHECKING:
    from geoflow.models.geometrycrafter_jittor.networks import Networks, from_pretrained
    from geoflow.models.geometrycrafter_jittor.pipeline import GeometryCrafter

__all__ = ["GeometryCrafter", "Networks", "from_pretrained"]

_MODULES = {"GeometryCrafter": "pipeline", "Networks": "networks", "from_pretrained": "networks"}

__getattr__ = on_demand(__name__, _MODULES)
