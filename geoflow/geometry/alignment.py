"""Alignment of overlapping pieces of a video: relative scale, relative pose, and cross-fading at their seam."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from geoflow.geometry.rigid import Sim3, invert, nearest_rotation

MIN_PIXELS = 50  # a median ratio of fewer pixels may belong to a single object
_MAX_SAMPLES = 200_000  # enough for a median; more samples only take time
_MAX_SPREAD_DEG = 10.0  # relative rotations of frames in one rigid motion agree far better than this
_SAME_WORLD = 1e-3  # of the centres' spread: two copies of one reconstruction differ only by rounding
_LEAST_SPREAD = 1e-4  # of the distance from the origin: float32 keeps 1e-7 of that, which is then 1e-3 of the spread
_SAME_SURFACE = 0.2  # relative gap above which two depths of a pixel are different surfaces


def depth_ratio(target: np.ndarray, source: np.ndarray) -> float | None:
    """Return the median of target / source over pixels with depth in both: the factor from source to target.

    Both are (..., H, W) depth z of the same pixels, 0 where invalid. None if they share fewer than `MIN_PIXELS`. The
    median is exact for noise whose log ratio has median 0, if less than half of the pixels are outliers.
    """
    a, b = _shared(target, source)
    if len(a) < MIN_PIXELS:
        return None
    return float(np.exp(np.median(np.log(a) - np.log(b))))


def relative_gap(target: np.ndarray, source: np.ndarray) -> float:
    """Return the median |target - source| / target over pixels with depth in both; NaN if too few are shared."""
    a, b = _shared(target, source)
    if len(a) < MIN_PIXELS:
        return float("nan")
    return float(np.median(np.abs(a - b) / a))


def _shared(target: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Pixels are thinned before the comparison, with a stride that has no common factor with usual widths.
    step = max(1, target.size // _MAX_SAMPLES)
    step += step > 1 and step % 2 == 0
    a = target.reshape(-1)[::step].astype(np.float64)
    b = source.reshape(-1)[::step].astype(np.float64)
    keep = (a > 0) & (b > 0) & np.isfinite(a) & np.isfinite(b)
    return a[keep], b[keep]


def mean_rotation(rotations: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the chordal mean of (N, 3, 3) rotations without outliers, and their median distance from it in degrees.

    The chordal mean is the rotation nearest to the sum (Hartley et al., Rotation Averaging, IJCV 2013, 5.3). Rotations
    that differ by more than 2.5 medians are left out in a second pass.
    """
    mean = nearest_rotation(rotations.sum(0))
    angles = rotation_angles(rotations @ mean.T)
    keep = angles <= 2.5 * np.median(angles) + 1e-6
    mean = nearest_rotation(rotations[keep].sum(0))
    return mean, float(np.median(rotation_angles(rotations @ mean.T)))


def rotation_angles(rotations: np.ndarray) -> np.ndarray:
    """Return the angles (N,) in degrees of rotations (N, 3, 3); they are exact for tiny angles, too."""
    return np.degrees(Rotation.from_matrix(rotations).magnitude())


def center_scale(target: np.ndarray, source: np.ndarray) -> float | None:
    """Return the scale from camera centres of shared frames: the median ratio of their distances.

    target, source: (N, 4, 4) cam_from_world of the same frames in two worlds. None with fewer than three frames, or if
    the ratios scatter by more than a quarter, so that the motion tells nothing about scale.
    """
    if len(target) < 3:
        return None
    a, b = (invert(poses)[:, :3, 3] for poses in (target, source))
    first, second = np.triu_indices(len(a), 1)
    distance_a = np.linalg.norm(a[first] - a[second], axis=-1)
    distance_b = np.linalg.norm(b[first] - b[second], axis=-1)
    # Short distances are mostly noise: only the longer half is used.
    far = (distance_b >= np.median(distance_b)) & (distance_b > 1e-12) & (distance_a > 1e-12)
    if not far.any():
        return None
    ratio = distance_a[far] / distance_b[far]
    scale = float(np.median(ratio))
    return scale if np.median(np.abs(ratio - scale)) <= 0.25 * scale else None


def same_world(target: np.ndarray, source: np.ndarray) -> Sim3 | None:
    """Return the similarity between two worlds that hold the same cameras almost exactly; None if they do not.

    target, source: (N, 4, 4) cam_from_world of the same frames. The rotation is the chordal mean of the relative
    rotations, so that a straight path is enough; scale and translation are a least-squares fit of the centres. None
    with fewer than three frames, if the centres move only by rounding errors, or if their fit is worse than a
    thousandth of their spread: then they are two estimates of the cameras, not one.
    """
    if len(target) < 3:
        return None
    target, source = target.astype(np.float64), source.astype(np.float64)
    rotation = common_turn(target[:, :3, :3], source[:, :3, :3])
    if rotation is None:
        return None
    centers = invert(target)[:, :3, 3]
    turned = invert(source)[:, :3, 3] @ rotation.T
    a, b = centers - centers.mean(0), turned - turned.mean(0)
    spread_a, spread_b = (float(np.sqrt((x * x).sum(1).mean())) for x in (a, b))
    for spread, where in ((spread_a, centers), (spread_b, turned)):
        if not spread > _LEAST_SPREAD * np.linalg.norm(where, axis=1).max():
            return None
    scale = float((a * b).sum() / (b * b).sum())
    if scale <= 0 or not np.sqrt(((a - scale * b) ** 2).sum(1).max()) <= _SAME_WORLD * spread_a:
        return None
    return Sim3(scale, rotation, centers.mean(0) - scale * turned.mean(0))


def common_turn(target: np.ndarray, source: np.ndarray) -> np.ndarray | None:
    """Return the rotation (3, 3) target_world_from_source_world that orientations of the same frames share.

    target, source: (N, 3, 3) cam_from_world. None without a frame, or if the frames contradict each other.
    """
    if len(target) == 0:
        return None
    rotation, spread_deg = mean_rotation(np.swapaxes(target, -1, -2).astype(np.float64) @ source.astype(np.float64))
    return rotation if spread_deg <= _MAX_SPREAD_DEG else None


def connect(target: np.ndarray, source: np.ndarray, scale: float) -> Sim3 | None:
    """Return the similarity of known scale that takes the source world to the target world.

    target, source: (N, 4, 4) cam_from_world of the same frames, N >= 1, in the two worlds; camera-frame points are
    `scale` times larger in the target. The rotation is the chordal mean of the relative rotations, the translation the
    median over the camera centres. None if the frames contradict each other.
    """
    rotation = common_turn(target[:, :3, :3], source[:, :3, :3])
    if rotation is None:
        return None
    target, source = target.astype(np.float64), source.astype(np.float64)
    centers_target, centers_source = invert(target)[:, :3, 3], invert(source)[:, :3, 3]
    translation = np.median(centers_target - scale * centers_source @ rotation.T, axis=0)
    return Sim3(scale, rotation, translation)


def fade_weights(count: int) -> np.ndarray:
    """Return the weight of the later piece in each of `count` shared frames: (count,) float32, rising, never 0 or 1.

    >>> fade_weights(3)
    array([0.25, 0.5 , 0.75], dtype=float32)
    """
    return (np.arange(1, count + 1) / (count + 1)).astype(np.float32)


def blend_poses(before: np.ndarray, after: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Blend two sets of rigid poses (N, 4, 4) cam_from_world: slerp of the rotation, straight line of the centre.

    weight (N,) is the weight of `after`. A translation that is NaN on one side stays NaN.
    """
    w = weight.astype(np.float64)[:, None]
    start, end = (Rotation.from_matrix(poses[:, :3, :3].astype(np.float64)) for poses in (before, after))
    rotation = (start * Rotation.from_rotvec(w * (start.inv() * end).as_rotvec())).as_matrix()
    centers = (1 - w) * invert(before.astype(np.float64))[:, :3, 3] + w * invert(after.astype(np.float64))[:, :3, 3]
    blended = np.zeros(before.shape, np.float64)
    blended[:, :3, :3] = rotation
    blended[:, :3, 3] = -np.einsum("nij,nj->ni", rotation, centers)
    blended[:, 3, 3] = 1
    return blended.astype(before.dtype)


def blend_maps(before: np.ndarray, after: np.ndarray, weight: float) -> np.ndarray:
    """Blend two depth maps (H, W), or point maps (H, W, 3), of one frame: float32, 0 where both are unknown.

    Where both are known and agree they are mixed; where only one is known it is taken. Where they are different
    surfaces, the one with the larger weight is taken, since a mix would lie between the surfaces.
    """
    before, after = before.astype(np.float32), after.astype(np.float32)
    depth_before = before[..., 2] if before.ndim == 3 else before
    depth_after = after[..., 2] if after.ndim == 3 else after
    near, far = np.minimum(depth_before, depth_after), np.maximum(depth_before, depth_after)
    mix = (near > 0) & (far - near <= _SAME_SURFACE * near)
    share = np.where(mix, weight, np.where(near > 0, float(weight >= 0.5), (depth_after > 0).astype(np.float32)))
    if before.ndim == 3:
        share = share[..., None]
    return ((1 - share) * before + share * after).astype(np.float32)


def to_half(frame: np.ndarray, scale: float) -> np.ndarray:
    """Scale one frame's float16 depth (H, W) or points (H, W, 3) in float32, and convert it back.

    Values outside float16's range, or not finite, become 0 (invalid).
    """
    scaled = frame.astype(np.float32) * np.float32(scale)
    inside = np.abs(scaled) <= np.finfo(np.float16).max  # False for NaN, too
    if scaled.ndim == 3:
        inside = inside.all(-1, keepdims=True)
    return np.where(inside, scaled, 0).astype(np.float16)
