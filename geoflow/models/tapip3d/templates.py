"""What goes on from one clip to the next: what points looked like when they were chosen, and where they were last."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.geometry.rigid import Sim3

_HALF_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Templates:
    """What N points look like in the frames of their queries, on each of L levels: the query first, then k neighbours.

    A point keeps its template however long it lives, so that it is always compared with what was chosen.
    """

    points: np.ndarray  # (N, L, k + 1, 3) float32, world
    features: np.ndarray  # (N, L, k + 1, C) float16

    @classmethod
    def rounded(cls, points: np.ndarray, features: np.ndarray) -> Templates:
        """Return templates of float32 features, which float16 then holds in half the memory."""
        return cls(points.astype(np.float32), features.clip(-_HALF_MAX, _HALF_MAX).astype(np.float16))

    def __len__(self) -> int:
        return len(self.points)

    def of(self, chosen: np.ndarray) -> Templates:
        """Return the templates of some points."""
        return Templates(self.points[chosen], self.features[chosen])

    def moved(self, world: Sim3) -> Templates:
        """Return the templates in another world."""
        return Templates(world.apply(self.points.astype(np.float64)).astype(np.float32), self.features)


@dataclass(frozen=True)
class Carried:
    """N points that an earlier clip followed, and where it saw them in the K first frames of this one, K >= 1."""

    positions: np.ndarray  # (K, N, 3) float32, in this clip's world; finite
    logits: np.ndarray  # (K, N) float32
    templates: Templates  # in this clip's world

    def __len__(self) -> int:
        return len(self.templates)
