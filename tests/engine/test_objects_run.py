"""Objects through a whole run: labels and prompts of the user's, a backend's, and both; then in store and index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import geoflow
from actors.embedded.carried_masks import CarriedMasks
from geoflow.fields import OBJECT_LOST
from geoflow.pipeline import Pipeline
from geoflow.results import RunResult
from geoflow.segments import Segment, VideoInfo
from geoflow.store.remarks import remarks
from geoflow.store.verify import verify_run
from geoflow.synth import load_ground_truth, render_clip

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

FRAMES, HEIGHT, WIDTH = 20, 48, 64


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    render_clip(folder / "a.mp4", folder / "a.gt.h5", num_frames=FRAMES, width=WIDTH, height=HEIGHT)
    return folder / "a.mp4"


def run(clip: Path, out: Path, objects: Path | None, backend: str = "", **params: Any) -> RunResult:
    rows: list[dict[str, Any]] = [
        {"slot": "decode", "backend": "geoflow.stages.decode"},
        {"slot": "stitch", "backend": "geoflow.stages.stitch"},
        {"slot": "write", "backend": "geoflow.stages.write", "params": {"rgb": True}},
    ]
    if backend:
        backend = backend if "." in backend else f"object_stages:{backend}"
        rows.insert(1, {"slot": "objects", "backend": backend, "params": params})
    stages = [row | {"num_cpus": 0.5} for row in rows]
    pipe = Pipeline.from_dict({"name": "p", "segment": {"size": 8, "overlap": 2}, "stages": stages})
    return geoflow.run(clip, out, pipe, objects=objects)


def given() -> np.ndarray:
    """Object 40 + k in the left columns of frame k."""
    labels = np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8)
    labels[:, :, :10] = 40 + np.arange(FRAMES, dtype=np.uint8)[:, None, None]
    return labels


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "labels" / "a"
    folder.mkdir(parents=True)
    for k, label in enumerate(given()):
        cv2.imwrite(str(folder / f"{k}.png"), label)
    return folder.parent


def test_the_users_labels_lie_in_the_store(clip: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(clip, out, pictures).exit_status == 0
    assert verify_run(out) == []
    (row,) = geoflow.load_run(out).index
    assert row["objects"] == FRAMES
    with geoflow.open(out / "videos" / "a.h5") as video:
        assert video.objects is not None and list(video.objects) == list(range(40, 40 + FRAMES))
        assert np.array_equal(video.objects.label[:], given())
    (again,) = run(clip, out, pictures).videos
    assert again.reused
    cv2.imwrite(str(pictures / "a" / "3.png"), np.zeros((HEIGHT, WIDTH), np.uint8))
    (other,) = run(clip, out, pictures).videos  # other labels are other work
    assert not other.reused
    with geoflow.open(out / "videos" / "a.h5") as video:
        assert video.objects is not None and 43 not in video.objects and not video.objects.label[3].any()


def test_a_backends_labels_go_around_the_users(clip: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(clip, out, pictures, "BrightObjects", threshold=90, number=7).exit_status == 0
    assert verify_run(out) == []
    with geoflow.open(out / "videos" / "a.h5") as video:
        rgb = np.stack([video.rgb(i) for i in range(FRAMES)])
        bright = np.where(rgb.mean(-1) > 90, np.uint8(7), np.uint8(0))
        assert bright.any() and video.objects is not None
        assert np.array_equal(video.objects.label[:], np.where(given() != 0, given(), bright))


def test_prompts_reach_the_stage_that_takes_them(clip: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.yaml"
    prompts.write_text("a: [{object: 5, frame: 4, box: [10, 12, 19, 20]}]\n")
    out = tmp_path / "out"
    assert run(clip, out, prompts, "PromptedObjects").exit_status == 0
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[12:21, 10:20] = True
    with geoflow.open(out / "videos" / "a.h5") as video:
        assert video.objects is not None and list(video.objects) == [5]
        assert all(np.array_equal(video.objects[5].mask(i), expected) for i in range(FRAMES))
    prompts.write_text("a: [{object: 5, frame: 40, box: [10, 12, 19, 20]}]\n")
    (failed,) = run(clip, tmp_path / "late", prompts, "PromptedObjects").videos
    assert "prompt of object 5 is for frame 40, which is not processed" in failed.reason


def test_labels_of_the_first_frame_are_enough(clip: Path, tmp_path: Path) -> None:
    """What a run stores is what the stage gives for all frames at once, however many segments and actors there are."""
    with load_ground_truth(clip.with_name("a.gt.h5")) as truth:
        first = truth.label[0]
    first = np.where(np.isin(first, np.argsort(-np.bincount(first.ravel()))[1:4]), first, 0).astype(np.uint8)
    (tmp_path / "l" / "a").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "l" / "a" / "00000.png"), first)
    out = tmp_path / "out"
    assert run(clip, out, tmp_path / "l", "embedded.carried_masks").exit_status == 0
    assert verify_run(out) == []
    with geoflow.open(out / "videos" / "a.h5") as video:
        assert video.objects is not None
        rgb = np.stack([video.rgb(i) for i in range(FRAMES)])
        label, state = video.objects.label[:], video.objects.state
        said = " ".join(remarks(video))
    info = VideoInfo("a", "a", "", FRAMES, 30.0, HEIGHT, WIDTH, HEIGHT, WIDTH, labels="l", labelled=(0,))
    given = np.zeros_like(label)
    given[0] = first
    fields = {"frames.rgb": rgb, "frames.index": np.arange(FRAMES), "objects.label": given}
    whole = CarriedMasks().process(Segment(info, 0, 0, FRAMES), fields)
    assert np.array_equal(label, whole["objects.label"]) and np.array_equal(state, whole["objects.state"])
    assert np.array_equal(label[0], first) and label[5].any()
    lost = [n for n in np.unique(first[first > 0]) if (whole["objects.state"][:, n] == OBJECT_LOST).any()]
    assert all(f"Object {n} is lost in frame" in said for n in lost)


def test_labels_that_do_not_fit_fail_their_video_alone(clip: Path, pictures: Path, tmp_path: Path) -> None:
    (pictures / "a" / "7.png").unlink()
    (failed,) = run(clip, tmp_path / "out", pictures).videos
    assert failed.status == "failed" and "19 label images, and not one for each frame of the video" in failed.reason
