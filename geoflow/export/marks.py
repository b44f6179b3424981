"""What is drawn over a frame, however it is drawn: which tracks, which hands, and the bones of a hand."""

from __future__ import annotations

import numpy as np

from geoflow.fields import HAND_SIDES
from geoflow.store.lazy import Hand
from geoflow.store.reader import Video

TRAIL = 12  # frames that a trail goes back
HUES = 12  # of tracks
_MOST_TRACKS = 140  # seen in one frame; more would hide the picture
# MediaPipe's joints: 0 the wrist, then thumb to little finger from root to tip.
BONES = ((0, 1), (0, 5), (0, 17), (5, 9), (9, 13), (13, 17)) + tuple(
    (joint, joint + 1) for first in (1, 5, 9, 13, 17) for joint in range(first, first + 3)
)


def drawn_tracks(count: int, most_seen: int) -> np.ndarray:
    """Return the numbers of the tracks to draw, of `count`, so that at most 140 of `most_seen` in a frame are drawn."""
    return np.arange(0, count, max(1, -(-most_seen // _MOST_TRACKS)))


def hue_of(chosen: np.ndarray, count: int) -> np.ndarray:
    """Return the hues, 0 to 11, of the tracks `chosen` of `count`; neighbours in the list have similar ones."""
    return HUES * chosen // max(count, 1)


def degrees_of(hue: int) -> int:
    """Return the angle of a hue on the colour wheel, red to magenta."""
    return round(300 * int(hue) / HUES)


def hands_of(video: Video, i: int) -> list[tuple[str, Hand, tuple[int, ...]]]:
    """Return the side of each hand of frame i, and where its values are: all hands if the store has them."""
    if video.hands is None:
        return []
    if (every := video.hands.all) is not None:
        rows = sorted(map(int, np.flatnonzero(every.valid[i])), key=lambda row: (every.side[i, row], row))
        return [(HAND_SIDES[every.side[i, row]], every, (i, row)) for row in rows]
    sides = ((side, getattr(video.hands, side)) for side in ("left", "right"))
    return [(side, hand, (i,)) for side, hand in sides if hand is not None and hand.valid[i]]


def is_filled(hand: Hand, where: tuple[int, ...]) -> bool:
    """Return whether the hand was not seen there, but interpolated between two frames in which it was."""
    return hand.filled is not None and bool(hand.filled[where])
