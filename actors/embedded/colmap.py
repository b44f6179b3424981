"""Embedded camera: structure from motion with COLMAP, then dense multi-view depth with its poses.

Cameras are recovered for a chapter of the video at a time, several segments long: the few steps of one segment tell
neither the focal length nor the far points well. Depth is computed for a segment at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geoflow.fields import DOUBT_NONE, DOUBT_UNMATCHED, MOTION_MOVING, MOTION_ROTATING, MOTION_UNKNOWN
from geoflow.segments import Segment, Span
from geoflow.stage import SHARED, Fields, Read, Stage, param

if TYPE_CHECKING:
    from geoflow.geometry.motion.structure import Structure

_LEAST_FRAMES = 3  # with a pose, for a segment to be given any


class Colmap(Stage):
    """Poses, one shared pinhole matrix and depth, up to the video's own scale, of a camera moving through a scene.

    Unknown intrinsics that the motion does not tell are NaN.

    A still or purely rotating camera gives no depth: it is reported in `camera.motion`, with `camera.valid` False
    unless the chapter around it has a structure. Of a rotating camera with a known or well-determined focal length
    the rotations are given, the translations NaN.
    """

    slot = "camera"
    depth_at_rest = True
    span = "chapter"
    inputs = ("frames.rgb",)
    optional = ("frames.mask", "video.cam_from_world", "video.intrinsics")
    outputs = ("camera.intrinsics", "camera.cam_from_world", "camera.depth", "camera.valid", "camera.motion")
    ladder = ({"depth_width": 320, "sources": 4}, {"depth_width": 240, "sources": 2})
    optional_outputs = ("camera.quality", "camera.doubt", "camera.focal_error")
    version = "8"
    honours = frozenset({"intrinsics", "distortion", "poses", "scale"})

    @dataclass(frozen=True)
    class Params(Stage.Params):
        chapter: int = param(
            288, "frames whose cameras are recovered together, beside the next chapter's first ones", at_least=2
        )
        max_points: int = param(1000, "points followed through the chapter at a time", at_least=8)
        keyframe_motion: float = param(
            0.04, "median motion of points, in image widths, that makes a new keyframe", at_least=0
        )
        depth_width: int = param(
            480,
            "working width, px, of the multi-view depth of a 4:3 picture; others: as many pixels",
            at_least=16,
            at_most=16_384,
        )
        sources: int = param(6, "other frames that a frame's depth is computed against", at_least=1)

    def __init__(self, params: Stage.Params | None = None) -> None:
        super().__init__(params)
        self.chapter_length = self.params.chapter

    def survey(self, span: Span, read: Read) -> Fields:
        """Points followed through the chapter, and the structures that came out of them."""
        import cv2

        from geoflow.geometry.motion.camera_motion import chain_points, classify_motion
        from geoflow.geometry.motion.picture_features import PictureFeatures
        from geoflow.geometry.motion.structure import reconstruct

        cv2.setNumThreads(self.threads)
        if span.video.given_world:  # nothing is to be estimated
            return {}
        known, bend = span.video.known_intrinsics, span.video.distortion
        grays: list[np.ndarray] = []
        masks: list[np.ndarray] = []
        for piece in read():
            grays += [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in piece["frames.rgb"]]
            masks += [*piece.get("frames.mask", ())]
        features = PictureFeatures(grays, masks or None)
        chains = chain_points(
            grays,
            masks or None,
            max_points=self.params.max_points,
            keyframe_motion=self.params.keyframe_motion,
            features=features,
        )
        if known is not None and bend is not None:
            chains = chains.straight(known, bend)
        found = chains.to_arrays()
        if classify_motion(chains, known).code == MOTION_MOVING:
            structures = reconstruct(
                chains,
                grays,
                known_intrinsics=known,
                distortion=bend,
                features=features,
                stated_focal=span.video.stated_focal,
            )
            for k, structure in enumerate(structures):
                found |= {f"structure.{k}.{name}": array for name, array in structure.to_arrays().items()}
        return found

    def process(self, segment: Segment, fields: Fields) -> Fields:
        import cv2

        from geoflow.geometry.depth.multiview import multiview_depth
        from geoflow.geometry.lens_distortion import nearest_pinhole
        from geoflow.geometry.motion.camera_motion import Chains, classify_motion
        from geoflow.geometry.motion.pose_quality import explained_points

        cv2.setNumThreads(self.threads)
        if "video.cam_from_world" in fields:
            return self._with_known_poses(segment, fields)
        rgb, mask = fields["frames.rgb"], fields.get("frames.mask")
        height, width = rgb.shape[1:3]
        known, bend = segment.video.known_intrinsics, segment.video.distortion
        chains = Chains.from_arrays(_named(SHARED, fields))
        begin = int(fields[SHARED + "range"][0])
        part = slice(segment.start - begin, segment.stop - begin)
        motion = classify_motion(chains.part(part.start, part.stop), known)
        structures = list(_structures(fields))
        found = max(structures, key=lambda s: int(s.valid[part].sum()), default=None)
        doubt = _doubt(structures, part)
        if found is None or found.valid[part].sum() < _LEAST_FRAMES:
            code = MOTION_UNKNOWN if motion.code == MOTION_MOVING else motion.code
            told = known is not None or motion.rotations is not None
            intrinsics = motion.intrinsics if told else np.full((3, 3), np.nan)
            if bend is not None:
                intrinsics = nearest_pinhole(motion.intrinsics, bend, height, width)
            moving = motion.code == MOTION_MOVING
            return _unposed(rgb, code, intrinsics, motion.rotations) | ({"camera.doubt": doubt} if moving else {})
        poses, valid = found.cam_from_world[part], found.valid[part]
        depth = multiview_depth(
            rgb,
            found.intrinsics,
            poses,
            valid,
            found.xyz,
            seen=np.isfinite(chains.uv[part, :, 0]),
            radial=found.radial,
            distortion=bend,
            masks=mask,
            width=self.params.depth_width,
            sources=self.params.sources,
        )
        quality = explained_points(found, chains.uv, range(part.start, part.stop))
        pinhole = found.pinhole(height, width, bend)
        judged = {
            "camera.quality": quality,
            "camera.doubt": np.where(valid, found.lens, doubt).astype(np.uint8),
            "camera.focal_error": np.where(valid, found.focal_error, np.nan).astype(np.float32),
        }
        return _fields(rgb, motion.code, pinhole, poses, depth, valid) | judged

    def _with_known_poses(self, segment: Segment, fields: Fields) -> Fields:
        """Nothing of the camera is estimated; a frame without a given pose has none."""
        from geoflow.geometry.motion.known_poses import depth_of_known_poses

        own = slice(segment.start, segment.stop)
        rgb, poses = fields["frames.rgb"], fields["video.cam_from_world"][own]
        found = depth_of_known_poses(
            rgb,
            fields["video.intrinsics"][own],
            poses,
            distortion=segment.video.distortion,
            masks=fields.get("frames.mask"),
            max_points=self.params.max_points,
            keyframe_motion=self.params.keyframe_motion,
            width=self.params.depth_width,
            sources=self.params.sources,
        )
        poses = np.where(found.valid[:, None, None], poses, np.nan)
        return _fields(rgb, found.motion, found.intrinsics, poses, found.depth, found.valid)


def _named(prefix: str, fields: Fields) -> Fields:
    return {name.removeprefix(prefix): array for name, array in fields.items() if name.startswith(prefix)}


def _structures(fields: Fields) -> Iterator[Structure]:
    """What the survey recovered, in its order."""
    from geoflow.geometry.motion.structure import Structure

    for k in itertools.count():
        if not (arrays := _named(f"{SHARED}structure.{k}.", fields)):
            return
        yield Structure.from_arrays(arrays)


def _doubt(structures: Iterable[Structure], part: slice) -> np.ndarray:
    """Return why frames of a moving camera have no pose, (T,) uint8: as the structures say, or that none has them."""
    said = [structure.doubt[part] for structure in structures]
    doubt = np.max(said, axis=0) if said else np.zeros(part.stop - part.start, np.uint8)
    return np.where(doubt == DOUBT_NONE, DOUBT_UNMATCHED, doubt).astype(np.uint8)


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
        "camera.intrinsics": np.broadcast_to(intrinsics, (num_frames, 3, 3)).astype(np.float32),
        "camera.cam_from_world": poses.astype(np.float32),
        "camera.depth": depth,
        "camera.valid": valid,
        "camera.motion": np.full(num_frames, code, np.uint8),
    }
