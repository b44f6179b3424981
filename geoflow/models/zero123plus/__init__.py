"""Zero123++ (Shi et al. 2023, arXiv:2310.15110): six views around an object from one picture of it.

    views = from_pretrained("zero123plus-v1.2", unet="diffusion_pytorch_model.bin", device="cuda")
    picture = views.generate(square_foreground(rgba))  # (960, 640, 3) u8

Sizes need no torch; the rest imports it when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoflow.models.on_demand import on_demand

if TYPE_CHECKING:
    from geoflow.models.zero123plus.loading import from_pretrained
    from geoflow.models.zero123plus.picture import square_foreground
    from geoflow.models.zero123plus.views import Views

__all__ = ["Views", "from_pretrained", "square_foreground"]

_MODULES = {"Views": "views", "from_pretrained": "loading", "square_foreground": "picture"}

__getattr__ = on_demand(__name__, _MODULES)
