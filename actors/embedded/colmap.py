"""Embedded camera: structure from motion with COLMAP, then dense multi-view depth with its poses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.fields import MOTION_MOVING, MOTION_ROTATING, MOTION_UNKNOWN
from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param


class Colmap(Stage):
    """Poses, one shared pinhole matrix and depth, up to the segment's own scale, of a camera moving through a scene.

    A still or purely rotating camera gives no depth: it is reported in `camera.motion`, with `camera.valid` False.
    Of a rotating camera with a known or well-determined focal length the rotations are given, the translations NaN.
    """

    slot = "camera"
    inputs = ("frames.rgb",)
    optional = ("frames.mask",)
    outputs = ("camera.intrinsics", "camera.cam_from_world", "camera.depth", "camera.valid", "camera.motion")
    ladder = ({"depth_width": 240, "sources": 2},)

    @dataclass(frozen=True)
    class Params(Stage.Params):
        max_points: int = param(1000, "points followed through the segment at a time")
        keyframe_motion: float = param(0.04, "median motion of points, in image widths, that makes a new keyframe")
        depth_width: int = param(320, "working width, px, of the multi-view depth; 400 is finer and half as fast again")
        sources: int = param(4, "other frames that each frame's depth is computed against")

    def process(self, segment: Segment, fields: Fields) -> Fields:
        import cv2

        from geoflow.geometry.motion import chain_points, classify_motion
        from geoflow.geometry.multiview import multiview_depth
        from geoflow.geometry.structure import reconstruct

        cv2.setNumThreads(self.threads)
        rgb, mask = fields["frames.rgb"], fields.get("frames.mask")
        known = segment.video.known_intrinsics
        masks = None if mask is None else list(mask)
        grays = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in rgb]
        chains = chain_points(
            grays, masks, max_points=self.params.max_points, keyframe_motion=self.params.keyframe_motion
        )
        motion = classify_motion(chains, known)
        if motion.code != MOTION_MOVING:
            return _unposed(rgb, motion.code, motion.intrinsics, motion.rotations)
        found = reconstruct(chains, grays, known_intrinsics=known, masks=masks, threads=self.threads)
        if found is None:
            return _unposed(rgb, MOTION_UNKNOWN, motion.intrinsics, None)
        depth = multiview_depth(
            rgb,
            found.intrinsics,
            found.cam_from_world,
            found.valid,
            found.xyz,
            masks=mask,
            width=self.params.depth_width,
            sources=self.params.sources,
        )
        return _fields(rgb, MOTION_MOVING, found.intrinsics, found.cam_from_world, depth, found.valid)


def _unposed(rgb: np.ndarray, code: int, intrinsics: np.ndarray, rotations: np.ndarray | None) -> Fields:
    """No full poses and no depth; of a rotating camera its rotations."""
    poses = np.full((len(rgb), 4, 4), np.nan)
    if code == MOTION_ROTATING and rotations is not None:
        poses[:, :3, :3] = rotations
        poses[:, 3] = np.where(np.isfinite(rotations[:, :1, 0]), (0, 0, 0, 1), np.nan)
    return _fields(rgb, code, intrinsics, poses, np.zeros(rgb.shape[:3], np.float16), np.zeros(len(rgb), bool))


def _fields(
    rgb: np.ndarray, code: int, intrinsics: np.ndarray, poses: np.ndarray, depth: np.ndarray, valid: np.ndarray
) -> Fields:
    num_frames = len(rgb)
    return {
        "camera.intrinsics": np.repeat(np.asarray(intrinsics, np.float32)[None], num_frames, axis=0),
        "camera.cam_from_world": poses.astype(np.float32),
        "camera.depth": depth,
        "camera.valid": valid,
        "camera.motion": np.full(num_frames, code, np.uint8),
    }
