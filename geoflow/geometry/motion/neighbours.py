"""Whether a structure agrees with what neighbouring keyframes see of each other; where it does not, it is cut.

Things that look alike (chairs, windows, both sides of a box) are matched wrongly over a distance, and a mapper that
believes such matches drops those of neighbours. But neighbours in time nearly always see the same place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from geoflow.geometry.rigid import invert, skew

if TYPE_CHECKING:
    from geoflow.geometry.motion.camera_motion import Chains
    from geoflow.geometry.motion.mapper import MatchedPair
    from geoflow.geometry.motion.structure import Structure

_NEAR = 2  # keyframes
_LEAST_FRAMES = 3  # keyframes of a part
_MANY = 30  # matches that two keyframes of the same place have; fewer may contradict by chance
_OFF_PX = 6.0  # from the epipolar line
_PARALLEL = 0.01  # sine of an angle, below which noise decides where two rays meet
_AGREE, _CONTRADICT = 0.8, 0.3  # share of a pair's matches that fit the poses


def agreeing_parts(
    structure: Structure, chains: Chains, pairs: Sequence[MatchedPair], keypoints: Sequence[np.ndarray]
) -> list[Structure]:
    """Return a structure whole if no two neighbours contradict its poses, else the parts within which they agree.

    `pairs` count the keyframes, and their rows the `keypoints` (N, 2) px of each. A point keeps its
    place in the part that sees it most, if two keyframes do: parts that shared points would be joined again.
    """
    keys = np.array(chains.keyframes)
    shares = [
        (pair.a, pair.b, _fitting(structure, keys, pair, keypoints), len(pair.rows))
        for pair in pairs
        if pair.b - pair.a <= _NEAR and len(pair.rows) and structure.valid[keys[[pair.a, pair.b]]].all()
    ]
    if not any(share < _CONTRADICT and count >= _MANY for _, _, share, count in shares):
        return [structure]
    posed = np.flatnonzero(structure.valid[keys])
    group = {int(k): int(k) for k in posed}
    for a, b, share, _ in shares:
        if share > _AGREE and group[a] != group[b]:
            group = {k: group[a] if g == group[b] else g for k, g in group.items()}
    if len(set(group.values())) == 1:  # a few pairs see little but something that moves by itself
        return [structure]
    parts = [keys[[k for k in group if group[k] == g]] for g in sorted(set(group.values()))]
    views = np.array([np.isfinite(chains.uv[part, :, 0]).sum(0) for part in parts])
    own = (np.arange(len(parts))[:, None] == views.argmax(0)) & (views > 1)
    return [_part(structure, chains, part, mine) for part, mine in zip(parts, own) if len(part) >= _LEAST_FRAMES]


def _fitting(structure: Structure, keys: np.ndarray, pair: MatchedPair, keypoints: Sequence[np.ndarray]) -> float:
    """Return the share of a pair's matches that lie near the epipolar lines of the poses, before both cameras."""
    a_from_world, b_from_world = structure.cam_from_world[keys[[pair.a, pair.b]]]
    b_from_a = b_from_world @ invert(a_from_world)
    essential = skew(b_from_a[:3, 3]) @ b_from_a[:3, :3]
    rays_a, rays_b = (_rays(structure, keypoints[k][pair.rows[:, side]]) for side, k in enumerate((pair.a, pair.b)))
    line = rays_a @ essential.T
    off = np.abs((rays_b * line).sum(1)) / np.maximum(np.linalg.norm(line[:, :2], axis=1), 1e-12)
    return float(((off * structure.intrinsics[0, 0] < _OFF_PX) & _ahead(b_from_a, rays_a, rays_b)).mean())


def _ahead(b_from_a: np.ndarray, rays_a: np.ndarray, rays_b: np.ndarray) -> np.ndarray:
    """Return which pairs of rays (N, 3) meet before both cameras, (N,) bool; those that hardly converge count as well.

    A camera turned by 180 degrees about its way fits the same epipolar lines.
    """
    turned = rays_a @ b_from_a[:3, :3].T
    aa, bb, ab = (turned**2).sum(1), (rays_b**2).sum(1), (turned * rays_b).sum(1)
    ta, tb = turned @ b_from_a[:3, 3], rays_b @ b_from_a[:3, 3]
    # Depths z along both rays minimise |turned z_a + t - rays_b z_b|; the common factor is their squared sine.
    sine2 = aa * bb - ab**2
    ahead = (ab * tb - bb * ta > 0) & (aa * tb - ab * ta > 0)
    return ahead | ((sine2 < _PARALLEL**2 * aa * bb) & (ab > 0))


def _rays(structure: Structure, uv: np.ndarray) -> np.ndarray:
    """Return the rays (N, 3) with z = 1 through pixels (N, 2), the lens' distortion taken out."""
    k = structure.intrinsics.astype(np.float64)
    bent = (uv - k[:2, 2]) / np.diag(k)[:2]
    x = bent
    for _ in range(3):
        x = bent / (1 + structure.radial * (x**2).sum(1, keepdims=True))
    return np.concatenate([x, np.ones((len(x), 1))], 1)


def _part(structure: Structure, chains: Chains, frames: np.ndarray, points: np.ndarray) -> Structure:
    """Return the structure of some keyframes with `points` (M,) bool, and frames between keyframes in a row."""
    valid = np.zeros_like(structure.valid)
    valid[frames] = True
    order = {t: k for k, t in enumerate(chains.keyframes)}
    for first, second in pairwise(frames):
        if order[second] == order[first] + 1:
            valid[first:second] = structure.valid[first:second]
    return replace(
        structure,
        valid=valid,
        cam_from_world=np.where(valid[:, None, None], structure.cam_from_world, np.nan),
        xyz=np.where(points[:, None], structure.xyz, np.nan),
    )
