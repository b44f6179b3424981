"""The vote of neighbouring frames on what is near and what is far, by which contradicting depth maps are dropped."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from geoflow.geometry.depth.depth_order import order_agreement

# Rank correlation from which two depth maps are of one order; below its negative they are reversed. The prior and the
# right cameras of a dynamic clip had 0.39.
SAME_ORDER = 0.3
_REACH = 4  # frames between maps that are compared: the picture has moved little
_STEP = 4  # every so many pixels are compared
_MOST_AGAINST = 0.25  # share of a segment's maps; with more, neither order is known


def outvoted(depths: Mapping[int, np.ndarray]) -> set[int]:
    """Return the frames whose depth (H, W), 0 where unknown, contradicts the order of depth of most frames around.

    All frames are returned if too many contradict each other. Frames too far apart to be compared do not contradict.
    """
    frames = sorted(depths)
    small = {t: depths[t][::_STEP, ::_STEP] for t in frames}
    side: dict[int, int] = {}  # of frame: 1 or -1, the two orders of one stretch of frames
    stretches: list[list[int]] = []
    for t in frames:
        before = [s for s in side if t - s <= _REACH]
        votes = sum(_clear(order_agreement(small[s], small[t])) * side[s] for s in before)
        if not votes:
            stretches.append([])
        stretches[-1].append(t)
        side[t] = -1 if votes < 0 else 1
    dropped: set[int] = set()
    for stretch in stretches:
        against = sum(side[t] < 0 for t in stretch)
        fewer = -1 if against * 2 <= len(stretch) else 1
        minority = [t for t in stretch if side[t] == fewer]
        dropped |= set(stretch if len(minority) > _MOST_AGAINST * len(stretch) else minority)
    return dropped


def contradicting(depths: Mapping[int, np.ndarray], others: Mapping[int, np.ndarray]) -> set[int]:
    """Return the frames whose depth (H, W) is reversed against another source's, if most frames agree with it.

    If they do not, the other source may be the wrong one, and nothing is returned.
    """
    ranks = {t: order_agreement(depths[t], others[t]) for t in depths if t in others}
    known = [rank for rank in ranks.values() if np.isfinite(rank)]
    if not known or np.median(known) < SAME_ORDER:
        return set()
    return {t for t, rank in ranks.items() if rank < 0}


def _clear(agreement: float) -> int:
    """Return 1 for the same order, -1 for the reversed one, 0 if neither is clear."""
    return int(agreement > SAME_ORDER) - int(agreement < -SAME_ORDER)
