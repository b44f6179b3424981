"""The embedded stage of objects: what it follows, what it says of what it cannot, and that cuts change nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drawn_objects import DISK, DrawnClip, drawn_clip, iou

from actors.embedded.carried_masks import CarriedMasks
from geoflow.engine.actor.wire import pack_state, unpack_state
from geoflow.errors import StageError
from geoflow.fields import OBJECT_AWAITED, OBJECT_LOST, OBJECT_SEEN, OBJECT_UNASKED, check
from geoflow.segments import Prompt, VideoInfo, plan_segments

BOX = Prompt(DISK, 0, (12, 27, 48, 63))


@pytest.fixture(scope="module")
def clip() -> DrawnClip:
    return drawn_clip()


@pytest.fixture(scope="module")
def plain() -> DrawnClip:
    return drawn_clip(12, bar=False)


def run(
    clip: DrawnClip,
    *prompts: Prompt,
    size: int = 100,
    overlap: int = 3,
    depth: bool = True,
    given: np.ndarray | None = None,
    scales: tuple[float, ...] = (),
    **facts: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and states of all frames; every segment is done by an actor of its own, which takes over."""
    count, height, width = clip.label.shape
    video = VideoInfo("v", "v.mp4", "", count, 30.0, height, width, height, width, prompts=prompts, **facts)
    label, state = np.zeros_like(clip.label), np.zeros((count, 256), np.uint8)
    carried: dict[str, Any] = {}
    for segment in plan_segments(video, size, overlap):
        part = slice(segment.start, segment.stop)
        fields = {"frames.rgb": clip.rgb[part], "frames.index": np.arange(segment.start, segment.stop)}
        if depth:
            scale = scales[segment.index] if scales else 1.0
            fields["camera.depth"] = (clip.depth[part].astype(np.float32) * scale).astype(np.float16)
        if given is not None:
            fields["objects.label"] = given[part]
        stage = CarriedMasks()
        stage.setup()
        stage.restore(unpack_state(pack_state(carried)) if carried else {})
        found = stage.process(segment, fields)
        check(found, stage.outputs, who="objects")
        if segment.index:
            shared = slice(segment.start, segment.start + segment.overlap_before)
            assert np.array_equal(found["objects.label"][: segment.overlap_before], label[shared])
        label[part], state[part] = found["objects.label"], found["objects.state"]
        carried = stage.state()
    return label, state


@pytest.fixture(scope="module")
def whole(clip: DrawnClip) -> tuple[np.ndarray, np.ndarray]:
    return run(clip, BOX)


def test_an_object_is_followed_and_found_again_after_it_was_hidden(
    clip: DrawnClip, whole: tuple[np.ndarray, np.ndarray]
) -> None:
    label, state = whole
    there = np.flatnonzero((clip.label == DISK).sum((1, 2)) > 100)
    hidden = np.flatnonzero(~(clip.label == DISK).any((1, 2)))[:1]
    again = int(there[there > hidden[0]][0])
    before = [iou(label[t] == DISK, clip.label[t] == DISK) for t in there if t < hidden[0]]
    after = [iou(label[t] == DISK, clip.label[t] == DISK) for t in there if t >= again + 4]
    assert min(before) > 0.85 and min(after) > 0.85
    assert (state[hidden, DISK] == OBJECT_LOST).all() and not label[hidden].any()
    assert state[again + 4, DISK] == OBJECT_SEEN
    assert (state[:, [n for n in range(256) if n != DISK]] == OBJECT_UNASKED).all()


def test_from_frames_alone_a_lost_object_stays_lost(clip: DrawnClip) -> None:
    label, state = run(clip, BOX, depth=False)
    lost = np.flatnonzero(state[:, DISK] == OBJECT_LOST)
    assert len(lost) and np.array_equal(lost, np.arange(lost[0], len(label)))
    assert not label[lost].any()
    wrong = [np.count_nonzero((label[t] == DISK) & (clip.label[t] != DISK)) for t in range(len(label))]
    assert max(wrong) < 0.3 * np.pi * 15**2


@pytest.mark.parametrize(("size", "overlap"), [(10, 3), (21, 1)])
def test_the_cut_into_segments_changes_nothing(
    clip: DrawnClip, whole: tuple[np.ndarray, np.ndarray], size: int, overlap: int
) -> None:
    for uncut, cut in zip(whole, run(clip, BOX, size=size, overlap=overlap)):
        assert np.array_equal(uncut, cut)


def test_without_an_overlap_it_goes_on_from_the_last_frame(plain: DrawnClip) -> None:
    label, state = run(plain, BOX, size=5, overlap=0)
    assert (state[:, DISK] == OBJECT_SEEN).all()
    assert min(iou(label[t] == DISK, plain.label[t] == DISK) for t in range(12)) > 0.85


def test_segments_with_depth_of_different_scales_are_one_course(
    clip: DrawnClip, whole: tuple[np.ndarray, np.ndarray]
) -> None:
    scaled, _ = run(clip, BOX, size=15, overlap=4, scales=(1.0, 3.0, 0.5, 2.0))
    assert min(iou(a == DISK, b == DISK) for a, b in zip(whole[0], scaled)) > 0.9


def test_points_and_label_images_show_objects_too(plain: DrawnClip) -> None:
    points = Prompt(DISK, 0, points=((30, 45, True), (26, 40, True), (70, 45, False)))
    label, _ = run(plain, points)
    assert min(iou(label[t] == DISK, plain.label[t] == DISK) for t in range(12)) > 0.8
    given = np.zeros_like(plain.label)
    given[0] = plain.label[0]
    label, state = run(plain, given=given, labels="/l", labelled=(0,))
    assert np.array_equal(label[0], given[0]) and (state[:, DISK] == OBJECT_SEEN).all()
    assert min(iou(label[t] == DISK, plain.label[t] == DISK) for t in range(12)) > 0.9


def test_before_its_first_prompt_an_object_is_not_said_to_be_absent(plain: DrawnClip) -> None:
    later = Prompt(DISK, 6, (30, 27, 66, 63))
    label, state = run(plain, later, size=5, overlap=2)
    assert (state[:6, DISK] == OBJECT_AWAITED).all() and not label[:6].any()
    assert (state[6:, DISK] == OBJECT_SEEN).all() and iou(label[6] == DISK, plain.label[6] == DISK) > 0.85


def test_a_label_image_for_each_frame_is_passed_on(plain: DrawnClip) -> None:
    label, state = run(plain, given=plain.label, labels="/l")
    assert np.array_equal(label, plain.label) and (state[:, DISK] == OBJECT_SEEN).all()


def test_words_are_refused_with_a_remedy(plain: DrawnClip) -> None:
    with pytest.raises(StageError, match="knows no words, and a prompt is 'red disk'; give the object a box"):
        run(plain, replace(BOX, box=None, text="red disk"))
