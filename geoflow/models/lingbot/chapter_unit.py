"""A view in the unit of a depth prior, if most of its frames agree on one factor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from geoflow.geometry.depth.prior_unit import unit_of_prior
from geoflow.models.half_range import depth_in_half
from geoflow.models.lingbot.chapter import ViewResult
from geoflow.models.lingbot.chapter_hints import ChapterHints

_MOST_FRAMES = 24  # that have a say: neighbours err alike, and would make the factor look surer than it is


def in_unit_of_prior(view: ViewResult, hints: ChapterHints, start: int, counted: np.ndarray) -> ViewResult:
    """Return the view with lengths in the prior's unit; `unit` says whether they are, and why not.

    It begins with frame `start` of the hints. Of its frames, only the `counted` ones (T,) bool with a pose have a say.
    """
    if not hints.has_prior:
        return view
    posed = np.flatnonzero(view.valid & counted)
    chosen = posed[np.unique(np.linspace(0, len(posed) - 1, min(_MOST_FRAMES, len(posed))).round().astype(int))]
    depth = hints.grid.of(view.depth[chosen]).astype(np.float32)
    for one, frame in zip(depth, chosen):
        if (ignored := hints.ignored(start + int(frame))) is not None:
            one[ignored] = 0
    focal = float(view.intrinsics[0, 0])
    found = unit_of_prior(depth, chosen, lambda frame: hints.disparity(start + frame, focal))
    if found.reason:
        return replace(view, unit=found.code)
    poses = view.cam_from_world.copy()
    poses[:, :3, 3] *= found.factor
    scaled = [depth_in_half(one.astype(np.float32) * np.float32(found.factor), one > 0) for one in view.depth]
    return replace(view, cam_from_world=poses, depth=np.stack(scaled), unit=found.code)
