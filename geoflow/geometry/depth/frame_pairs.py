"""The choice of frames to compare in a posed video, by their parallax over the sparse points that they see."""

from __future__ import annotations

import numpy as np

from geoflow.geometry.motion.epipolar import masked_median
from geoflow.geometry.rigid import invert

_BEST_PARALLAX = 0.035  # image widths; less is imprecise, more leaves too little in common
_PARALLAX_RANGE = (0.008, 0.12)
_MAX_SHIFT = 0.35  # image widths that the picture as a whole may move between the two frames
_KEY_SHIFT = 0.08  # image widths that the picture may move from a key to the frames its depth is carried to
_MAX_CARRIED = 4  # frames from one key to the next at most
_LEAST_SEEN = 8  # points that a frame must see for a measure of its parallax


def choose_keys(poses: dict[int, np.ndarray], k: np.ndarray, size: tuple[int, int], points: np.ndarray) -> list[int]:
    """Choose the frames, ascending, whose depth is computed.

    The frames between them have hardly moved: their depth is carried over.
    """
    frames = sorted(poses)
    keys: list[int] = []
    seen = points[:0]
    for t, following in zip(frames, [*frames[1:], None]):
        if keys and following is not None and following - keys[-1] <= _MAX_CARRIED and len(seen) >= _LEAST_SEEN:
            _, shift = _parallax(poses[keys[-1]], poses[following][None], k, seen)
            if shift[0] < _KEY_SHIFT * size[0]:
                continue
        keys.append(t)
        seen = in_view(poses[t], k, size, points)
    return keys


def choose_pairs(
    poses: dict[int, np.ndarray], k: np.ndarray, size: tuple[int, int], points: np.ndarray, sources: int
) -> list[tuple[int, int]]:
    """Choose frame pairs (a < b): each frame meets about `sources` others, before and after, at good parallax.

    `poses` maps frame to (4, 4) cam_from_world. Parallax is the median shift of the scene's `points` (M, 3) world
    between the two frames beyond what turning the camera would give, in image widths.
    """
    chosen: set[tuple[int, int]] = set()
    frames = sorted(poses)
    stacked = np.stack([poses[t] for t in frames]) if frames else np.zeros((0, 4, 4))
    for t in frames:
        seen = in_view(poses[t], k, size, points)
        if len(seen) < _LEAST_SEEN:
            continue
        parallax, shift = (px / size[0] for px in _parallax(poses[t], stacked, k, seen))
        fit = (parallax > _PARALLAX_RANGE[0]) & (parallax < _PARALLAX_RANGE[1]) & (shift < _MAX_SHIFT)
        scored: dict[int, list[tuple[float, int]]] = {-1: [], 1: []}
        for i in np.flatnonzero(fit):
            s = frames[i]
            score = abs(np.log(parallax[i] / _BEST_PARALLAX)) + 0.01 * abs(s - t)
            scored[1 if s > t else -1].append((score, s))
        sides = [sorted(side) for side in scored.values() if side]
        for side in sides:
            chosen |= {(min(t, s), max(t, s)) for s in _spread(side, -(-sources // (2 * len(sides))))}
    return sorted(chosen, key=lambda pair: (pair[1], pair[0]))


def _spread(scored: list[tuple[float, int]], count: int) -> list[int]:
    """Choose the best frame, then good ones that are not its immediate neighbours."""
    picked: list[int] = []
    for _, s in scored:
        if all(abs(s - other) > 2 for other in picked):
            picked.append(s)
        if len(picked) == count:
            break
    return picked


def in_view(pose: np.ndarray, k: np.ndarray, size: tuple[int, int], points: np.ndarray) -> np.ndarray:
    """At most 200 of the world points that project into the image, (N, 3)."""
    image = (points @ pose[:3, :3].T + pose[:3, 3]) @ k.T
    uv = image[:, :2] / np.maximum(image[:, 2:], 1e-9)
    inside = (image[:, 2] > 0) & (uv >= 0).all(1) & (uv[:, 0] < size[0]) & (uv[:, 1] < size[1])
    found = points[inside]
    return found[:: max(1, len(found) // 200)]


def _parallax(pose: np.ndarray, poses: np.ndarray, k: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median shifts (S,) px of points from a frame to `poses` (S, 4, 4): beyond turning, and in total.

    (0, inf) for frames that look away.
    """
    relative = poses @ invert(pose)
    here = points @ pose[:3, :3].T + pose[:3, 3]
    turned = here @ np.swapaxes(relative[:, :3, :3], 1, 2)
    there = turned + relative[:, None, :3, 3]
    start, after_turn, end = ((p @ k.T)[..., :2] / np.maximum(p[..., 2:], 1e-6) for p in (here, turned, there))
    in_front = (turned[..., 2] > 0) & (there[..., 2] > 0)
    seen = in_front.mean(1) >= 0.5
    parallax, shift = (masked_median(np.linalg.norm(end - other, axis=-1), in_front) for other in (after_turn, start))
    return np.where(seen, parallax, 0), np.where(seen, shift, np.inf)
