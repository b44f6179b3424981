"""SAM 2 through a video on a small network: what is dropped of the past was not needed, bit for bit."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from small_sam2 import SIZE, small_sam2  # noqa: E402

from geoflow.bench.sam2.made_up_sam2 import moving_discs  # noqa: E402
from geoflow.engine.actor.wire import pack_state, unpack_state  # noqa: E402
from geoflow.errors import StageError  # noqa: E402
from geoflow.models.sam2 import Sam2, Shown, label_map  # noqa: E402
from geoflow.models.sam2.frame_pixels import frame_pixels, prompt_mask, prompt_points  # noqa: E402
from geoflow.models.sam2.looking_back import EarlierSights, look_back  # noqa: E402
from geoflow.models.sam2.object_session import ObjectSession  # noqa: E402

pytestmark = pytest.mark.long

FRAMES, HEIGHT, WIDTH = 22, 48, 64
BOX, POINT = Shown(box=(6, 8, 22, 24)), Shown(points=((46.0, 34.0, True), (3.0, 3.0, False)))
MASK = Shown(mask=np.hypot(*(np.mgrid[:HEIGHT, :WIDTH] - np.array([34, 40])[:, None, None])) < 8)
PROMPTS = {0: {1: BOX}, 4: {3: POINT}, 9: {7: MASK}, 13: {1: POINT}}


@pytest.fixture(scope="module")
def model() -> Sam2:
    return small_sam2()


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    return moving_discs(FRAMES, HEIGHT, WIDTH)


def logits_of(run: Any, clip: np.ndarray, prompts: dict[int, Any], frames: Any = None) -> dict[tuple[int, int], Any]:
    """What each frame shows of each object, by frame and number."""
    found = {}
    for t in range(len(clip)) if frames is None else frames:
        for number, sight in run.step(t, clip[t], prompts.get(t, {})).items():
            found[t, number] = sight.logits
    return found


def assert_lively(found: dict[tuple[int, int], Any], number: int) -> None:
    """Equality means something: the object is seen, its masks are neither empty nor all, and no two are equal."""
    rows = [logits for (_, own), logits in sorted(found.items()) if own == number]
    for logits in rows:
        assert float(logits.max()) > -1000
    assert sum(0 < int((logits > 0).sum()) < logits.numel() for logits in rows) > len(rows) / 2
    assert all((a > 0).ne(b > 0).any() for a, b in pairwise(rows))


def assert_same(found: dict[Any, Any], expected: dict[Any, Any]) -> None:
    assert found.keys() == expected.keys()
    for key, logits in expected.items():
        assert torch.equal(found[key], logits), key


def whole_video(model: Sam2, clip: np.ndarray, reverse: bool = False) -> dict[tuple[int, int], Any]:
    """The same by transformers' own loop, which is given the video as a whole and keeps all of it."""
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    pixels = torch.stack([frame_pixels(rgb, SIZE, "cpu") for rgb in clip])
    session = Sam2VideoInferenceSession(video=pixels, dtype=torch.float32)
    first = len(clip) - 1 if reverse else 0
    index = session.obj_id_to_idx(1)
    session.add_point_inputs(index, first, prompt_points(BOX.box, (), HEIGHT, WIDTH, SIZE))
    session.obj_with_new_inputs.append(1)
    model.network(session, frame_idx=first)
    found = model.network.propagate_in_video_iterator(session, start_frame_idx=first, reverse=reverse)
    return {(out.frame_idx, 1): out.pred_masks[0, 0] for out in found}


def test_a_stream_is_what_the_whole_video_gives(model: Sam2, clip: np.ndarray) -> None:
    found = logits_of(model.begin(), clip, {0: {1: BOX}})
    assert_lively(found, 1)
    assert_same(found, whole_video(model, clip))


def test_a_stream_backwards_is_what_the_whole_video_gives(model: Sam2, clip: np.ndarray) -> None:
    frames = range(FRAMES - 1, -1, -1)
    found = logits_of(model.begin(reverse=True), clip, {FRAMES - 1: {1: BOX}}, frames)
    assert_lively(found, 1)
    assert_same(found, whole_video(model, clip, reverse=True))
    mirrored = logits_of(model.begin(), clip[::-1], {0: {1: BOX}})
    assert_same({(FRAMES - 1 - t, number): logits for (t, number), logits in mirrored.items()}, found)


def test_what_is_dropped_is_not_needed(model: Sam2, clip: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    pruned = logits_of(model.begin(), clip, PROMPTS)
    for number in (1, 3, 7):
        assert_lively(pruned, number)
    monkeypatch.setattr(ObjectSession, "prune", lambda self, t: None)
    assert_same(logits_of(model.begin(), clip, PROMPTS), pruned)


def test_dropping_more_changes_the_result(model: Sam2, clip: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above would notice: pointers fifteen frames back and features six frames back are read."""
    expected = logits_of(model.begin(), clip, PROMPTS)
    begin = ObjectSession.__init__

    def forgetful(self: ObjectSession, *given: Any) -> None:
        begin(self, *given)
        setattr(self, name, getattr(self, name) - 1)

    monkeypatch.setattr(ObjectSession, "__init__", forgetful)
    for name in ("_pointers", "_features"):
        try:
            found = logits_of(model.begin(), clip, PROMPTS)
        except KeyError:
            continue
        assert any(not torch.equal(found[key], logits) for key, logits in expected.items()), name


@pytest.mark.parametrize("cut", [1, 3, 10, 18])
def test_a_resumed_run_is_an_uninterrupted_one(clip: np.ndarray, cut: int) -> None:
    """In another process, as it were: another network of the same weights, and the state through the wire."""
    expected = logits_of(small_sam2().begin(), clip, PROMPTS)
    before = small_sam2().begin()
    found = logits_of(before, clip, PROMPTS, range(cut))
    after = small_sam2().begin()
    after.restore(unpack_state(pack_state(before.state())))
    assert after.numbers == before.numbers
    assert_same(found | logits_of(after, clip, PROMPTS, range(cut, FRAMES)), expected)


def test_a_resumed_run_in_bfloat16_is_an_uninterrupted_one(clip: np.ndarray) -> None:
    model = small_sam2(half=torch.bfloat16)
    expected = logits_of(model.begin(), clip, PROMPTS)
    assert_lively(expected, 1)
    before, after = model.begin(), model.begin()
    found = logits_of(before, clip, PROMPTS, range(12))
    after.restore(before.state())
    assert_same(found | logits_of(after, clip, PROMPTS, range(12, FRAMES)), expected)


def test_objects_do_not_change_each_other(model: Sam2, clip: np.ndarray) -> None:
    together = logits_of(model.begin(), clip, PROMPTS)
    for number in (1, 3, 7):
        own = {t: {number: rows[number]} for t, rows in PROMPTS.items() if number in rows}
        alone = logits_of(model.begin(), clip, own)
        assert_same(alone, {key: logits for key, logits in together.items() if key[1] == number})


def test_state_stays_small(model: Sam2) -> None:
    run = model.begin()
    sizes = {}
    for t, rgb in enumerate(moving_discs(60)):
        run.step(t, rgb, PROMPTS[0] if t == 0 else {})
        sizes[t] = sum(array.nbytes for array in run.state().values())
    assert sizes[20] == sizes[59]
    features, pointers = 7, 16  # of the frame with the prompt and the last six; of it and the last fifteen
    places = (SIZE // 16) ** 2
    assert sizes[59] == features * places * 64 * 2 + pointers * 128 * 4 + pointers * 3 * 8


def test_prompts_in_every_frame_stay_bounded(clip: np.ndarray) -> None:
    run = small_sam2(most_prompts=3).begin()
    for t, rgb in enumerate(clip):
        run.step(t, rgb, {1: MASK})
    frames = run.state()["1.frames"]
    assert frames[frames[:, 1] == 1, 0].tolist() == [0, FRAMES - 2, FRAMES - 1]


def test_a_mask_comes_back_as_it_was_given(model: Sam2, clip: np.ndarray) -> None:
    sights = model.begin().step(0, clip[0], {7: MASK})
    assert MASK.mask is not None
    found = label_map(sights, HEIGHT, WIDTH) == 7
    assert (found & MASK.mask).sum() / (found | MASK.mask).sum() > 0.9  # logits have half the picture's resolution
    dot = np.zeros((480, 640), bool)
    dot[200, 300] = True
    assert prompt_mask(dot, SIZE, "cpu").sum() > 0, "a mask of one pixel is not lost"


def test_an_object_that_is_not_seen_has_no_pixel(clip: np.ndarray) -> None:
    sights = small_sam2(seen=-20.0).begin().step(0, clip[0], {1: BOX})
    assert not sights[1].seen and float(sights[1].logits.max()) == -1024
    assert not label_map(sights, HEIGHT, WIDTH).any()


def test_an_object_has_to_be_shown_first(model: Sam2, clip: np.ndarray) -> None:
    session = model.session(None)
    with pytest.raises(StageError, match="should be shown in its first frame, and is not in frame 3"):
        session.step(3, frame_pixels(clip[0], SIZE, "cpu"), HEIGHT, WIDTH, None, False)


def test_earlier_frames_are_seen_from_the_first_prompt_back(model: Sam2, clip: np.ndarray) -> None:
    firsts = {1: (9, BOX), 3: (5, POINT)}
    found = look_back(model, ((t, clip[t]) for t in range(9, -1, -1)), firsts)
    assert {number: (rows.start, rows.stop) for number, rows in found.items()} == {1: (0, 9), 3: (0, 5)}
    expected = logits_of(model.begin(reverse=True), clip, {9: {1: BOX}, 5: {3: POINT}}, range(9, -1, -1))
    for number, rows in found.items():
        copied = EarlierSights.of_state(unpack_state(pack_state(rows.state())))
        assert copied == rows and rows.later(4).stop == rows.stop and rows.later(4).start == 4
        for t in range(rows.stop):
            sight = copied.sight(t, "cpu")
            assert sight is not None and sight.seen
            off = (sight.logits - expected[t, number]).abs()[expected[t, number].abs() < 15]
            assert float(off.max()) <= 1 / 16
        assert rows.sight(rows.stop, "cpu") is None
    hidden = look_back(small_sam2(seen=-20.0), ((t, clip[t]) for t in range(3, -1, -1)), {1: (3, BOX)})
    nothing = hidden[1].sight(0, "cpu")
    assert nothing is not None and not nothing.seen
