"""GroundingDINO (Liu et al. 2023, arXiv:2303.05499): boxes of what a text names, in one picture.

    from geoflow.models.grounding_dino import from_pretrained

    detector = from_pretrained("grounding-dino-tiny", device="cuda")
    for found in detector.detect(rgb, ("cup", "plate")):  # (H, W, 3) uint8
        found.box, found.phrase, found.score  # left, top, right, bottom in pixels; "cup"; 0..1

The network and its tokens are those of transformers, without its processors, which need torchvision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoflow.models.on_demand import on_demand

if TYPE_CHECKING:
    from geoflow.models.grounding_dino.text_detector import Named, TextDetector, from_pretrained

__all__ = ["Named", "TextDetector", "from_pretrained"]

__getattr__ = on_demand(__name__, dict.fromkeys(__all__, "text_detector"))
