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
from geoflow.bench.object_masks.made_up_sam2 import moving_discs  # noqa: E402
from geoflow.engine.actor.workfiles import load_state, save_state  # noqa: E402
from geoflow.segments import Prompt, Segment, VideoInfo, plan_segments  # noqa: E402

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
    return {"frames.rgb": clip[segment.start : segment.stop], "video.index": index, "video.pts": index}


def run(stages: list[Sam2Objects], video: VideoInfo, path: Path, size: int = 9, overlap: int = 3) -> Any:
    """The labels of the whole video, its segments done by one actor after another; and what is said at the end."""
    label, state = np.full((FRAMES, HEIGHT, WIDTH), 255, np.uint8), {}
    for k, segment in enumerate(plan_segments(video, size, overlap)):
        stage, rows = stages[k % len(stages)], given(segment)
        if video.labels is not None:
            from geoflow.video.frame_reader import read_labels

            rows["objects.label"] = read_labels(video, rows["video.index"], segment.start, segment.stop)
        stage.restore(state)
        found = stage.process(segment, rows)
        fields.check(found, stage.outputs, optional=stage.optional_outputs, who="sam2", num_frames=len(segment))
        part = found["objects.label"]
        assert (part[: segment.overlap_before] == label[segment.start : segment.start + segment.overlap_before]).all()
        label[segment.start : segment.stop] = part
        save_state(str(path / "state"), stage.state())
        state = load_state(str(path / "state"))
    return label, stage.finish(video, [])


def test_the_contract_is_kept(folder: str) -> None:
    assert contract.problems("sam2", {"weights": folder}) == []


def test_segments_are_the_whole_video_whoever_does_them(folder: str, video: VideoInfo, tmp_path: Path) -> None:
    video = dataclasses.replace(video, prompts=(FIRST, *LATER))
    whole, said = run([actor(folder)], video, tmp_path, FRAMES, 0)
    assert said == {"objects_lost": {}, "objects_named": []}
    assert set(np.unique(whole)) == {0, 1, 3}
    assert (whole[1:] != whole[:-1]).any((1, 2)).all() and (whole == 3).any((1, 2))[:11].any(), "followed back, too"
    parts, _ = run([actor(folder), actor(folder)], video, tmp_path)
    assert np.array_equal(parts, whole)


def test_what_was_followed_back_does_not_depend_on_where_frames_come_from(
    folder: str, video: VideoInfo, tmp_path: Path
) -> None:
    """In segments of four frames most of them are decoded once more."""
    video = dataclasses.replace(video, prompts=(FIRST, *LATER))
    whole, _ = run([actor(folder)], video, tmp_path, FRAMES, 0)
    assert np.array_equal(run([actor(folder)], video, tmp_path, 4, 1)[0], whole)


def test_a_lost_object_has_no_pixel_and_is_reported(folder: str, video: VideoInfo, tmp_path: Path) -> None:
    stage = actor(folder)
    stage.use(small_sam2(seen=-20.0), "cpu")
    label, said = run([stage], video, tmp_path)
    assert not label.any()
    assert said["objects_lost"] == {"1": [[0, FRAMES]]}


def test_label_images_show_objects_and_stay_as_they_are(folder: str, video: VideoInfo, tmp_path: Path) -> None:
    images = tmp_path / "labels"
    images.mkdir()
    shown = np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8)
    shown[0, 10:22, 8:20] = 40
    shown[12, 28:40, 40:52] = 200  # a later one, in the second segment
    shown[13, 28:40, 41:53] = 200
    for t, picture in enumerate(shown):
        cv2.imwrite(str(images / f"{t:03d}.png"), picture)
    labelled = dataclasses.replace(video, prompts=(), labels=str(images))
    label, _ = run([actor(folder), actor(folder)], labelled, tmp_path)
    assert np.array_equal(label[shown != 0], shown[shown != 0])
    for t, number in ((0, 40), (12, 200), (13, 200)):
        assert np.array_equal(label[t] == number, shown[t] == number), "where the user says what it is, it is that"
    assert (label[1:12] == 40).any() and (label[:12] == 200).any() and (label[14:] == 200).any()
    whole, _ = run([actor(folder)], labelled, tmp_path, FRAMES, 0)
    assert np.array_equal(whole, label)


def test_a_smaller_working_size_takes_over_the_state_of_a_larger(folder: str, video: VideoInfo, tmp_path: Path) -> None:
    video = dataclasses.replace(video, prompts=(FIRST, *LATER))
    whole, _ = run([actor(folder)], video, tmp_path)
    label, _ = run([actor(folder), actor(folder, most_size=64)], video, tmp_path)
    assert np.array_equal(label[:9], whole[:9]) and not np.array_equal(label[9:], whole[9:])
    assert set(np.unique(label)) <= {0, 1, 3}
    assert Sam2Objects(Sam2Objects.Params()).ladder == ({"most_size": 768}, {"most_size": 512})
    assert Sam2Objects(Sam2Objects.Params(most_size=600)).ladder == ({"most_size": 512},)


def test_a_text_shows_objects_in_one_frame(
    folder: str, video: VideoInfo, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Found in the second segment, they are followed back; their boxes are in the store, by number."""
    detector = publish_detector(tmp_path_factory.mktemp("text"))
    options = {"text": "Disc. red cup.", "text_frame": 12, "text_score": 0.0, "text_weights": str(detector)}
    stages = [actor(folder, **options), actor(folder, **options)]
    for stage in stages:
        stage.most_named = 2
    boxes, find = {}, stages[0].process

    def process(segment: Segment, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = find(segment, rows)
        boxes[segment.index] = found["objects.box"]
        return found

    stages[0].process = process  # type: ignore[method-assign]
    label, said = run([stages[0]], video, tmp_path)
    numbers = [row[0] for row in said["objects_named"]]
    assert numbers == [2, 3], "number 1 is the user's"
    assert set(np.unique(label)) <= {0, 1, 2, 3} and np.isin(label[:12], numbers).any()
    segments = list(plan_segments(video, 9, 3))
    for segment in segments:
        found = boxes[segment.index]
        assert found.shape == (len(segment), 2, 6)
        here = np.isfinite(found).all((1, 2))
        assert here.tolist() == [t == 12 for t in range(segment.start, segment.stop)]
        if here.any():
            assert found[here][0, :, 0].tolist() == numbers and (found[here][0, :, 1] <= 1).all()
    assert np.array_equal(run([stages[1]], video, tmp_path)[0], label)
