"""The seam between two segments, on named fields: move a segment to its place, measure the gap, fade it in.

The values are those of the field table; `Fields` maps their names to arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from geoflow.fields import FIELDS, known
from geoflow.geometry import alignment
from geoflow.geometry.rigid import Sim3, only_turns
from geoflow.values.field import (
    DEPTHS,
    DIRECTIONS,
    EITHER,
    LENGTHS,
    MIX,
    MOST,
    NEARER,
    PLACEMENTS,
    PLACES,
    POSE,
    POSES,
    TOGETHER,
    Field,
)

Fields = dict[str, np.ndarray]


def joined(fields: Fields) -> list[str]:
    """Return the fields for which two segments' values of a frame are joined into one."""
    return [name for name in fields if FIELDS[name].joined]


@dataclass(frozen=True)
class Join:
    """The transform of one segment to the video's frame; parts are None if they cannot be connected."""

    camera_scale: float | None
    geometry_scale: float | None
    world: Sim3 | None  # the segment's camera world to the video's world
    turn: np.ndarray | None = None  # (3, 3) the rotation of `world`; may be known even if `world` is not

    def scale(self, row: Field) -> float | None:
        """Return the factor for the lengths of a field."""
        return self.geometry_scale if row.branch == "geometry" else self.camera_scale


def depth_of(fields: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return the geometry depth (T, H, W) float16, 0 where masked; None without geometry."""
    if "geometry.points" not in fields or "geometry.mask" not in fields:
        return None
    return np.where(fields["geometry.mask"], fields["geometry.points"][..., 2], np.float16(0))


def oriented(fields: Fields) -> np.ndarray:
    """Return the frames (T,) bool with at least a known orientation: posed, or a rotation with a NaN translation."""
    return fields["camera.valid"] | only_turns(fields["camera.cam_from_world"])


def complete(held: Fields, shared: int, fields: Fields, num_frames: int) -> tuple[Fields, Fields]:
    """Give both sides of the seam the same fields. A field that one side lacks (its stage failed) is invalid there."""
    held, fields = dict(held), dict(fields)
    if not shared:
        return {}, fields
    for name in {**held, **fields}:
        if not FIELDS[name].joined:
            continue
        if name not in fields:
            fields[name] = _invalid(name, num_frames, held[name])
        elif name not in held:
            held[name] = _invalid(name, shared, fields[name])
    return held, fields


def _invalid(name: str, num_frames: int, like: np.ndarray) -> np.ndarray:
    return np.full((num_frames, *like.shape[1:]), FIELDS[name].unknown, like.dtype)


def move(fields: Fields, join: Join, *, known_scale: bool) -> Fields:
    """Return all fields of the segment in the video's world and scale; changed fields are new arrays.

    Without `known_scale` the video has no scale yet. Then lengths without a known scale stay unchanged.
    """
    moved = dict(fields)
    for name in fields:
        if (rule := _MOVES.get(FIELDS[name].moves)) is not None:
            moved |= rule(FIELDS[name], fields, join, known_scale)
    return moved


def _scaled_depths(row: Field, fields: Fields, join: Join, known_scale: bool) -> Fields:
    """Return a scaled depth or point map and its mask. Values outside float16's range are masked out."""
    before, scale, mask = fields[row.name], join.scale(row), fields.get(row.outside)
    if row.outside and mask is None:
        return {}  # nothing says where it holds
    after = np.zeros_like(before)
    if scale is not None:
        for i, frame in enumerate(before):  # frame by frame: float32 of a whole segment is large
            after[i] = alignment.to_half(frame, scale)
    if mask is None:
        return {row.name: after}
    holds = np.zeros_like(mask)
    for i, frame in enumerate(after):
        holds[i] = mask[i] & ((frame if frame.ndim == 2 else frame[..., 2]) > 0)
        after[i] = np.where(holds[i].reshape(*holds[i].shape, *[1] * (frame.ndim - 2)), frame, np.float16(0))
    return {row.name: after, row.outside: holds}


def _scaled_lengths(row: Field, fields: Fields, join: Join, known_scale: bool) -> Fields:
    """Return scaled lengths. Lengths in scene units scale with the scene; they become metres if the scene's scale is
    unknown and their own is known. Lengths in metres stay unchanged."""
    before, factor = fields[row.name], join.scale(row)
    if not row.metres and not _by_cameras(fields):
        factor = join.geometry_scale
    if factor is None and not known_scale:
        factor = 1.0  # nothing to be consistent with yet
    if row.metres:
        in_scene = np.ones(before.shape[: len(row.axes)], np.float32)  # without the field, all are in scene units
        own = fields.get(row.metres, in_scene)
        by = np.float32(factor) if factor is not None else 1 / own
        by = np.where(np.isfinite(own), by, 1).astype(np.float32)
    else:
        by = np.full(len(before), np.nan if factor is None else factor, np.float32)
    if row.name == row.metres:
        return {row.name: before * by if factor is not None else np.full_like(before, np.nan)}
    if row.form == POSE:
        after = before.copy()
        after[..., :3, 3] *= by[..., None]
        return {row.name: after}
    after = (before * by.reshape(*by.shape, *[1] * (before.ndim - by.ndim))).astype(before.dtype)
    after[~np.isfinite(by)] = row.unknown
    return {row.name: after}


def _by_cameras(fields: Fields) -> bool:
    """Return whether a segment's lengths are in the scale of its cameras: their depth is taken before geometry's."""
    depth = fields.get("camera.depth")
    return depth_of(fields) is None or (depth is not None and bool(depth.any()))


def _moved_poses(row: Field, fields: Fields, join: Join, known_scale: bool) -> Fields:
    """Return full poses where the world is known; otherwise only orientations, where they are known."""
    valid, before = known(row.name, fields), fields[row.name]
    poses = np.full(before.shape, np.nan, np.float32)
    if join.turn is not None:
        turned = valid | only_turns(before)
        poses[turned, :3, :3] = before[turned, :3, :3].astype(np.float64) @ join.turn.T
        poses[turned, 3] = 0, 0, 0, 1
    if join.world is None:
        return {row.name: poses, **({row.outside: np.zeros_like(valid)} if row.outside in fields else {})}
    poses[valid] = join.world.apply_to_cameras(before[valid].astype(np.float64))
    return {row.name: poses}


def _moved_places(row: Field, fields: Fields, join: Join, known_scale: bool) -> Fields:
    """Return moved points of the world, whose last three components are the position, and where they hold."""
    after = fields[row.name].copy()
    if join.world is not None:
        after[..., -3:] = join.world.apply(after[..., -3:].astype(np.float64))
        return {row.name: after}
    after[..., -3:] = np.nan
    return {row.name: after, **({row.holds: np.zeros_like(fields[row.holds])} if row.holds in fields else {})}


def _placed(row: Field, fields: Fields, join: Join, known_scale: bool) -> Fields:
    """Return moved matrices (..., 4, 4) that map something into the world: its size scales with the world."""
    before = fields[row.name]
    if join.world is None:
        return {row.name: np.full_like(before, np.nan)}
    moved = np.eye(4)
    moved[:3, :3], moved[:3, 3] = join.world.scale * join.world.rotation, join.world.translation
    return {row.name: (moved @ before.astype(np.float64)).astype(before.dtype)}


def _turned(row: Field, fields: Fields, join: Join, known_scale: bool) -> Fields:
    before = fields[row.name]
    if join.turn is None:
        return {row.name: np.full_like(before, row.unknown)}
    return {row.name: (before.astype(np.float64) @ join.turn.T).astype(before.dtype)}


_MOVES = {
    DEPTHS: _scaled_depths,
    LENGTHS: _scaled_lengths,
    POSES: _moved_poses,
    PLACES: _moved_places,
    PLACEMENTS: _placed,
    DIRECTIONS: _turned,
}


def seam_gap(held: Fields, moved: Fields, shared: int) -> float:
    """Return the gap at the seam after alignment and before fading: of geometry, else of the camera branch's depth."""
    if not shared:
        return float("nan")
    now = {name: moved[name][:shared] for name in joined(moved)}
    before, after = depth_of(held), depth_of(now)
    gap = float("nan") if before is None or after is None else alignment.relative_gap(before, after)
    if np.isnan(gap) and "camera.depth" in held:
        gap = alignment.relative_gap(held["camera.depth"], now["camera.depth"])
    return gap


def fade(held: Fields, moved: Fields, shared: int) -> Fields:
    """Return the shared frames, faded from the held frames to the new segment."""
    if not shared:
        return {}
    weight = alignment.fade_weights(shared)
    now = {name: moved[name][:shared] for name in joined(moved)}
    return {name: _FADES[FIELDS[name].fade](FIELDS[name], held, now, weight) for name in now}


def _mixed(row: Field, held: Fields, now: Fields, weight: np.ndarray) -> np.ndarray:
    if row.form == POSE:
        return _mixed_poses(row, held, now, weight)
    before, after = held[row.name], now[row.name]
    if row.depth:
        faded = np.empty_like(after)
        for i, w in enumerate(weight):
            faded[i] = alignment.blend_maps(before[i], after[i], w)
        return faded
    w = weight.reshape(-1, *[1] * (after.ndim - 1))
    mixed = (1 - w) * before + w * after
    mixed = np.where(np.isfinite(mixed), mixed, np.where(np.isfinite(before), before, after))
    return mixed.astype(after.dtype)


def _mixed_poses(row: Field, held: Fields, now: Fields, weight: np.ndarray) -> np.ndarray:
    """Return poses where a full pose replaces an orientation alone, and two poses of the same kind are mixed."""
    before, after = held[row.name], now[row.name]
    full = [known(row.name, fields) for fields in (held, now)]
    kind_before, kind_after = (valid * 1 + (valid | only_turns(poses)) for valid, poses in zip(full, (before, after)))
    poses = np.where((kind_before > kind_after)[:, None, None], before, after)
    alike = (kind_before == kind_after) & (kind_before > 0)
    if alike.any():
        poses[alike] = alignment.blend_poses(before[alike], after[alike], weight[alike])
    return poses


def _nearer(row: Field, held: Fields, now: Fields, weight: np.ndarray) -> np.ndarray:
    """Return the value of the segment that knows it, or of the nearer one if both do. Two values are never mixed."""
    together = row.fade == TOGETHER and row.outside in now
    first, second = ((fields[row.outside] if together else known(row.name, fields)) for fields in (held, now))
    nearer = (weight >= 0.5).reshape(-1, *[1] * (first.ndim - 1))
    if together and (filler := FIELDS[row.outside].filler) in now:
        seen, seen_next = first & ~held[filler], second & ~now[filler]
        nearer = np.where(seen == seen_next, nearer, seen_next)
    use_second = second & (~first | nearer)
    flag = use_second.reshape(*use_second.shape, *[1] * (now[row.name].ndim - use_second.ndim))
    return np.where(flag, now[row.name], held[row.name])


def _either(row: Field, held: Fields, now: Fields, weight: np.ndarray) -> np.ndarray:
    return held[row.name] | now[row.name]


def _most(row: Field, held: Fields, now: Fields, weight: np.ndarray) -> np.ndarray:
    return np.maximum(held[row.name], now[row.name])


_FADES = {MIX: _mixed, NEARER: _nearer, TOGETHER: _nearer, EITHER: _either, MOST: _most}
