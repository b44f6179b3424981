"""Embedded camera: structure from motion with COLMAP, then dense multi-view depth with its poses.

Cameras are recovered for a chapter of the video at a time, several segments long: the few steps of one segment tell
neither the focal length nor the far points well. Every segment of a chapter gives the same chapter, so an actor keeps
the last one; another actor would work out the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geoflow.errors import InputError
from geoflow.fields import MOTION_MOVING, MOTION_ROTATING, MOTION_UNKNOWN
from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param

if TYPE_CHECKING:
    from geoflow.geometry.motion.camera_motion import Chains
    from geoflow.geometry.motion.structure import Structure

_LEAST_FRAMES = 3  # with a pose, for a segment to be given any
_AFTER = 96  # frames by which a chapter reaches into the next one: the segments that start in it end there
_READ_AT_A_TIME = 64  # frames: a whole chapter in colour would take more memory than all else


@dataclass(frozen=True)
class _Chapter:
    """What was worked out for frames [start, stop) of a video."""

    start: int
    chains: Chains
    structures: list[Structure]


class Colmap(Stage):
    """Poses, one shared pinhole matrix and depth, up to the video's own scale, of a camera moving through a scene.

    Unknown intrinsics that the motion does not tell are NaN.

    A still or purely rotating camera gives no depth: it is reported in `camera.motion`, with `camera.valid` False
    unless the chapter around it has a structure. Of a rotating camera with a known or well-determined focal length
    the rotations are given, the translations NaN.
    """

    slot = "camera"
    inputs = ("frames.rgb", "video.index", "video.pts")
    optional = ("frames.mask", "video.seek", "video.cam_from_world", "video.intrinsics")
    outputs = ("camera.intrinsics", "camera.cam_from_world", "camera.depth", "camera.valid", "camera.motion")
    ladder = ({"depth_width": 320, "sources": 4}, {"depth_width": 240, "sources": 2})
    version = "3"
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
        self._last: tuple[Any, _Chapter] | None = None

    def process(self, segment: Segment, fields: Fields) -> Fields:
        import cv2

        from geoflow.geometry.depth.multiview import multiview_depth
        from geoflow.geometry.motion.camera_motion import classify_motion

        cv2.setNumThreads(self.threads)
        if "video.cam_from_world" in fields:
            return self._with_known_poses(segment, fields)
        rgb, mask = fields["frames.rgb"], fields.get("frames.mask")
        known, bend = segment.video.known_intrinsics, segment.video.distortion
        chapter = self._chapter(segment, fields)
        part = slice(segment.start - chapter.start, segment.stop - chapter.start)
        motion = classify_motion(chapter.chains.part(part.start, part.stop), known)
        found = max(chapter.structures, key=lambda s: int(s.valid[part].sum()), default=None)
        if found is None or found.valid[part].sum() < _LEAST_FRAMES:
            code = MOTION_UNKNOWN if motion.code == MOTION_MOVING else motion.code
            told = known is not None or motion.rotations is not None
            intrinsics = motion.intrinsics if told else np.full((3, 3), np.nan)
            return _unposed(rgb, code, intrinsics, motion.rotations)
        poses, valid = found.cam_from_world[part], found.valid[part]
        depth = multiview_depth(
            rgb,
            found.intrinsics,
            poses,
            valid,
            found.xyz,
            seen=np.isfinite(chapter.chains.uv[part, :, 0]),
            radial=found.radial,
            distortion=bend,
            masks=mask,
            width=self.params.depth_width,
            sources=self.params.sources,
        )
        return _fields(rgb, motion.code, found.pinhole(rgb.shape[1], rgb.shape[2], bend), poses, depth, valid)

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

    def _chapter(self, segment: Segment, fields: Fields) -> _Chapter:
        start, stop = chapter_of(segment, self.params.chapter)
        key = segment.video, start, stop
        if self._last is not None and self._last[0] == key:
            return self._last[1]
        self._last = None  # before the next one takes its memory
        try:
            chapter = self._reconstructed(segment, fields, start, stop)
        except InputError:  # a frame elsewhere cannot be read: that is for its own segment to say
            return self._reconstructed(segment, fields, segment.start, segment.stop)
        self._last = key, chapter
        return chapter

    def _reconstructed(self, segment: Segment, fields: Fields, start: int, stop: int) -> _Chapter:
        import cv2

        from geoflow.geometry.motion.camera_motion import chain_points, classify_motion
        from geoflow.geometry.motion.structure import reconstruct

        known, bend = segment.video.known_intrinsics, segment.video.distortion
        grays: list[np.ndarray] = []
        masks: list[np.ndarray] = []
        for rgb, mask in self._pieces(segment, fields, start, stop):
            grays += [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in rgb]
            masks += [] if mask is None else list(mask)
        chains = chain_points(
            grays, masks or None, max_points=self.params.max_points, keyframe_motion=self.params.keyframe_motion
        )
        if known is not None and bend is not None:
            chains = chains.straight(known, bend)
        structures = []
        if classify_motion(chains, known).code == MOTION_MOVING:
            structures = reconstruct(chains, grays, known_intrinsics=known, distortion=bend, masks=masks or None)
        return _Chapter(start, chains, structures)

    def _pieces(
        self, segment: Segment, fields: Fields, start: int, stop: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Frames [start, stop) and their masks, piece by piece: the segment's own as given, the others read again."""
        from geoflow.video import frame_reader

        video, masked = segment.video, "frames.mask" in fields
        own = max(start, segment.start), min(stop, segment.stop)
        for first, last in ((start, own[0]), own, (own[1], stop)):
            if (first, last) == own:
                yield fields["frames.rgb"], fields.get("frames.mask")
                continue
            for at in range(first, last, _READ_AT_A_TIME):
                end, index = min(last, at + _READ_AT_A_TIME), fields["video.index"]
                rgb = frame_reader.read_frames(
                    video, index, fields["video.pts"], at, end, seek=fields.get("video.seek"), threads=self.threads
                )
                yield rgb, frame_reader.read_masks(video, index, at, end) if masked else None


def chapter_of(segment: Segment, length: int) -> tuple[int, int]:
    """The frames [start, stop) whose cameras are recovered with the segment's: the same for all that start in it.

    Chapters of about `length` frames divide the video evenly; each goes on for the first frames of the next one, so
    that every segment lies in one as a whole.

    >>> from geoflow.segments import VideoInfo
    >>> video = VideoInfo("v", "v.mp4", "", 700, 30.0, 1, 1, 1, 1)
    >>> [chapter_of(Segment(video, 0, start, start + 96), 288) for start in (0, 288, 360, 604)]
    [(0, 398), (0, 398), (302, 700), (302, 700)]
    """
    num_frames = segment.video.num_frames
    count = max(1, round((num_frames - _AFTER) / length))
    each = max(1, num_frames - _AFTER) / count
    k = min(int(segment.start / each), count - 1)
    start, stop = int(k * each), int((k + 1) * each) + _AFTER
    return min(start, segment.start), max(min(stop, num_frames), segment.stop)


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
