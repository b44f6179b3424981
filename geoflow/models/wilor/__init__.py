"""WiLoR (Potamias et al. 2025, arXiv:2409.12259): hands in images, by MANO's hand model.

    from geoflow.models.wilor import from_checkpoint

    model = from_checkpoint("wilor_final.ckpt", "MANO_RIGHT.pkl", device="cuda")
    hands = model.predict(image, boxes, right, focal=900.0, principal=(639.5, 359.5))
    hands.joints_in_camera  # (N, 21, 3) metres

Own implementation. The weights are under CC BY-NC-ND 4.0, and the hand model is under MANO's own licence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoflow.models.on_demand import on_demand

if TYPE_CHECKING:
    from geoflow.models.wilor.checkpoint import from_checkpoint
    from geoflow.models.wilor.hand_model import HandModel, Hands

__all__ = ["HandModel", "Hands", "from_checkpoint"]

_MODULES = {"HandModel": "hand_model", "Hands": "hand_model", "from_checkpoint": "checkpoint"}

__getattr__ = on_demand(__name__, _MODULES)
