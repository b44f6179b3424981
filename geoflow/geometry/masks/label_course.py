"""The labels of a video, segment by segment: which objects are followed, and what is known of each in every frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from geoflow.fields import OBJECT_AWAITED, OBJECT_LOST, OBJECT_SEEN
from geoflow.geometry.alignment import depth_ratio
from geoflow.geometry.labels import with_given
from geoflow.geometry.masks.colour_model import quantised
from geoflow.geometry.masks.cutting_out import from_prompts
from geoflow.geometry.masks.followed_object import FollowedObject, packed, unpacked
from geoflow.geometry.masks.frame_step import FrameStep
from geoflow.geometry.masks.mask_following import FollowingParams, follow
from geoflow.segments import Segment

NUMBERS = 256  # columns of `objects.state`
_WORKED_AT = 320  # px: the longer side for which lengths of `FollowingParams` are stated
_COARSE = 8  # px between the depths that are kept to compare the next segment's scale with


class LabelCourse:
    """Follows the objects of one segment from where the segment before has left them.

    The frames that a segment shares with the one before are done already: their labels come from the state, and
    following goes on from the last of them. So the labels do not depend on how a video is cut into segments, as long as
    frames and depth do not.
    """

    def __init__(self, segment: Segment, params: FollowingParams, items: list[FollowedObject], kept: dict[str, Any]):
        self._segment, self._items, self._kept = segment, items, kept
        self._params = replace(params, band=max(1, round(params.band * _longer(segment) / _WORKED_AT)))
        self._after: dict[str, Any] = {}
        # Labels of all frames without a backend's help are final: nothing has to be followed.
        self._whole = segment.video.labels is not None and not segment.video.labelled

    @classmethod
    def resumed(cls, state: dict[str, Any], segment: Segment, params: FollowingParams) -> LabelCourse:
        """Return the course that goes on from a state; {} is the beginning of a video."""
        return cls(segment, params, unpacked(state, (segment.video.height, segment.video.width)), state)

    def state(self) -> dict[str, Any]:
        """Return what the next segment goes on from."""
        return self._after

    def run(
        self, rgb: np.ndarray, index: np.ndarray, depth: np.ndarray | None, given: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the labels (T, H, W) uint8 and the states (T, 256) uint8 of the segment's frames.

        `rgb` (T, H, W, 3) uint8, `index` (T,) their numbers in the source, `depth` (T, H, W) z in any unit, 0 where
        unknown, and `given` (T, H, W) uint8 the user's labels; None where there are none.
        """
        label = np.zeros(rgb.shape[:3], np.uint8)
        state = np.zeros((len(rgb), NUMBERS), np.uint8)
        done = self._take_over(label, state)
        for t in range(done, len(rgb)):
            if not self._whole:
                self._follow(t, rgb, depth)
                self._take_prompts(t, rgb, index, depth, given)
            label[t] = self._drawn(rgb.shape[1:3])
            state[t] = self._stated(int(index[t]), None if given is None else given[t])
        label = with_given(label, given)
        self._after = self._handed_over(label, state, rgb, depth)
        return label, state

    def _take_over(self, label: np.ndarray, state: np.ndarray) -> int:
        """Fill in the frames that are done already; return how many."""
        if "labels" not in self._kept:
            return 0
        shared = self._segment.overlap_before
        label[:shared], state[:shared] = self._kept["labels"], self._kept["states"]
        return shared

    def _follow(self, t: int, rgb: np.ndarray, depth: np.ndarray | None) -> None:
        """Follow all objects from the frame before to frame t."""
        if not self._items:
            return
        before = rgb[t - 1] if t else self._kept["last"]
        now = None if depth is None else depth[t].astype(np.float32)
        earlier = None if depth is None or not t else depth[t - 1].astype(np.float32)
        if "coarse" in self._kept and (t == 0 or t == self._segment.overlap_before):
            self._rescale(now if earlier is None else earlier)
        step = FrameStep.between(before, rgb[t], earlier, now)
        taken = np.zeros(rgb.shape[1:3], bool)
        for k, item in enumerate(self._items):
            self._items[k] = follow(item, step, taken, self._params)
            taken |= self._items[k].mask

    def _rescale(self, depth: np.ndarray | None) -> None:
        """Bring the objects' depths to this segment's scale, by the frame that both segments know."""
        ratio = None if depth is None else depth_ratio(depth[::_COARSE, ::_COARSE], self._kept["coarse"])
        if ratio is not None:
            self._items = [item.scaled(ratio) for item in self._items]

    def _take_prompts(
        self, t: int, rgb: np.ndarray, index: np.ndarray, depth: np.ndarray | None, given: np.ndarray | None
    ) -> None:
        """Begin, or begin again, with the objects that the user shows in frame t."""
        frame, video = int(index[t]), self._segment.video
        shown: dict[int, np.ndarray] = {}
        for number in sorted({prompt.object for prompt in video.prompts if prompt.frame == frame}):
            prompts = [prompt for prompt in video.prompts if (prompt.object, prompt.frame) == (number, frame)]
            shown[number] = from_prompts(rgb[t], prompts)
        if given is not None and frame in video.labelled:
            # A label image says of every object whether this frame shows it.
            known = {item.number for item in self._items} | set(np.unique(given[t]).tolist())
            shown |= {number: given[t] == number for number in sorted(known - {0})}
        for number, mask in shown.items():
            z = None if depth is None else depth[t].astype(np.float32)
            self._show(number, mask, FollowedObject.shown(number, mask, quantised(rgb[t]), z))

    def _show(self, number: int, mask: np.ndarray, shown: FollowedObject) -> None:
        """Replace what is known of an object by what a prompt shows; what it shows is of no other object."""
        known = {item.number: item for item in self._items}
        if not mask.any() and number in known:  # what was known of its looks still helps to find it
            known[number] = replace(known[number], mask=mask, lost=max(1, known[number].lost))
        else:
            known[number] = shown
        for other, item in known.items():
            if other != number and item.mask.any():
                known[other] = replace(item, mask=item.mask & ~mask)
        self._items = [known[number] for number in sorted(known)]

    def _drawn(self, shape: tuple[int, ...]) -> np.ndarray:
        label = np.zeros(shape, np.uint8)
        for item in self._items:
            label[item.mask & (label == 0)] = item.number
        return label

    def _stated(self, frame: int, given: np.ndarray | None) -> np.ndarray:
        """Return the row of `objects.state` for a frame of the source."""
        row = np.zeros(NUMBERS, np.uint8)
        row[[prompt.object for prompt in self._segment.video.prompts if prompt.frame > frame]] = OBJECT_AWAITED
        for item in self._items:
            row[item.number] = OBJECT_SEEN if item.seen and item.mask.any() else OBJECT_LOST
        if given is not None:
            row[np.unique(given[given > 0])] = OBJECT_SEEN
        return row

    def _handed_over(
        self, label: np.ndarray, state: np.ndarray, rgb: np.ndarray, depth: np.ndarray | None
    ) -> dict[str, Any]:
        shared = self._segment.overlap_after
        after: dict[str, Any] = dict(packed(self._items))
        if shared:
            after |= {"labels": label[-shared:].copy(), "states": state[-shared:].copy()}
        else:
            after["last"] = rgb[-1].copy()
        if depth is not None:
            after["coarse"] = depth[-1, ::_COARSE, ::_COARSE].astype(np.float32)
        return after


def _longer(segment: Segment) -> int:
    return max(segment.video.width, segment.video.height)
