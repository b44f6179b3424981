"""The lens that is assumed if the pictures do not tell it: what the source states, or the usual field of view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.fields import DOUBT_ASSUMED, DOUBT_STATED
from geoflow.geometry.cameras import assumed_intrinsics, pinhole

# Standard deviations of log focal length. Stabilisation crops a tenth to a fifth of a phone's view, and some phones
# state the lens of photos for their videos. Usual video cameras see 50 to 80 degrees, action cameras up to 100.
_STATED_ERROR, _USUAL_ERROR = 0.15, 0.3


@dataclass(frozen=True)
class AssumedLens:
    """A pinhole camera that nothing in the pictures supports."""

    intrinsics: np.ndarray  # (3, 3) float32 px
    error: float  # standard deviation of its focal length, relative
    doubt: int  # geoflow.fields.DOUBT_STATED or DOUBT_ASSUMED


def assumed_lens(height: int, width: int, stated_focal: float | None) -> AssumedLens:
    """Return the lens to assume for pictures of this size; `stated_focal` px is what their source says of itself."""
    if stated_focal is None:
        return AssumedLens(assumed_intrinsics(height, width), _USUAL_ERROR, DOUBT_ASSUMED)
    return AssumedLens(pinhole(stated_focal, height, width), _STATED_ERROR, DOUBT_STATED)
