"""The seam between two segments on named fields: move a segment to its place, measure the gap, fade it in.

The values are those of the field table; `Fields` maps their names to arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.fields import FIELDS, NAN
from geoflow.geometry import alignment
from geoflow.geometry.rigid import Sim3, only_turns

Fields = dict[str, np.ndarray]

GEOMETRY = ("geometry.points", "geometry.mask", "geometry.intrinsics")
CAMERA = ("camera.intrinsics", "camera.cam_from_world", "camera.depth", "camera.valid", "camera.motion")
TRACKS = ("tracks.xyz", "tracks.visible", "tracks.uv", "tracks.query")
HANDS = tuple(name for name in FIELDS if name.startswith("hands."))
VIEW = "frames.view"
FADED = (VIEW, *GEOMETRY, *CAMERA, *HANDS)  # everything with a row per frame that depends on the segment


@dataclass(frozen=True)
class Join:
    """How one segment is brought to the video's frame; None where it cannot be connected."""

    camera_scale: float | None
    geometry_scale: float | None
    world: Sim3 | None  # the segment's camera world to the video's world
    turn: np.ndarray | None = None  # (3, 3) the rotation of `world`; also known where that is not


def depth_of(fields: Fields) -> np.ndarray | None:
    """Geometry depth (T, H, W) float16, 0 where masked; None without geometry."""
    if "geometry.points" not in fields or "geometry.mask" not in fields:
        return None
    return np.where(fields["geometry.mask"], fields["geometry.points"][..., 2], np.float16(0))


def oriented(fields: Fields) -> np.ndarray:
    """Frames (T,) bool of which at least the orientation is known: posed, or a rotation beside a NaN translation."""
    return fields["camera.valid"] | only_turns(fields["camera.cam_from_world"])


def complete(held: Fields, shared: int, fields: Fields, num_frames: int) -> tuple[Fields, Fields]:
    """Give both sides of the seam the same fields; what one lacks (its stage failed there) is invalid throughout."""
    held, fields = dict(held), dict(fields)
    if not shared:
        return {}, fields
    for name in FADED:
        if name in held and name not in fields:
            fields[name] = _invalid(name, num_frames, held[name])
        elif name in fields and name not in held:
            held[name] = _invalid(name, shared, fields[name])
    return held, fields


def _invalid(name: str, num_frames: int, like: np.ndarray) -> np.ndarray:
    return np.full((num_frames, *like.shape[1:]), np.nan if FIELDS[name].invalid == NAN else 0, like.dtype)


def move(fields: Fields, join: Join, *, known_scale: bool) -> Fields:
    """All fields of the segment in the video's world and scale, as new arrays."""
    moved = {name: fields[name] for name in (*FADED, *TRACKS) if name in fields}
    moved |= _move_maps(moved, join)
    if "camera.cam_from_world" in moved:
        moved |= _move_cameras(moved, join)
    if "tracks.xyz" in moved:
        moved |= _move_tracks(moved, join.world)
    factor = join.camera_scale
    if factor is None and not known_scale:
        factor = 1.0  # nothing to be consistent with yet
    for side in ("left", "right"):
        if f"hands.{side}.joints" in moved:
            moved |= _move_hand(moved, f"hands.{side}.", factor)
    return moved


def _move_hand(fields: Fields, prefix: str, factor: float | None) -> Fields:
    """Hands in scene units go with the scene, back to metres where its scale is unknown; those in metres stay."""
    joints, wrist = fields[f"{prefix}joints"], fields[f"{prefix}wrist"].copy()
    scale = fields.get(f"{prefix}scale", np.ones(len(joints), np.float32))  # without it, all are in scene units
    by = np.float32(factor) if factor is not None else 1 / scale
    by = np.where(np.isfinite(scale), by, 1).astype(np.float32)
    wrist[:, :3, 3] *= by[:, None]
    moved = {f"{prefix}joints": joints * by[:, None, None], f"{prefix}wrist": wrist}
    if f"{prefix}scale" in fields:
        moved[f"{prefix}scale"] = scale * by if factor is not None else np.full_like(scale, np.nan)
    return moved


def _move_maps(fields: Fields, join: Join) -> Fields:
    moved: Fields = {}
    if "camera.depth" in fields:
        depth = fields["camera.depth"]
        moved["camera.depth"] = np.zeros_like(depth)
        if join.camera_scale is not None:
            for i, frame in enumerate(depth):  # frame by frame: float32 of a whole segment is large
                moved["camera.depth"][i] = alignment.to_half(frame, join.camera_scale)
    if "geometry.points" in fields and "geometry.mask" in fields:
        points, mask = np.zeros_like(fields["geometry.points"]), np.zeros_like(fields["geometry.mask"])
        if join.geometry_scale is not None:
            for i, frame in enumerate(fields["geometry.points"]):
                frame = alignment.to_half(frame, join.geometry_scale)
                mask[i] = fields["geometry.mask"][i] & (frame[..., 2] > 0)
                points[i] = np.where(mask[i][..., None], frame, np.float16(0))
        moved |= {"geometry.points": points, "geometry.mask": mask}
    return moved


def _move_cameras(fields: Fields, join: Join) -> Fields:
    """Full poses where the world is known; of the others their orientations, where those are known."""
    valid, before = fields["camera.valid"], fields["camera.cam_from_world"]
    poses = np.full(before.shape, np.nan, np.float32)
    if join.turn is not None:
        turned = oriented(fields)
        poses[turned, :3, :3] = before[turned, :3, :3].astype(np.float64) @ join.turn.T
        poses[turned, 3] = 0, 0, 0, 1
    if join.world is None:
        return {"camera.cam_from_world": poses, "camera.valid": np.zeros_like(valid)}
    poses[valid] = join.world.apply_to_cameras(before[valid].astype(np.float64))
    return {"camera.cam_from_world": poses}


def _move_tracks(fields: Fields, world: Sim3 | None) -> Fields:
    xyz, query = fields["tracks.xyz"], fields["tracks.query"].copy()
    if world is None:
        query[:, 1:] = np.nan
        return {"tracks.xyz": np.full_like(xyz, np.nan), "tracks.query": query}
    query[:, 1:] = world.apply(query[:, 1:].astype(np.float64))
    return {"tracks.xyz": world.apply(xyz.astype(np.float64)).astype(np.float32), "tracks.query": query}


def seam_gap(held: Fields, moved: Fields, shared: int) -> float:
    """The gap at the seam after alignment and before fading: of geometry, else of the camera branch's depth."""
    if not shared:
        return float("nan")
    now = {name: value[:shared] for name, value in moved.items() if name in FADED}
    before, after = depth_of(held), depth_of(now)
    gap = float("nan") if before is None or after is None else alignment.relative_gap(before, after)
    if np.isnan(gap) and "camera.depth" in held:
        gap = alignment.relative_gap(held["camera.depth"], now["camera.depth"])
    return gap


def fade(held: Fields, moved: Fields, shared: int) -> Fields:
    """The shared frames, faded from what was kept back to the new segment."""
    if not shared:
        return {}
    weight = alignment.fade_weights(shared)
    now = {name: value[:shared] for name, value in moved.items() if name in FADED}
    faded: Fields = {}
    if "geometry.points" in now:
        faded["geometry.points"] = _fade_maps(held["geometry.points"], now["geometry.points"], weight)
        faded["geometry.mask"] = faded["geometry.points"][..., 2] > 0
    if "camera.depth" in now:
        faded["camera.depth"] = _fade_maps(held["camera.depth"], now["camera.depth"], weight)
    for name in ("geometry.intrinsics", "camera.intrinsics"):
        if name in now:
            faded[name] = _fade_intrinsics(held[name], now[name], weight)
    if VIEW in now:  # a segment's first frame knows no frame before it, its last one none after
        faded[VIEW] = np.where(weight >= 0.5, now[VIEW], held[VIEW])
    if "camera.valid" in now:
        faded |= _fade_cameras(held, now, weight)
    for side in ("left", "right"):
        if f"hands.{side}.valid" in now:
            faded |= _choose_hand(held, now, weight, f"hands.{side}.")
    return faded


def _fade_maps(before: np.ndarray, after: np.ndarray, weight: np.ndarray) -> np.ndarray:
    faded = np.empty_like(after)
    for i, w in enumerate(weight):
        faded[i] = alignment.blend_maps(before[i], after[i], w)
    return faded


def _fade_intrinsics(before: np.ndarray, after: np.ndarray, weight: np.ndarray) -> np.ndarray:
    w = weight[:, None, None]
    mixed = (1 - w) * before + w * after
    mixed = np.where(np.isfinite(mixed), mixed, np.where(np.isfinite(before), before, after))
    return mixed.astype(np.float32)


def _fade_cameras(held: Fields, now: Fields, weight: np.ndarray) -> Fields:
    """A full pose wins over an orientation alone; two of a kind are mixed."""
    before, after = held["camera.cam_from_world"], now["camera.cam_from_world"]
    kind_before, kind_after = (f["camera.valid"] * 1 + oriented(f) for f in (held, now))  # 2, 1, or 0 for neither
    poses = np.where((kind_before > kind_after)[:, None, None], before, after)
    alike = (kind_before == kind_after) & (kind_before > 0)
    if alike.any():
        poses[alike] = alignment.blend_poses(before[alike], after[alike], weight[alike])
    valid = held["camera.valid"] | now["camera.valid"]
    faded: Fields = {"camera.cam_from_world": poses, "camera.valid": valid}
    if "camera.motion" in now:
        code, next_code = held["camera.motion"], now["camera.motion"]
        faded["camera.motion"] = np.where((code == 0) | ((next_code != 0) & (weight >= 0.5)), next_code, code)
    return faded


def _choose_hand(held: Fields, now: Fields, weight: np.ndarray, prefix: str) -> Fields:
    """One side's hand: from the segment that saw it, the nearer where both did. Two are never mixed into a third."""
    first, second = held[f"{prefix}valid"], now[f"{prefix}valid"]
    nearer = weight >= 0.5
    if f"{prefix}filled" in now:
        seen, seen_next = first & ~held[f"{prefix}filled"], second & ~now[f"{prefix}filled"]
        nearer = np.where(seen == seen_next, nearer, seen_next)
    use_second = second & (~first | nearer)
    chosen = {}
    for name in now:
        if name.startswith(prefix):
            flag = use_second.reshape(-1, *[1] * (now[name].ndim - 1))
            chosen[name] = np.where(flag, now[name], held[name])
    return chosen
