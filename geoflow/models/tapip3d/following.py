"""Points followed through a piece of a longer clip: carried on from the piece before, and handed to the next."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from geoflow.models.tapip3d.clip import Clip
from geoflow.models.tapip3d.options import TrackOptions
from geoflow.models.tapip3d.prepared import depth_range
from geoflow.models.tapip3d.query_grid import grid_queries
from geoflow.models.tapip3d.templates import Carried, Templates
from geoflow.models.tapip3d.tracker import Tracker
from geoflow.models.tapip3d.windows import More


@dataclass(frozen=True)
class Followed:
    """What became of N points in T frames: carried ones first, then those of the queries, then those asked for."""

    xyz: np.ndarray  # (T, N, 3) float32, world; NaN in frames in which the point was not followed
    logits: np.ndarray  # (T, N) float32, of being visible; minus infinity there
    queries: np.ndarray  # (N, 4) float32: frame, x, y, z; the frame of carried points is -1
    templates: Templates

    @classmethod
    def nothing(cls, frames: int) -> Followed:
        """Return no points in so many frames."""
        nowhere = np.zeros((frames, 0, 3), np.float32)
        none = Templates(np.zeros((0, 0, 0, 3), np.float32), np.zeros((0, 0, 0, 0), np.float16))
        return cls(nowhere, nowhere[..., 0], np.zeros((0, 4), np.float32), none)


def follow(
    tracker: Tracker,
    clip: Clip,
    queries: np.ndarray,
    options: TrackOptions,
    *,
    carried: Carried | None = None,
    more: More | None = None,
    support_grid: int = 0,
) -> Followed:
    """Follow points through a prepared clip.

    `carried` are points of the piece before, `queries` (M, 4) new ones; `more` is asked for others on the way, as
    `WindowRun.go` does. Carried points take no part in the pass back. Without that pass, nothing is known of the frames
    before a query. A clip that is too short for a window is extended by its last frame. `options.camera_space` is
    passed over: the clip's poses say in which space points are followed.
    """
    options, counted = replace(options, camera_space=False), depth_range(clip.depth)  # type: ignore[arg-type]
    whole = clip.at_least(tracker.network.config.seq_len)
    helpers = grid_queries(clip, 0, support_grid) if support_grid else np.zeros((0, 4), np.float32)
    given = np.concatenate((queries, helpers)).astype(np.float32)
    carried_on = 0 if carried is None else len(carried)
    helping = slice(carried_on + len(queries), carried_on + len(given))

    def without_helpers(values: np.ndarray, axis: int = 1) -> np.ndarray:
        return np.delete(values, helping, axis)

    def asked(first: int, xyz: np.ndarray, logits: np.ndarray) -> np.ndarray:
        return np.zeros((0, 4)) if more is None else more(first, without_helpers(xyz), without_helpers(logits))

    run = tracker.run(whole, given, options, counted, carried, asked)
    xyz, logits = without_helpers(run.positions()[: len(clip)]), without_helpers(run.beliefs()[: len(clip)])
    index = without_helpers(np.arange(len(run.queries)), 0)
    frames, points = (values.cpu().numpy()[index] for values in (run.queries.frames, run.queries.points))
    found = np.concatenate((frames[:, None], points), axis=1).astype(np.float32)
    before = np.arange(len(clip))[:, None] < found[:, 0]
    xyz = np.where(before[..., None], np.float32(np.nan), xyz)
    logits = np.where(before, np.float32(-np.inf), logits)
    if options.bidirectional and before.any():
        own = found[carried_on:].copy()
        own[:, 0] = len(clip) - 1 - own[:, 0]
        back = tracker.one_way(clip.reversed().at_least(len(whole)), own, options, counted, support_grid)
        earlier, (back_xyz, back_logits) = before[:, carried_on:], (values[: len(clip)][::-1] for values in back)
        xyz[:, carried_on:] = np.where(earlier[..., None], back_xyz, xyz[:, carried_on:])
        logits[:, carried_on:] = np.where(earlier, back_logits, logits[:, carried_on:])
    return Followed(xyz, logits, found, run.queries.templates().of(index))
