"""The depth and the cameras by which points are followed in 3D: in the world, or as each camera sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from geoflow.errors import StageError
from geoflow.geometry.alignment import depth_ratio, to_half
from geoflow.geometry.motion.asked_points import AskedPoints
from geoflow.geometry.motion.lifting import CamerasWithDepth
from geoflow.geometry.seams import depth_of

AUTO, CAMERA, GEOMETRY = "auto", "camera", "geometry"  # whose depth


@dataclass(frozen=True)
class TrackingSpace:
    """`cameras` say where points can be followed: `valid` in frames with depth, a pinhole matrix and a pose.

    As cameras see them (`in_cameras`), every pose is the identity: a place is one in the camera of its frame. `poses`
    (T, 4, 4) then bring it to the world, NaN where the pose or the world's scale is unknown.
    """

    cameras: CamerasWithDepth
    in_cameras: bool
    poses: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Return the height and width of the frames."""
        return self.cameras.depth.shape[1], self.cameras.depth.shape[2]

    def project(self, xyz: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return pixels (F, N, 2) float32 of places (F, N, 3) in F frames, and which lie inside (F, N).

        Pixels are NaN behind the camera, and where the place is unknown.
        """
        poses = self.cameras.cam_from_world[frames].astype(np.float64)
        here = xyz.astype(np.float64) @ np.swapaxes(poses[:, :3, :3], -1, -2) + poses[:, None, :3, 3]
        with np.errstate(invalid="ignore"):
            z = np.where(here[..., 2:] > 1e-6, here[..., 2:], np.nan)
            uv = (here / z @ np.swapaxes(self.cameras.intrinsics[frames].astype(np.float64), -1, -2))[..., :2]
            height, width = self.size
            inside = ((uv >= -0.5) & (uv <= (width - 0.5, height - 0.5))).all(-1)
        return uv.astype(np.float32), inside

    def posed_cameras(self) -> CamerasWithDepth:
        """Return the cameras where they stand in the world, valid where that is known."""
        return replace(self.cameras, cam_from_world=self.poses, valid=np.isfinite(self.poses).all((1, 2)))

    def places(self, asked: AskedPoints) -> np.ndarray | None:
        """Return the places (M, 3) in this space of points asked for in the world; None if they have pixels instead."""
        if asked.xyz is None or not self.in_cameras:
            return asked.xyz
        poses = self.poses[asked.frame]
        return np.asarray((poses[:, :3, :3] @ asked.xyz[..., None])[..., 0] + poses[:, :3, 3])

    def in_world(self, xyz: np.ndarray) -> np.ndarray:
        """Return places (T, N, 3) of the frames' cameras in the world, float32; NaN where it is unknown."""
        poses = self.poses.astype(np.float64)
        return ((xyz - poses[:, None, :3, 3]) @ poses[:, :3, :3]).astype(np.float32)


def tracking_space(fields: Mapping[str, np.ndarray], depth: str, camera_space: bool | None) -> TrackingSpace:
    """Return the space in which the points of a segment are followed.

    `depth` is whose depth is taken: camera, geometry, or auto for the one that more frames have. Depth of geometry is
    brought to the scale of the cameras by the pixels that `camera.depth` has, too, as `stitch` does. `camera_space`
    None: as cameras see them if no frame has both pose and depth in one scale. A segment of which nothing can be used
    has no valid frame. Raises StageError if no stage gives the depth.
    """
    own, other = fields.get("camera.depth"), depth_of(fields)
    posed = fields.get("camera.valid", np.zeros(len(fields["frames.rgb"]), bool))
    chosen, scale = _chosen(own, other, depth)
    if chosen is other and scale is not None and scale != 1:
        chosen = np.stack([to_half(frame, scale) for frame in chosen])
    has_depth = np.array([bool(frame.any()) for frame in chosen], bool)
    if scale is None and own is not None and own.any():
        has_depth[:] = False  # two scales, and nothing that tells one by the other
    together = posed & has_depth if scale is not None else np.zeros_like(posed)
    in_cameras = not together.any() if camera_space is None else camera_space
    intrinsics = _intrinsics(fields, len(posed))
    known = np.isfinite(intrinsics).all((1, 2))
    poses = np.full((len(posed), 4, 4), np.nan, np.float32)
    if together.any():
        poses[together] = fields["camera.cam_from_world"][together]
    used = np.broadcast_to(np.eye(4, dtype=np.float32), poses.shape) if in_cameras else poses
    valid = known & (has_depth if in_cameras else together)
    return TrackingSpace(CamerasWithDepth(intrinsics, used, chosen, valid), in_cameras, poses)


def _chosen(own: np.ndarray | None, other: np.ndarray | None, wanted: str) -> tuple[np.ndarray, float | None]:
    """Return the depth to take and its factor to the cameras' scale; None if it is unknown."""
    if wanted == AUTO:
        wanted = CAMERA if other is None or (own is not None and _frames(own) >= _frames(other)) else GEOMETRY
    chosen = own if wanted == CAMERA else other
    if chosen is None:
        raise StageError(
            f"no stage above gives depth to follow points by ({wanted}.*); add one, or change tracks.depth"
        )
    if chosen is own:
        return chosen, 1.0
    return chosen, None if own is None else depth_ratio(own, chosen)


def _frames(depth: np.ndarray) -> int:
    return sum(bool(frame.any()) for frame in depth)


def _intrinsics(fields: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    """The pinhole matrices (T, 3, 3) of the cameras, or where these are unknown those of geometry; NaN if both are."""
    found = np.full((count, 3, 3), np.nan, np.float32)
    for name in ("geometry.intrinsics", "camera.intrinsics"):
        if (given := fields.get(name)) is not None:
            found = np.where(np.isfinite(given).all((1, 2))[:, None, None], given, found)
    return found.astype(np.float32)
