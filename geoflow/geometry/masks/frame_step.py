"""The step from one frame to the next: where each pixel comes from, and how far that can be believed."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from geoflow.geometry.cameras import pixel_grid
from geoflow.geometry.masks.colour_model import quantised
from geoflow.geometry.optical_flow import dense_flow, flow_error

_AGREES_PX = 1.5  # forward and backward flow differ by less where both are right
_CHANGED = 20  # of 255, over 3x3 px: what comes into view at an edge may have a flow that agrees, but not its colours


@dataclass(frozen=True)
class FrameStep:
    """A frame, and the flow between it and the frame before."""

    rgb: np.ndarray  # (H, W, 3) uint8
    cells: np.ndarray  # (H, W) int32, see `quantised`
    source: np.ndarray  # (H, W, 2) float32: where each pixel was in the frame before, px
    flow: np.ndarray  # (H, W, 2) float32: how far each pixel of the frame before has moved, px
    sure: np.ndarray  # (H, W) bool: forward and backward flow agree
    uncovered: np.ndarray  # (H, W) bool: the frame before did not show it
    depth: np.ndarray | None  # (H, W) float32, 0 where unknown; None without depth
    depth_before: np.ndarray | None  # of the frame before

    @classmethod
    def between(
        cls, before: np.ndarray, rgb: np.ndarray, depth_before: np.ndarray | None, depth: np.ndarray | None
    ) -> FrameStep:
        """Return the step between two frames (H, W, 3) uint8."""
        gray_before, gray = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (before, rgb))
        forward, backward = dense_flow(gray_before, gray), dense_flow(gray, gray_before)
        sure = flow_error(backward, forward) < _AGREES_PX
        source = (pixel_grid(*gray.shape) + backward).astype(np.float32)
        moved = cv2.remap(before, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        change = cv2.blur(cv2.absdiff(moved, rgb), (3, 3)).mean(-1)
        return cls(rgb, quantised(rgb), source, forward, sure, ~sure | (change > _CHANGED), depth, depth_before)

    def carried(self, mask: np.ndarray) -> np.ndarray:
        """Return where the pixels of a mask (H, W) bool of the frame before are now: (H, W) bool."""
        moved = cv2.remap(mask.astype(np.float32), self.source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        return moved > 0.5

    def earlier_depth(self) -> np.ndarray | None:
        """Return the depth that each pixel had in the frame before: (H, W) float32, 0 where unknown."""
        if self.depth_before is None:
            return None
        return cv2.remap(self.depth_before, self.source, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
