"""New points to follow, picked in frames of a segment where no living point is seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from geoflow.geometry.motion.track_queries import uncovered, value_at
from geoflow.geometry.motion.tracking_space import TrackingSpace
from geoflow.models.tapip3d.clip import Clip
from geoflow.models.tapip3d.query_grid import grid_pixels, queries_at
from geoflow.models.tapip3d.templates import Carried

Believed = Callable[[np.ndarray], np.ndarray]


class NewPoints:
    """Points of a grid with known depth, outside the mask, and on objects if only these are wanted.

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
        mask: np.ndarray | None = None,
        label: np.ndarray | None = None,
        objects_only: bool = False,
    ) -> None:
        self.clip, self.space, self.frames = clip, space, frames
        self.left = [int(np.searchsorted(frames, pick)) for pick in picks]  # frames of the clip, not picked in yet
        self.grid_size, self.mask, self.label, self.objects_only = grid_size, mask, label, objects_only
        self._born: list[np.ndarray] = [np.zeros(0, int)]
        self._objects: list[np.ndarray] = [np.zeros(0, np.uint8)]

    @property
    def born(self) -> np.ndarray:
        """Return the segment's frames (N,) in which the points so far were picked."""
        return np.concatenate(self._born)

    @property
    def objects(self) -> np.ndarray:
        """Return the objects (N,) uint8 on which they were picked."""
        return np.concatenate(self._objects)

    def before(self, asked: range, carried: Carried | None, believed: Believed) -> np.ndarray:
        """Return queries (M, 4) of the picks that are not `asked` for on the way.

        Carried points are living ones, and so are those of the earlier picks, which will hardly have moved.
        """
        queries = np.zeros((0, 4), np.float32)
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
        pixels = pixels[uncovered(pixels / spacing, living[seen & inside] / spacing, 1.0)]
        pixels = pixels[value_at(self.space.cameras.depth[source], pixels) > 0]
        if self.mask is not None:
            pixels = pixels[~value_at(self.mask[source], pixels)]
        objects = np.zeros(len(pixels), np.uint8) if self.label is None else value_at(self.label[source], pixels)
        if self.objects_only:
            pixels, objects = pixels[objects > 0], objects[objects > 0]
        to_clip = (np.array(self.clip.size[::-1]) - 1) / (np.array([width, height]) - 1)
        queries = queries_at(self.clip, frame, pixels * to_clip)
        known = np.isfinite(queries).all(1)
        self._born.append(np.full(int(known.sum()), source))
        self._objects.append(objects[known])
        return queries[known]
