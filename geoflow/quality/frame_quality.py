"""The fields of the group `quality`: what `write` finds out about the frames that it writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from geoflow.geometry.depth.depth_agreement import NEIGHBOURS, DepthAt, depth_agreement, known_mean
from geoflow.geometry.hands.hand_jitter import hand_jitter
from geoflow.geometry.motion.track_residual import track_residual
from geoflow.quality.frame_facts import GROUP

SIDES = ("left", "right")
_TRACKED = (
    "tracks.xyz", "tracks.uv", "tracks.visible", "camera.intrinsics", "camera.cam_from_world", "camera.valid",
)  # fmt: skip


@dataclass(frozen=True)
class StoredDepth:
    """The depth that is judged: that of the slot geometry, else that of the camera."""

    at: DepthAt  # a frame's number -> (H, W) scene units, 0 where unknown
    intrinsics: np.ndarray  # (T, 3, 3) px


def judged_depth(fields: Mapping[str, np.ndarray]) -> StoredDepth | None:
    """Return the depth of a segment's fields; None if there is none in the unit of the poses."""
    if {"geometry.points", "geometry.mask", "geometry.intrinsics"} <= fields.keys():
        points, mask = fields["geometry.points"], fields["geometry.mask"]
        return StoredDepth(lambda i: np.where(mask[i], points[i, ..., 2], np.float16(0)), fields["geometry.intrinsics"])
    if {"camera.depth", "camera.intrinsics"} <= fields.keys():
        depth = fields["camera.depth"]
        return StoredDepth(lambda i: depth[i], fields["camera.intrinsics"])
    return None


def measure_frames(rows: Mapping[str, np.ndarray], depth: StoredDepth | None) -> dict[str, np.ndarray]:
    """Return the fields `quality.*` of T frames, (T,) float32 each, as far as there is something to measure.

    `rows` are the fields with a row per frame that tell of them: `frames.small`, those of the camera, tracks and hands,
    and all that `geoflow.quality.frame_facts` knows. Depth is read frame by frame.
    """
    found: dict[str, np.ndarray] = {}
    if depth is not None:
        count = len(depth.intrinsics)
        found["coverage"] = np.array([(depth.at(i) > 0).mean() for i in range(count)], np.float32)
        if "camera.cam_from_world" in rows and "camera.valid" in rows:
            poses, valid = rows["camera.cam_from_world"], rows["camera.valid"]
            agreed = depth_agreement(depth.at, depth.intrinsics, poses, valid, rows.get("frames.small"))
            found |= {"depth_gap": agreed.gap, "flicker": agreed.flicker, "parallax": agreed.parallax}
            if "frames.small" in rows:
                found["photometric"] = agreed.photometric
    if all(name in rows for name in _TRACKED):
        xyz, uv, visible, intrinsics, poses, valid = (rows[name] for name in _TRACKED)
        found["track_residual"] = track_residual(xyz, uv, visible, intrinsics, poses, valid, NEIGHBOURS)
    if jitter := [_jitter(rows, side) for side in SIDES if f"hands.{side}.uv" in rows]:
        found["hand_jitter"] = known_mean(np.stack(jitter, axis=-1)).astype(np.float32)
    return {GROUP + name: values for name, values in found.items()}


def _jitter(rows: Mapping[str, np.ndarray], side: str) -> np.ndarray:
    return hand_jitter(rows[f"hands.{side}.uv"], rows[f"hands.{side}.valid"])
