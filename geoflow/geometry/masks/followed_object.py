"""One object as it is followed: its mask, and what makes it known again after it was hidden."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from geoflow.geometry.masks.colour_model import histogram, likeness
from geoflow.geometry.masks.cutting_out import disk

_RING = (5, 20)  # px: the surroundings of an object begin and end at these distances
_LEAST_PX = 16  # objects of fewer pixels say too little about themselves
_WHOLE = 0.6  # of the expected pixels: with more of them in view, an object's looks are learnt
_LEARNT = 0.1  # share of the newest frame in what is known of an object's colours
_STEADY = 0.3  # share of the newest frame in its speed
_SAME = 0.02  # relative change of its pixels, above which its centre may have moved by what hides it


@dataclass(frozen=True)
class FollowedObject:
    """What is known of an object in the last frame that was looked at."""

    number: int
    mask: np.ndarray  # (H, W) bool; empty while it is lost
    lost: int  # frames since it was seen; 0 while it is
    colours: np.ndarray  # histogram of the object
    around: np.ndarray  # histogram of its surroundings
    depth: float  # median z when it was last seen well; 0 if unknown
    area: float  # px when it was last seen well
    place: np.ndarray  # (2,) float64 px: its centre, or where the centre should be
    speed: np.ndarray  # (2,) float64 px per frame, relative to its surroundings
    hidden: np.ndarray  # (H, W) bool: where the picture shows what it did not show before the object was lost

    @property
    def seen(self) -> bool:
        return self.lost == 0

    @property
    def radius(self) -> float:
        """Return the radius in px of a disk of its area."""
        return float(np.sqrt(self.area / np.pi))

    @classmethod
    def shown(cls, number: int, mask: np.ndarray, cells: np.ndarray, depth: np.ndarray | None) -> FollowedObject:
        """Begin with the mask of a prompt; an empty mask is an object that is lost from the start."""
        found = cls(
            number,
            mask,
            lost=0 if mask.any() else 1,
            colours=histogram(cells, mask),
            around=histogram(cells, surroundings(mask)),
            depth=median_depth(depth, mask),
            area=float(mask.sum()),
            place=centre(mask),
            speed=np.zeros(2),
            hidden=np.zeros_like(mask),
        )
        return found

    def expected_area(self, depth: float) -> float:
        """Return the pixels that it should cover at a depth, if nothing hides it."""
        return self.area * (self.depth / depth) ** 2 if self.depth > 0 and depth > 0 else self.area

    def scaled(self, ratio: float) -> FollowedObject:
        """Return the same with its depth times `ratio`."""
        return replace(self, depth=self.depth * ratio)

    def now(self, mask: np.ndarray, cells: np.ndarray, depth: np.ndarray | None, flow: np.ndarray) -> FollowedObject:
        """Return what is known with its mask in the next frame; `flow` is that of the frame before."""
        z = median_depth(depth, mask)
        expected = self.expected_area(z)
        if mask.sum() < _WHOLE * expected:
            return replace(self, mask=mask, lost=0, place=self._moved_on(flow) if self.seen else centre(mask))
        colours = histogram(cells, mask)
        fresh = 0.2 if mask.sum() > 0.9 * expected else 0.03  # what hides it slowly is not taken for its size
        learnt = _LEARNT if likeness(colours, self.colours) > 0.5 else 0.0
        return replace(
            self,
            mask=mask,
            lost=0,
            colours=_blended(self.colours, colours, learnt),
            around=_blended(self.around, histogram(cells, surroundings(mask)), 0.5),
            depth=z or self.depth,
            area=float((1 - fresh) * expected + fresh * mask.sum()),
            place=centre(mask),
            speed=self._speed(mask, flow),
        )

    def _moved_on(self, flow: np.ndarray) -> np.ndarray:
        """Return where the centre is expected in the next frame; of what is partly hidden it cannot be seen."""
        ring = surroundings(self.mask)
        shift = np.median(flow[ring], axis=0) if ring.sum() >= _LEAST_PX else np.zeros(2)
        return self.place + shift + self.speed

    def _speed(self, mask: np.ndarray, flow: np.ndarray) -> np.ndarray:
        """Return its speed relative to its surroundings, as far as both masks show the same of it."""
        ring = surroundings(self.mask)
        if not self.mask.any() or ring.sum() < _LEAST_PX or abs(mask.sum() / self.mask.sum() - 1) > _SAME:
            return self.speed
        newest = centre(mask) - centre(self.mask) - np.median(flow[ring], axis=0)
        share = _STEADY if self.speed.any() else 1.0
        return (1 - share) * self.speed + share * newest


def packed(items: Sequence[FollowedObject]) -> dict[str, np.ndarray]:
    """Return objects as arrays, of which `unpacked` makes the same objects, bit for bit."""
    if not items:
        return {}
    return {
        "masks": np.stack([np.packbits(item.mask) for item in items]),
        "hidden": np.stack([np.packbits(item.hidden) for item in items]),
        "facts": np.array([[o.number, o.lost, o.depth, o.area, *o.place, *o.speed] for o in items], np.float64),
        "colours": np.stack([item.colours for item in items]),
        "around": np.stack([item.around for item in items]),
    }


def unpacked(state: Mapping[str, np.ndarray], shape: tuple[int, int]) -> list[FollowedObject]:
    """Return the objects of `packed`, whose masks have this shape (H, W)."""
    found = []
    for k, facts in enumerate(state.get("facts", ())):
        mask, hidden = (
            np.unpackbits(state[name][k], count=shape[0] * shape[1]).reshape(shape).astype(bool)
            for name in ("masks", "hidden")
        )
        number, lost, depth, area, *rest = facts.tolist()
        place, speed = np.array(rest[:2]), np.array(rest[2:])
        colours, around = (np.asarray(state[name][k], np.float32) for name in ("colours", "around"))
        found.append(FollowedObject(int(number), mask, int(lost), colours, around, depth, area, place, speed, hidden))
    return found


def _blended(old: np.ndarray, new: np.ndarray, share: float) -> np.ndarray:
    return ((1 - share) * old + share * new).astype(np.float32)


def surroundings(mask: np.ndarray) -> np.ndarray:
    """Return the ring around a mask: (H, W) bool."""
    inner, outer = (cv2.dilate(mask.view(np.uint8), disk(reach)).view(bool) for reach in _RING)
    return outer & ~inner


def median_depth(depth: np.ndarray | None, mask: np.ndarray) -> float:
    """Return the median of the known depths in a mask; 0 if there are too few."""
    if depth is None:
        return 0.0
    values = depth[mask]
    values = values[values > 0]
    return float(np.median(values)) if len(values) >= _LEAST_PX else 0.0


def centre(mask: np.ndarray) -> np.ndarray:
    """Return the mean pixel (x, y) of a mask; 0 for an empty one."""
    v, u = np.nonzero(mask)
    return np.array([u.mean(), v.mean()]) if len(u) else np.zeros(2)
