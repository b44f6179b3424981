"""Which frames become keyframes: those that have moved enough since the last."""

from __future__ import annotations

from torch import Tensor

from geoflow.models.vipe.flow_model import FlowModel, View


class MotionFilter:
    """Compares each frame with the last that passed."""

    def __init__(self, flow: FlowModel, threshold: float) -> None:
        self.flow, self.threshold = flow, threshold
        self.last: View | None = None
        self._invalid: Tensor | None = None

    def look(self, rgb: Tensor, frame: int, invalid: Tensor | None, *, always: bool = False) -> View | None:
        """Return what is remembered of a frame (3, H, W) that becomes a keyframe; None if it does not.

        invalid (h, w) marks pixels of the grid that do not count. `always` takes the frame whatever it shows.
        """
        view = self.flow.look(rgb, frame)
        moved = self.last is None or motion_score(self.flow.motion(self.last, view), self._invalid) > self.threshold
        if not moved and not always:
            return None
        entered = self.flow.enter(view, rgb)
        if moved:
            self.last, self._invalid = entered, invalid
        return entered


def motion_score(flow: Tensor, invalid: Tensor | None) -> float:
    """Return the mean length of a flow (2, h, w) over valid pixels."""
    length = flow.norm(dim=0)
    if invalid is None:
        return float(length.mean())
    counted = (~invalid).to(length.dtype)
    return float((length * counted).mean() / (counted.mean() + 1e-6))
