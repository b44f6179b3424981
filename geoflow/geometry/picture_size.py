"""How far a picture is shrunk: its longer side is bounded, unless its shorter side would keep too few pixels."""

from __future__ import annotations

import math

_LEAST_SHARE = 3 / 8  # of the longer side's bound, for the shorter side: pictures wider than 8:3 keep more
_USUAL_ASPECT = 4 / 3  # no picture keeps more pixels than one of this aspect


def shrunk_size(height: int, width: int, long_side: int) -> tuple[int, int]:
    """Return height and width with the same aspect, of which the longer is at most `long_side` px.

    Pictures that are wider or higher than 8:3 would keep too little of their shorter side. They are shrunk only until
    it has 3/8 of `long_side`, and until they have no more pixels than a 4:3 picture. Nothing is enlarged.

    >>> shrunk_size(1080, 1920, 640), shrunk_size(120, 160, 640)
    ((360, 640), (120, 160))
    >>> shrunk_size(96, 1280, 640), shrunk_size(1080, 3840, 640), shrunk_size(4000, 500, 640)
    ((96, 1280), (240, 853), (1568, 196))
    """
    usual = long_side / max(height, width)
    floor = _LEAST_SHARE * long_side / min(height, width)
    area = long_side / math.sqrt(_USUAL_ASPECT * height * width)
    factor = min(1.0, max(usual, min(floor, area)))
    return max(1, round(height * factor)), max(1, round(width * factor))
