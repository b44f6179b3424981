"""Embedded objects: cut out where the user shows them, carried from frame to frame by flow, found again by depth."""

from __future__ import annotations

from dataclasses import dataclass

from geoflow.errors import StageError
from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param


class CarriedMasks(Stage):
    """Masks of objects over the whole video, from boxes, points or label images of a frame or two.

    GrabCut finds the object where it is shown. Optical flow carries its mask, which is cut out anew at its edge. Depth,
    where the camera stage gives it, parts the object from what passes before it, and finds it again after it was
    hidden. Without depth, an object that is lost stays lost until it is shown again.
    """

    slot = "objects"
    inputs = ("frames.rgb", "frames.index")
    optional: tuple[str, ...] = ("objects.label", "camera.depth")
    outputs = ("objects.label", "objects.state")
    ordered = True
    takes_prompts = True

    @dataclass(frozen=True)
    class Params(Stage.Params):
        band: int = param(
            6, "px around the edge of a mask, at 320x240, within which it is cut out anew", at_least=1, at_most=50
        )
        depth_gate: float = param(
            0.18,
            "relative difference to the object's median depth that its pixels may have",
            at_least=0.01,
            at_most=1,
        )
        min_likeness: float = param(
            0.45, "least likeness of colours (0..1) to call something the lost object", at_least=0, at_most=1
        )
        use_depth: bool = param(True, "use the camera stage's depth, where there is some")

    def __init__(self, params: Stage.Params | None = None) -> None:
        super().__init__(params)
        if not self.params.use_depth:
            self.optional = self.optional[:1]

    def process(self, segment: Segment, fields: Fields) -> Fields:
        import cv2

        from geoflow.geometry.masks.label_course import LabelCourse
        from geoflow.geometry.masks.mask_following import FollowingParams

        if words := [prompt.text for prompt in segment.video.prompts if prompt.text]:
            raise StageError(
                f"{segment.video.name}: the embedded stage of objects knows no words, and a prompt is {words[0]!r}; "
                "give the object a box or points, or take a backend that finds words"
            )
        cv2.setNumThreads(self.threads)
        params = FollowingParams(self.params.band, self.params.depth_gate, self.params.min_likeness)
        course = LabelCourse.resumed(self.carried, segment, params)
        label, state = course.run(
            fields["frames.rgb"], fields["frames.index"], fields.get("camera.depth"), fields.get("objects.label")
        )
        self.carried = course.state()
        return {"objects.label": label, "objects.state": state}
