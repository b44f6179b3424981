"""Small pictures of depth, for looking at a store."""

from __future__ import annotations

import sys

import numpy as np


def colour_depth(depth: np.ndarray, near: float | None = None, far: float | None = None) -> np.ndarray:
    """Depth (H, W), 0 where invalid, to colours (H, W, 3) uint8 RGB: near is bright, invalid is black.

    Colours run over inverse depth between `near` and `far`, by default the 2nd and 98th percentile.
    """
    import cv2

    depth = np.asarray(depth, np.float32)
    keep = depth > 0
    if not keep.any():
        return np.zeros((*depth.shape, 3), np.uint8)
    inverse = 1 / np.where(keep, depth, 1)
    low, high = np.percentile(inverse[keep], [2, 98])
    low = 1 / far if far else low
    high = 1 / near if near else high
    level = np.clip((inverse - low) / max(high - low, 1e-9), 0, 1)
    colours = cv2.applyColorMap((level * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    return np.where(keep[..., None], colours, 0).astype(np.uint8)


def display(image: np.ndarray) -> None:
    """Show an RGB image (H, W, 3) uint8 below the cell when this runs in a notebook; elsewhere do nothing."""
    if "ipykernel" not in sys.modules:
        return
    import cv2
    from IPython.display import Image
    from IPython.display import display as show

    done, png = cv2.imencode(".png", image[..., ::-1])
    if done:
        show(Image(data=png.tobytes()))
