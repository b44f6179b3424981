"""Places of a walk, by which the store closes loops: SIFT features with depth, of any backend's cameras."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param


class Places(Stage):
    """Small summaries of frames that show something new, so that a later visit of the place is found.

    What they are for happens when all segments are there: a place that is seen again, in this or another chapter, is
    looked for, checked, and the path is bent until both visits agree. A frame without pose or depth is no place.
    """

    slot = "places"
    inputs = (
        "frames.rgb",
        "camera.intrinsics",
        "camera.cam_from_world",
        "camera.depth",
        "camera.valid",
    )
    optional = ("frames.mask",)
    outputs = ("places.frame", "places.uv", "places.xyz", "places.descriptor", "places.gray", "places.depth")

    @dataclass(frozen=True)
    class Params(Stage.Params):
        most: int = param(24, "places of a segment, at most, evenly over it", at_least=1)

    def process(self, segment: Segment, fields: Fields) -> Fields:
        from geoflow.geometry.loops.places import choose_frames, describe, median_depths, nowhere

        own = len(segment) - segment.overlap_after  # the rest belongs to the next segment
        depth = fields["camera.depth"]
        frames = choose_frames(
            fields["camera.cam_from_world"][:own], fields["camera.valid"][:own], median_depths(depth[:own])
        )
        if len(frames) > self.params.most:
            frames = [frames[k] for k in np.linspace(0, len(frames) - 1, self.params.most).round().astype(int)]
        found, chosen = [], []
        for t in frames:
            ignore = fields["frames.mask"][t] if "frames.mask" in fields else None
            place = describe(fields["frames.rgb"][t], depth[t], fields["camera.intrinsics"][t], ignore)
            if place is not None:
                found.append(place)
                chosen.append(segment.start + t)
        result = {"places.frame": np.array(chosen, np.int64)}
        for name, empty in nowhere(depth.shape[1:]).items():
            result[f"places.{name}"] = np.array([place[name] for place in found], empty.dtype) if found else empty
        return result
