"""The backend `sam2` without Ray: prompts in, labels of all frames out, with small made-up weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from small_sam2 import publish, publish_detector, small_sam2  # noqa: E402

from actors.sam2 import Sam2Objects  # noqa: E402
from geoflow import fields  # noqa: E402
from geoflow.backends import contract  # noqa: E402
from geoflow.bench.sam2.made_up_sam2 import moving_discs  # noqa: E402
from geoflow.engine.actor.workfiles import load_state, save_state  # noqa: E402
from geoflow.errors import StageError  # noqa: E402
from geoflow.fields import OBJECT_LOST, OBJECT_SEEN  # noqa: E402
from geoflow.segments import Prompt, Segment, VideoInfo, plan_segments  # noqa: E402
from geoflow.video.frame_reader import read_labels  # noqa: E402

pytestmark = pytest.mark.long

FRAMES, HEIGHT, WIDTH = 20, 48, 64
FIRST = Prompt(1, 0, (6, 8, 22, 24))
LATER = (Prompt(3, 11, points=((46.0, 34.0, True),)), Prompt(3, 11, points=((3.0, 3.0, False),)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(publish(tmp_path_factory.mktemp("weights")))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    """A folder of pictures: what is decoded again is what was decoded before."""
    source = tmp_path_factory.mktemp("frames")
    for t, rgb in enumerate(moving_discs(FRAMES, HEIGHT, WIDTH)):
        cv2.imwrite(str(source / f"{t:03d}.png"), rgb[..., ::-1])
    return VideoInfo("v", str(source), "", FRAMES, 30.0, HEIGHT, WIDTH, HEIGHT, WIDTH, prompts=(FIRST,))


def actor(folder: str, **options: Any) -> Sam2Objects:
    stage = Sam2Objects(Sam2Objects.Params(weights=folder, **options))
    stage.setup()
    return stage


def given(segment: Segment) -> dict[str, np.ndarray]:
    clip, index = moving_discs(FRAMES, HEIGHT, WIDTH), np.arange(FRAMES)
    part = slice(segment.start, segment.stop)
    return {"frames.rgb": clip[part], "frames.index": index[part], "video.index": index, "video.pts": index}


def run(stages: list[Sam2Objects], video: VideoInfo, path: Path, size: int = 9, overlap: int = 3) -> Any:
    """What the store gets of the whole video, whose segments are done by one actor after another."""
    whole: dict[str, np.ndarray] = {}
    state: dict[str, Any] = {}
    for k, segment in enumerate(plan_segments(video, size, overlap)):
        stage, rows = stages[k % len(stages)], given(segment)
        if video.labels is not None:
            rows["objects.label"] = read_labels(video, rows["video.index"], segment.start, segment.stop)
        stage.restore(state)
        found = stage.process(segment, rows)
        fields.check(found, stage.outputs, optional=stage.optional_outputs, who="sam2", num_frames=len(segment))
        for name, part in found.items():
            before = whole.setdefault(name, np.zeros((FRAMES, *part.shape[1:]), part.dtype))
            shared = segment.overlap_before
            np.testing.assert_array_equal(part[:shared], before[segment.start : segment.start + shared])
            before[segment.start : segment.stop] = part
        save_state(str(path / "state"), stage.state())
        state = load_state(str(path / "state"))
    return whole


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_the_contract_is_kept(folder: str) -> None:
    assert contract.problems("sam2", {"weights": folder}) == []


def test_segments_are_the_whole_video_whoever_does_them(folder: str, video: VideoInfo, tmp_path: Path) -> None:
    video = dataclasses.replace(video, prompts=(FIRST, *LATER))
    whole = run([actor(folder)], video, tmp_path, FRAMES, 0)
    label, state = whole["objects.label"], whole["objects.state"]
    assert set(np.unique(label)) == {0, 1, 3}
    assert (label[1:] != label[:-1]).any((1, 2)).all() and (label == 3).any((1, 2))[:11].any(), "followed back, too"
    for number in (1, 3):
        shown = (label == number).any((1, 2))
        assert state[:, number].tolist() == np.where(shown, OBJECT_SEEN, OBJECT_LOST).tolist()
    assert not np.delete(state, [1, 3], axis=1).any()
    assert_same(run([actor(folder), actor(folder)], video, tmp_path), whole)
    assert_same(run([actor(folder)], video, tmp_path, 4, 1), whole)  # most earlier frames are decoded once more


def test_a_lost_object_has_no_pixel_and_is_stated(folder: str, video: VideoInfo, tmp_path: Path) -> None:
    stage = actor(folder)
    stage.use(small_sam2(seen=-20.0), "cpu")
    found = run([stage], video, tmp_path)
    assert not found["objects.label"].any()
    assert (found["objects.state"][:, 1] == OBJECT_LOST).all()


def write_labels(folder: Path, shown: dict[int, np.ndarray]) -> str:
    folder.mkdir()
    for t, picture in shown.items():
        cv2.imwrite(str(folder / f"{t:03d}.png"), picture)
    return str(folder)


def test_label_images_of_some_frames_show_objects(folder: str, video: VideoInfo, tmp_path: Path) -> None:
    shown = {t: np.zeros((HEIGHT, WIDTH), np.uint8) for t in (0, 12)}
    shown[0][10:22, 8:20] = 40
    shown[12][28:40, 40:52] = 200  # a later one, in the second segment; 40 is not there, says the user
    images = write_labels(tmp_path / "labels", shown)
    some = dataclasses.replace(video, prompts=(), labels=images, labelled=(0, 12))
    found = run([actor(folder), actor(folder)], some, tmp_path)
    label, state = found["objects.label"], found["objects.state"]
    for t, picture in shown.items():
        assert np.array_equal(label[t], picture), "a label image says all of its frame"
    assert (label[1:12] == 40).any() and (label[1:12] == 200).any() and (label[13:] == 200).any()
    assert state[12, 40] == OBJECT_LOST and state[12, 200] == OBJECT_SEEN
    assert_same(run([actor(folder)], some, tmp_path, FRAMES, 0), found)


def test_with_labels_of_all_frames_nothing_is_followed(folder: str, video: VideoInfo, tmp_path: Path) -> None:
    shown = {t: np.zeros((HEIGHT, WIDTH), np.uint8) for t in range(FRAMES)}
    shown[3][10:22, 8:20] = 40
    whole = dataclasses.replace(video, prompts=(), labels=write_labels(tmp_path / "labels", shown))
    found = run([actor(folder)], whole, tmp_path)
    assert np.array_equal(found["objects.label"], np.stack(list(shown.values())))
    assert np.argwhere(found["objects.state"]).tolist() == [[3, 40]] and found["objects.state"][3, 40] == OBJECT_SEEN


def test_a_smaller_working_size_takes_over_the_state_of_a_larger(folder: str, video: VideoInfo, tmp_path: Path) -> None:
    video = dataclasses.replace(video, prompts=(FIRST, *LATER))
    whole = run([actor(folder)], video, tmp_path)["objects.label"]
    label = run([actor(folder), actor(folder, most_size=64)], video, tmp_path)["objects.label"]
    assert np.array_equal(label[:9], whole[:9]) and not np.array_equal(label[9:], whole[9:])
    assert set(np.unique(label)) <= {0, 1, 3}
    assert Sam2Objects(Sam2Objects.Params()).ladder == ({"most_size": 768}, {"most_size": 512})
    assert Sam2Objects(Sam2Objects.Params(most_size=600)).ladder == ({"most_size": 512},)


def test_words_show_objects(
    folder: str, video: VideoInfo, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Found in the second segment, the object is followed back; its box is in the store, by number."""
    words = (FIRST, Prompt(7, 12, text="Red disc"), Prompt(8, 4, text="cup"))
    video = dataclasses.replace(video, prompts=words)
    detector = str(publish_detector(tmp_path_factory.mktemp("text")))
    options = {"text": True, "text_weights": detector}
    found = run([actor(folder, **options, text_score=0.0), actor(folder, **options)], video, tmp_path)
    label, box = found["objects.label"], found["objects.box"]
    assert {7, 8} & set(np.unique(label[:4]).tolist()) and box.shape == (FRAMES, 2, 6)
    assert np.argwhere(np.isfinite(box).all(2)).tolist() == [[4, 0], [12, 1]]
    assert box[[4, 12], [0, 1], 0].tolist() == [8, 7]
    assert_same(run([actor(folder, **options, text_score=0.0)], video, tmp_path, FRAMES, 0), found)
    nothing = run([actor(folder, **options, text_score=1.0)], video, tmp_path)
    assert (nothing["objects.state"][:, [7, 8]] == OBJECT_LOST).all(), "words that find nothing are stated, too"
    assert nothing["objects.box"].shape == (FRAMES, 0, 6)


def test_words_need_the_weights_that_find_them(folder: str, video: VideoInfo, tmp_path: Path) -> None:
    video = dataclasses.replace(video, prompts=(Prompt(7, 12, text="red disc"),))
    with pytest.raises(StageError, match=r"v: a prompt is 'red disc', .* --set objects.text=true"):
        run([actor(folder)], video, tmp_path)
    assert Sam2Objects(Sam2Objects.Params()).weights() == {"large": ""}
    assert Sam2Objects(Sam2Objects.Params(model="tiny", text=True)).weights() == {"tiny": "", "text": ""}
