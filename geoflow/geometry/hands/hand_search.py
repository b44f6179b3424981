"""Finding hands in the frames of a segment with two networks: one proposes places, one looks at a place.

MediaPipe's own graph follows hands forwards only, believes its palm detector from 0.5 on and looks at a new place once.
Here the palm detector only proposes: from a low score on, and in parts of the picture, too, where hands are small; the
landmark network's word that a hand is there decides, after it was given a few looks to centre itself. Hands are then
followed forwards and backwards, so that one that is proposed once is known from its first visible frame to its last.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from geoflow.geometry.hands.hand_sides import Detection, drop_duplicates

_LOOKS = 3  # at a new place: on photos the joints come to rest by then
_MOST_NEW = 4  # places looked at in a frame, of all that the palm detector proposes
_TILE = 0.6  # of the longer side; a hand of 25 px in a picture of 640 is then as large for the detector as one of 42
_GOOD_PROPOSAL = 0.2  # palm detector's score; of what it likes less, and of what is in a part of the picture only,
_SURE = 0.8  # the landmark network must say so: chosen on photos with hands, and on 84 pictures without any
_LEAST_PX = 32.0  # what parts of a picture show that is smaller, is mostly no hand
_MIN_RATIO = 0.3  # of a hand's size to a larger one's
_SAME_PLACE = 0.25  # of the larger square's side, between centres: one hand


@dataclass(frozen=True)
class Place:
    """A square in the picture, turned, in which a hand may be."""

    x: float  # centre, px
    y: float
    side: float  # px
    turn: float  # rad, clockwise as seen
    score: float = 1.0  # 0..1, the detector's


@dataclass(frozen=True)
class Sight:
    """A hand seen at a place, and where to look for it next."""

    detection: Detection
    place: Place


class Eye(Protocol):
    """The two networks."""

    def propose(self, rgb: np.ndarray) -> list[Place]:
        """Places in (H, W, 3) uint8 where hands may be."""

    def look(self, rgb: np.ndarray, place: Place) -> Sight | None:
        """The hand at a place of (H, W, 3) uint8, its score being the network's word that it is one."""


@dataclass(frozen=True)
class HandSearch:
    """What to look for and how hard."""

    max_hands: int = 2
    min_presence: float = 0.5  # for a hand that is new
    min_following: float = 0.5  # for one that was there in the frame before or after
    search_every: int = 10  # frames between two searches in parts of the picture; 0: none


def find_hands(frames: Sequence[np.ndarray], eye: Eye, how: HandSearch) -> list[list[Detection]]:
    """The hands of each frame, at most `max_hands`."""
    found: list[list[Sight]] = []
    for i, rgb in enumerate(frames):
        sights = _followed(eye, rgb, found[-1] if found else [], [], how)
        if len(sights) < how.max_hands:
            sights = _with_new(eye, rgb, sights, eye.propose(rgb), how, how.min_presence)
        if len(sights) < how.max_hands and how.search_every and i % how.search_every == 0:
            sights = _with_new(eye, rgb, sights, list(_in_tiles(eye, rgb)), how, _SURE, _LEAST_PX)
        found.append(sights)
    for i in range(len(frames) - 2, -1, -1):
        if len(found[i]) < how.max_hands:
            found[i] = _followed(eye, frames[i], found[i + 1], found[i], how)
    return [[sight.detection for sight in sights] for sights in found]


def _followed(
    eye: Eye, rgb: np.ndarray, before: Sequence[Sight], known: Sequence[Sight], how: HandSearch
) -> list[Sight]:
    """The hands of a neighbouring frame, looked for in this one, after those that are known here already."""
    sights = list(known)
    for sight in before:
        if len(sights) < how.max_hands and not _taken(sight.place, sights):
            now = eye.look(rgb, sight.place)
            if now is not None and now.detection.score >= how.min_following:
                sights = _distinct([*sights, now])
    return sights


def _with_new(
    eye: Eye,
    rgb: np.ndarray,
    sights: list[Sight],
    places: Sequence[Place],
    how: HandSearch,
    needed: float,
    least_px: float = 0.0,
) -> list[Sight]:
    """Add the surest hands at proposed places: those that both networks like best together."""
    new: list[tuple[float, Sight]] = []
    for place in sorted(places, key=lambda p: -p.score)[:_MOST_NEW]:
        if _taken(place, [*sights, *(s for _, s in new)]) or (sight := _settled(eye, rgb, place, how)) is None:
            continue
        enough = needed if place.score >= _GOOD_PROPOSAL else max(needed, _SURE)
        if sight.detection.score >= enough and sight.detection.size_px >= least_px:
            new.append((place.score * sight.detection.score, sight))
    for _, sight in sorted(new, key=lambda pair: -pair[0]):
        if len(sights) < how.max_hands and not _part_of_one(sight, sights):
            sights = _distinct([*sights, sight])
    return sights


def _part_of_one(sight: Sight, sights: Sequence[Sight]) -> bool:
    """Fingers of a large hand look like a small one."""
    return any(sight.detection.size_px < _MIN_RATIO * s.detection.size_px for s in sights)


def _settled(eye: Eye, rgb: np.ndarray, place: Place, how: HandSearch) -> Sight | None:
    """Look several times, each time where the last one says; which side it is, is the mean of what they say."""
    rights: list[float] = []
    sight = None
    for _ in range(_LOOKS):
        sight = eye.look(rgb, place)
        if sight is None or sight.detection.score < 0.2 * how.min_presence or not _plausible(sight.place, rgb.shape):
            return None
        rights.append(sight.detection.right)
        place = sight.place
    if sight is None or sight.detection.score < how.min_presence:
        return None
    return dataclasses.replace(sight, detection=dataclasses.replace(sight.detection, right=float(np.mean(rights))))


def _plausible(place: Place, shape: tuple[int, ...]) -> bool:
    """Joints that went astray can ask for a square of any size; it would be cut out at that size."""
    height, width = shape[:2]
    inside = -0.25 * width < place.x < 1.25 * width and -0.25 * height < place.y < 1.25 * height
    return bool(np.isfinite(place.side) and 8 < place.side < 2 * max(height, width) and inside)


def _in_tiles(eye: Eye, rgb: np.ndarray) -> Iterator[Place]:
    """What the detector proposes in overlapping squares, in the whole picture's pixels."""
    size = round(_TILE * max(rgb.shape[:2]))
    for top in _starts(rgb.shape[0], size):
        for left in _starts(rgb.shape[1], size):
            for place in eye.propose(rgb[top : top + size, left : left + size]):
                yield dataclasses.replace(place, x=place.x + left, y=place.y + top)


def _starts(length: int, size: int) -> list[int]:
    """Where squares of `size` begin that cover `length`, each sharing half or more with the next."""
    if length <= size:
        return [0]
    count = int(np.ceil((length - size) / (0.5 * size))) + 1
    return [int(start) for start in np.linspace(0, length - size, count).round()]


def _taken(place: Place, sights: Sequence[Sight]) -> bool:
    return any(
        np.hypot(place.x - s.place.x, place.y - s.place.y) < _SAME_PLACE * max(place.side, s.place.side) for s in sights
    )


def _distinct(sights: Sequence[Sight]) -> list[Sight]:
    """Without those that lie on a hand that comes before them."""
    kept: list[Sight] = []
    for sight in sights:
        if len(drop_duplicates([s.detection for s in (*kept, sight)])) > len(kept):
            kept.append(sight)
    return kept
