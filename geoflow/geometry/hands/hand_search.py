"""Search for hands in the frames of a segment with two networks: one proposes places, the other looks at a place.

MediaPipe's own graph follows hands only forwards, trusts its palm detector from a score of 0.5 on, and looks at a new
place once. Here the palm detector only proposes: from a low score on, and also in parts of the picture, for small
hands. The landmark network decides whether a hand is there, after a few looks to centre itself. Then hands are followed
forwards and backwards: a hand that is proposed once is known from its first visible frame to its last.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from geoflow.geometry.hands.hand_sides import Detection, drop_duplicates

_LOOKS = 3  # at a new place: on photos the joints settle within these looks
_MOST_NEW = 4  # proposed places that are looked at per frame
_TILE = 0.6  # of the longer side; in a tile of a 640 px picture, a hand of 25 px looks as large as one of 42 px
_GOOD_PROPOSAL = 0.2  # palm detector's score; below it, and for hands found only in a part of the picture,
_SURE = 0.8  # the landmark network must give this score: chosen on photos with hands, and on 84 without any
_LEAST_PX = 32.0  # smaller finds in parts of a picture are mostly not hands
_MIN_RATIO = 0.3  # least size of a hand relative to a larger one
_USUAL = 2  # hands that are looked for in every frame
_FURTHER_EVERY = 10  # frames between two looks for more than these: the palm detector costs a third of all work
_SAME_PLACE = 0.25  # of the larger square's side: centres nearer than this are one hand


@dataclass(frozen=True)
class Place:
    """A rotated square in the picture that may contain a hand."""

    x: float  # centre, px
    y: float
    side: float  # px
    turn: float  # rad, clockwise as seen
    score: float = 1.0  # 0..1, the detector's


@dataclass(frozen=True)
class Sight:
    """A hand seen at a place, and the place where to look for it next."""

    detection: Detection
    place: Place


class Eye(Protocol):
    """The two networks."""

    def propose(self, rgb: np.ndarray) -> list[Place]:
        """Return places in (H, W, 3) uint8 where hands may be."""

    def look(self, rgb: np.ndarray, place: Place) -> Sight | None:
        """Return the hand at a place of (H, W, 3) uint8; its score is the network's probability that it is a hand."""


@dataclass(frozen=True)
class HandSearch:
    """Options of the search: what to look for, and with how much work."""

    max_hands: int = 2
    min_presence: float = 0.5  # for a new hand
    min_following: float = 0.5  # for a hand known in the frame before or after
    search_every: int = 10  # frames between two searches in parts of the picture; 0: none


def find_hands(frames: Sequence[np.ndarray], eye: Eye, how: HandSearch) -> list[list[Sight]]:
    """Return the hands of each frame, at most `max_hands`, and where each was looked for next.

    More than two hands are looked for in every tenth frame only. They are then followed like all others.
    """
    usual = min(how.max_hands, _USUAL)
    found: list[list[Sight]] = []
    followed: set[int] = set()  # id() of sights of hands that are known in the frame before
    for i, rgb in enumerate(frames):
        sights = _followed(eye, rgb, found[-1] if found else [], [], how)
        followed |= {id(sight) for sight in sights}
        if len(sights) < (how.max_hands if i % _FURTHER_EVERY == 0 else usual):
            sights = _with_new(eye, rgb, sights, eye.propose(rgb), how, how.min_presence)
        if len(sights) < usual and how.search_every and i % how.search_every == 0:
            sights = _with_new(eye, rgb, sights, list(_in_tiles(eye, rgb)), how, _SURE, _LEAST_PX)
        found.append(sights)
    for i in range(len(frames) - 2, -1, -1):
        new = [sight for sight in found[i + 1] if id(sight) not in followed]
        known = found[i]
        # A hand that was lost between two frames is found again near itself: seen twice, it would be two hands.
        back = _followed(eye, frames[i], new, known, how)[len(known) :]
        found[i] = known + [sight for sight in back if not _taken(sight.place, known)]
    return found


def _followed(
    eye: Eye, rgb: np.ndarray, before: Sequence[Sight], known: Sequence[Sight], how: HandSearch
) -> list[Sight]:
    """Look in this frame for the hands of a neighbouring frame; hands that are known here already come first."""
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
    """Add the most certain hands at proposed places, by the scores of both networks together."""
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
    """Return whether a sight is only a part of a known hand: fingers of a large hand look like a small hand."""
    return any(sight.detection.size_px < _MIN_RATIO * s.detection.size_px for s in sights)


def _settled(eye: Eye, rgb: np.ndarray, place: Place, how: HandSearch) -> Sight | None:
    """Look several times, each time where the last look says; the side is the mean over the looks."""
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
    """Return whether a place is plausible: wrong joints can ask for a square of any size, which would be cut out."""
    height, width = shape[:2]
    inside = -0.25 * width < place.x < 1.25 * width and -0.25 * height < place.y < 1.25 * height
    return bool(np.isfinite(place.side) and 8 < place.side < 2 * max(height, width) and inside)


def _in_tiles(eye: Eye, rgb: np.ndarray) -> Iterator[Place]:
    """Yield what the detector proposes in overlapping squares, in pixels of the whole picture."""
    size = round(_TILE * max(rgb.shape[:2]))
    for top in _starts(rgb.shape[0], size):
        for left in _starts(rgb.shape[1], size):
            for place in eye.propose(rgb[top : top + size, left : left + size]):
                yield dataclasses.replace(place, x=place.x + left, y=place.y + top)


def _starts(length: int, size: int) -> list[int]:
    """Return where squares of `size` begin that cover `length`; each shares half or more with the next."""
    if length <= size:
        return [0]
    count = int(np.ceil((length - size) / (0.5 * size))) + 1
    return [int(start) for start in np.linspace(0, length - size, count).round()]


def _taken(place: Place, sights: Sequence[Sight]) -> bool:
    return any(
        np.hypot(place.x - s.place.x, place.y - s.place.y) < _SAME_PLACE * max(place.side, s.place.side) for s in sights
    )


def _distinct(sights: Sequence[Sight]) -> list[Sight]:
    """Leave out the hands that lie on an earlier hand."""
    kept: list[Sight] = []
    for sight in sights:
        if len(drop_duplicates([s.detection for s in (*kept, sight)])) > len(kept):
            kept.append(sight)
    return kept
