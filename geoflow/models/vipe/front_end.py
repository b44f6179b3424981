"""Keyframes as they come: a window of the latest is adjusted after each."""

from __future__ import annotations

import torch

from geoflow.models.vipe.adjustment import Adjustment
from geoflow.models.vipe.factor_graph import FactorGraph
from geoflow.models.vipe.flow_model import FlowModel
from geoflow.models.vipe.frame_distance import both_ways
from geoflow.models.vipe.keyframes import Keyframes
from geoflow.models.vipe.options import SlamOptions
from geoflow.models.vipe.proximity import neighbours
from geoflow.models.vipe.velocity import next_pose

_FIRST_UPDATES = 8
_UPDATES = 4  # of a new keyframe
_MORE_UPDATES = 2  # if it stays
_MOST_AGE = 25  # updates of an edge before it is stored away
_ITERATIONS = 3  # of an adjustment
_NEW = 5  # latest keyframes that get new edges


class FrontEnd:
    """Adjusts the latest keyframes; `tracked` is the number of those that it has adjusted."""

    def __init__(self, flow: FlowModel, keyframes: Keyframes, options: SlamOptions) -> None:
        self.keyframes, self.options = keyframes, options
        self.graph = FactorGraph(
            flow, keyframes, options.frontend_factors, keeps=options.keep_volumes, stable=options.stable_order
        )
        self.tracked = 0

    def run(self) -> None:
        """Adjust if there is a new keyframe, and if there are enough to begin with."""
        if self.tracked == 0 and len(self.keyframes) == self.options.warmup:
            self._begin()
        elif 0 < self.tracked < len(self.keyframes):
            self._follow()

    def leave(self, count: int) -> None:
        """Forget the first `count` keyframes, after the keyframes themselves have done so."""
        self.graph.leave(count)
        self.tracked -= count

    def _update(self, first: int | None = None) -> None:
        graph, options = self.graph, self.options
        wanted = Adjustment(
            graph.first_free if first is None else first,
            graph.stop,
            _ITERATIONS,
            alpha=options.dense_disp_alpha,
            rule=options.rule,
            robust=options.robust,
        )
        graph.update(wanted, with_stored=True)

    def _begin(self) -> None:
        self.tracked = len(self.keyframes)
        self.graph.add(neighbours(0, self.tracked, 1))
        for _ in range(_FIRST_UPDATES):
            self._update(first=1)
        self._expect(latest=4)
        self.graph.remove(self.graph.ii < self.options.warmup - 4, store=True)

    def _follow(self) -> None:
        options, graph = self.options, self.graph
        self.tracked += 1
        graph.remove(graph.age > _MOST_AGE, store=True)
        graph.add_near(
            max(self.tracked - _NEW, 0),
            max(self.tracked - options.frontend_window, 0),
            options.frontend_radius,
            options.frontend_nms,
            options.frontend_thresh,
            options.beta,
            remove=True,
        )
        for _ in range(_UPDATES):
            self._update()
        if self._is_close(self.tracked - 3, self.tracked - 2):
            graph.drop_keyframe(self.tracked - 2)
            self.tracked -= 1
        else:
            for _ in range(_MORE_UPDATES):
                self._update()
        self._expect(latest=1)

    def _is_close(self, i: int, j: int) -> bool:
        first, second = (torch.tensor([number], device=self.graph.ii.device) for number in (i, j))
        distance = both_ways(self.keyframes.geometry, first, second, self.options.beta)
        return float(distance) < self.options.keyframe_thresh

    def _expect(self, latest: int) -> None:
        """The next keyframe is expected half of the last motion further on, at the latest maps' mean disparity."""
        keyframes, count = self.keyframes, self.tracked
        pose = next_pose(keyframes.poses[count - 2], keyframes.poses[count - 1])
        keyframes.expect(pose, keyframes.disps[count - latest : count].mean())
