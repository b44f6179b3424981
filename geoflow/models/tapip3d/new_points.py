"""New points to follow, picked in frames of a segment where no living point is seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from geoflow.geometry.motion.asked_points import AskedPoints
from geoflow.geometry.motion.track_queries import pickable, value_at
from geoflow.geometry.motion.tracking_space import TrackingSpace
from geoflow.models.tapip3d.clip import Clip
from geoflow.models.tapip3d.query_grid import grid_pixels, queries_at
from geoflow.models.tapip3d.templates import Carried

Believed = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Begun:
    """N points that begin in a segment."""

    frame: np.ndarray  # (N,) int64, counted in the segment
    uv: np.ndarray  # (N, 2) float32 px, where they were picked
    objects: np.ndarray  # (N,) uint8, `objects.label` there
    rows: np.ndarray  # (N,) int32, of the user's file; -1 for other points

    @classmethod
    def asked(cls, asked: AskedPoints, label: np.ndarray | None) -> Begun:
        """Return the points that the user asks for."""
        objects = np.zeros(len(asked.rows), np.uint8)
        for k in np.flatnonzero(np.isfinite(asked.uv).all(1)):
            objects[k] = 0 if label is None else value_at(label[asked.frame[k]], asked.uv[k : k + 1])[0]
        return cls(asked.frame, asked.uv, objects, asked.rows)

    def some(self, chosen: np.ndarray) -> Begun:
        """Return the points of an index (N,)."""
        return Begun(self.frame[chosen], self.uv[chosen], self.objects[chosen], self.rows[chosen])

    @classmethod
    def together(cls, parts: list[Begun]) -> Begun:
        """Return the points of all parts, in this order."""
        if not parts:
            none = np.zeros(0, np.int32)
            return cls(none, np.zeros((0, 2), np.float32), none.astype(np.uint8), none)
        names = ("frame", "uv", "objects", "rows")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


class NewPoints:
    """Points that the user asks for, and those of a grid with known depth, outside the mask, and on objects if only
    these are wanted.

    `frames` (T,) are the segment's frames that the clip has; `picks` those of them in which points are picked. A place
    is unprojected from the clip's own depth, whose edges are repaired.
    """

    def __init__(
        self,
        clip: Clip,
        space: TrackingSpace,
        frames: np.ndarray,
        picks: list[int],
        grid_size: int,
        *,
        mask: np.ndarray | None,
        label: np.ndarray | None,
        objects_only: bool,
    ) -> None:
        self.clip, self.space, self.frames = clip, space, frames
        self.left = [int(np.searchsorted(frames, pick)) for pick in picks]  # frames of the clip, not picked in yet
        self.grid_size, self.mask, self.label, self.objects_only = grid_size, mask, label, objects_only
        self._begun: list[Begun] = []
        self._asked = np.zeros((0, 4), np.float32)

    @property
    def begun(self) -> Begun:
        """Return the points so far, in the order of their queries."""
        return Begun.together(self._begun)

    def ask(self, asked: Begun, places: np.ndarray | None) -> Begun:
        """Take up points that the user asks for; return those that cannot be followed, since their place is unknown.

        `places` (N, 3) are places in the space of their frame's cameras, if the user gives these and no pixels.
        """
        queries = np.full((len(asked.frame), 4), np.nan, np.float32)
        for frame in np.intersect1d(asked.frame, self.frames):
            mine, here = np.flatnonzero(asked.frame == frame), int(np.searchsorted(self.frames, frame))
            queries[mine] = self._queries(here, asked.uv[mine])
            if places is not None:
                queries[mine, 1:] = places[mine]
        known = np.isfinite(queries).all(1)
        self._asked = queries[known]
        self._begun.append(asked.some(np.flatnonzero(known)))
        return asked.some(np.flatnonzero(~known))

    def before(self, asked: range, carried: Carried | None, believed: Believed) -> np.ndarray:
        """Return queries (M, 4) of the user's points, and of the picks that are not `asked` for on the way.

        Carried points are living ones, and so are those of other queries, which will hardly have moved.
        """
        queries = self._asked
        for frame in [pick for pick in self.left if pick not in asked]:
            xyz, seen = queries[:, 1:], np.ones(len(queries), bool)
            if carried is not None:
                row = min(frame, len(carried.positions) - 1)
                xyz = np.concatenate((xyz, carried.positions[row]))
                seen = np.concatenate((seen, believed(carried.logits[row])))
            queries = np.concatenate((queries, self._picked(frame, xyz, seen)))
        return queries

    def on_the_way(self, first: int, xyz: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Return queries (M, 4) of the picks among the frames from `first` on, where living points are known.

        xyz (F, N, 3) and seen (F, N) are those of the points so far.
        """
        here = [pick for pick in self.left if first <= pick < first + len(xyz)]
        return np.concatenate(
            [
                np.zeros((0, 4), np.float32),
                *(self._picked(pick, xyz[pick - first], seen[pick - first]) for pick in here),
            ]
        )

    def _picked(self, frame: int, xyz: np.ndarray, seen: np.ndarray) -> np.ndarray:
        self.left.remove(frame)
        source, (height, width) = int(self.frames[frame]), self.space.size
        pixels = grid_pixels(self.grid_size, (height, width)).clip(0, (width - 1, height - 1))
        spacing = np.array([width, height]) / self.grid_size
        living, inside = (part[0] for part in self.space.project(xyz[None], np.array([source])))
        pixels, objects = pickable(
            pixels,
            living[seen & inside],
            spacing,
            self.space.cameras.depth[source],
            None if self.label is None else self.label[source],
            mask=None if self.mask is None else self.mask[source],
            objects_only=self.objects_only,
        )
        queries = self._queries(frame, pixels)
        known = np.isfinite(queries).all(1)
        nobody = np.full(len(pixels), -1, np.int32)
        self._begun.append(Begun(np.full(len(pixels), source), pixels, objects, nobody).some(np.flatnonzero(known)))
        return queries[known]

    def _queries(self, frame: int, uv: np.ndarray) -> np.ndarray:
        """Return queries (N, 4) at pixels uv (N, 2) of a frame of the clip; NaN where there is no depth."""
        height, width = self.space.size
        to_clip = (np.array(self.clip.size[::-1]) - 1) / (np.array([width, height]) - 1)
        queries = queries_at(self.clip, frame, np.nan_to_num(uv) * to_clip)
        queries[~np.isfinite(uv).all(1), 1:] = np.nan
        return queries
