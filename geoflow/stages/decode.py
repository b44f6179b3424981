"""Decode: the pixels and times of a segment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param


class Decode(Stage):
    """Reads a segment's frames from the source, upright and at the processed size, and marks cuts and bare views.

    Its decoders stay open between segments: this saves work, and changes no pixel.
    """

    slot = "decode"
    inputs = ("video.index", "video.pts", "video.time")
    optional = ("video.seek",)
    outputs = (
        "frames.rgb",
        "frames.index",
        "frames.time",
        "frames.view",
        "frames.blur",
        "frames.brightness",
        "frames.overexposed",
        "frames.small",
    )
    optional_outputs = ("frames.mask", "objects.label")  # given only if the user gave masks or labels
    version = "4"

    @dataclass(frozen=True)
    class Params(Stage.Params):
        # Sizes are chosen when a video is probed, before its first segment: the driver reads this parameter then.
        long_side: int | None = param(
            640,
            "shrink so that the longer side is at most this; strips beyond 8:3 keep 3/8 of it on the shorter side, up "
            "to the pixels of a 4:3 picture; --size overrides it",
            at_least=1,
            at_most=16_384,
        )

    def setup(self) -> None:
        import cv2

        from geoflow.video import frame_reader
        from geoflow.video.cursor import Cursors

        cv2.setNumThreads(self.threads)
        self._reader: Any = frame_reader
        self._cursors = Cursors()

    def process(self, segment: Segment, fields: Fields) -> Fields:
        """Return the fields of frames [segment.start, segment.stop). Raises InputError that names file and frame."""
        from geoflow.geometry.picture_measures import measure_pictures
        from geoflow.geometry.views import classify_views

        part = slice(segment.start, segment.stop)
        index = fields["video.index"]
        rgb = self._reader.read_frames(
            segment.video,
            index,
            fields["video.pts"],
            segment.start,
            segment.stop,
            seek=fields.get("video.seek"),
            threads=self.threads,
            cursors=self._cursors,
            share=None if segment.is_last else segment.overlap_after,
        )
        out: Fields = {
            "frames.rgb": rgb,
            "frames.index": index[part].copy(),
            "frames.time": fields["video.time"][part].copy(),
            "frames.view": classify_views(rgb),
            **measure_pictures(rgb),
        }
        if segment.video.masks is not None:
            out["frames.mask"] = self._reader.read_masks(segment.video, index, segment.start, segment.stop)
        if segment.video.labels is not None:
            out["objects.label"] = self._reader.read_labels(segment.video, index, segment.start, segment.stop)
        return out

    def teardown(self) -> None:
        self._cursors.close()
