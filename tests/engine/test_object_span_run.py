"""Runs whose last stage makes a mesh of each object: each is made once, and what cannot be made is said."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
from counted_runs import Driver, Rows
from counting_stages import events

import geoflow
from geoflow.observe.events import problems
from geoflow.pipeline import Pipeline
from geoflow.store.paths import RunPaths
from geoflow.store.verify import verify_run
from geoflow.synth import render_clip

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

FRAMES, HEIGHT, WIDTH = 20, 48, 64
NUMBERS = (2, 5, 9)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    render_clip(folder / "a.mp4", folder / "a.gt.h5", num_frames=FRAMES, width=WIDTH, height=HEIGHT)
    return folder / "a.mp4"


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Object 2 in every frame, 5 from frame 3 on, 9 in the last frame alone."""
    home = tmp_path_factory.mktemp("labels")
    (home / "a").mkdir()
    for k in range(FRAMES):
        label = np.zeros((HEIGHT, WIDTH), np.uint8)
        label[10:20, 5:9] = 2
        label[30:40, 20:50] = 5 if k >= 3 else 0
        label[:4, 60:] = 9 if k == FRAMES - 1 else 0
        cv2.imwrite(str(home / "a" / f"{k:02d}.png"), label)
    return home


def pipeline(folder: Path, *, actors: int = 1, optional: bool = False, **params: Any) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [
        {"slot": "decode", "backend": "geoflow.stages.decode"},
        {"slot": "stitch", "backend": "geoflow.stages.stitch"},
        {
            "slot": "mesh",
            "backend": "object_stages:WholeBoxes",
            "params": {"folder": str(folder), **params},
            "actors": actors,
            "optional": optional,
        },
        {"slot": "write", "backend": "geoflow.stages.write"},
    ]
    stages = [row | {"num_cpus": 0.4} for row in rows]
    return {"name": "p", "segment": {"size": 8, "overlap": 2}, "stages": stages}


def run(clip: Path, folder: Path, labels: Path, **settings: Any) -> Any:
    pipe = Pipeline.from_dict(pipeline(folder, **settings))
    result = geoflow.run(clip, folder / "out", pipe, objects=labels)
    assert verify_run(folder / "out") == []
    return result


def calls(folder: Path) -> Counter[int]:
    """How often each object was begun; each call read every frame of the video."""
    rows = [line.split() for line in (folder / "objects").read_text().splitlines()]
    assert {int(frames) for _, frames in rows} == {FRAMES}
    return Counter(int(number) for number, _ in rows)


def made(rows: Rows) -> list[int]:
    """The objects whose meshes were made."""
    return [row["object"] for row in rows if row["event"] == "stage_done" and row["slot"] == "mesh"]


def meshes(folder: Path) -> dict[str, bytes]:
    """Every array of every mesh in the store."""
    found: dict[str, bytes] = {}
    with h5py.File(RunPaths(folder / "out").video("a")) as store:
        store["objects"].visititems(
            lambda name, item: found.update({name: item[()].tobytes()}) if isinstance(item, h5py.Dataset) else None
        )
    return found


@pytest.fixture(scope="module")
def undisturbed(clip: Path, labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("undisturbed")
    assert run(clip, folder, labels).exit_status == 0
    return folder


def test_every_object_of_a_video_has_its_mesh(undisturbed: Path) -> None:
    assert calls(undisturbed) == Counter(NUMBERS)
    out = undisturbed / "out"
    with geoflow.open(out / "videos" / "a.h5") as video:
        assert video.objects is not None and [n for n, row in video.objects.items() if row.has_mesh] == [*NUMBERS]
        first, last = ({2: 0, 5: 3, 9: FRAMES - 1}[n] for n in (5, 9))
        mesh, other = video.objects[5].mesh, video.objects[9].mesh
        assert mesh is not None and other is not None
        world = mesh.vertices @ mesh.world_from_mesh[:3, :3].T + mesh.world_from_mesh[:3, 3]
        np.testing.assert_allclose(world.min(0), [20, 30, first], atol=1e-3)
        np.testing.assert_allclose(world.max(0), [50, 40, FRAMES], atol=1e-3)
        assert mesh.frame == first and other.frame == last
    rows = events(out)
    assert [line for row in rows for line in problems(row)] == []
    assert sorted(made(rows)) == [*NUMBERS]
    assert all(row["span"] == [0, FRAMES] for row in rows if "object" in row)
    assert not RunPaths(out).work.exists()


@pytest.mark.slow
def test_a_larger_pool_makes_no_mesh_twice(clip: Path, labels: Path, tmp_path: Path, undisturbed: Path) -> None:
    assert run(clip, tmp_path, labels, actors=3).exit_status == 0
    assert calls(tmp_path) == Counter(NUMBERS)
    assert meshes(tmp_path) == meshes(undisturbed)


def test_an_actor_that_dies_costs_one_more_call(clip: Path, labels: Path, tmp_path: Path, undisturbed: Path) -> None:
    (tmp_path / "die").touch()
    assert run(clip, tmp_path, labels, die_in="die").exit_status == 0
    assert sorted(calls(tmp_path).values()) == [1, 1, 2]
    assert meshes(tmp_path) == meshes(undisturbed)
    failed = [row for row in events(tmp_path / "out") if row["event"] == "stage_failed"]
    assert {(row["verdict"], row["kind"]) for row in failed} == {("retry", "died")}  # and what was queued behind it


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_keeps_the_meshes_it_has(
    clip: Path, labels: Path, tmp_path: Path, undisturbed: Path, number: int
) -> None:
    """Killed after the first mesh, it goes on with the second; interrupted, it lets the running call end."""
    raw = pipeline(tmp_path, seconds=1.0)
    driver = Driver(clip, tmp_path, raw=raw, options=["--objects", str(labels)])
    driver.when(lambda: bool(made(driver.events())))
    assert driver.end(number) == (130 if number == signal.SIGINT else -signal.SIGKILL)
    before = events(tmp_path / "out")
    done = made(before)
    assert len(done) < len(NUMBERS)
    assert run(clip, tmp_path, labels, seconds=1.0).exit_status == 0
    after = events(tmp_path / "out")[len(before) :]
    assert all(calls(tmp_path)[number] == 1 for number in done), "a mesh was made, and was made again"
    restored = [row["object"] for row in after if row["event"] == "stage_restored"]
    assert set(done) <= set(restored) and sorted(restored + made(after)) == [*NUMBERS]
    if number == signal.SIGINT:
        assert calls(tmp_path) == Counter(NUMBERS)
    assert not [row for row in after if row["event"] == "stage_done" and row["slot"] == "write"]
    assert meshes(tmp_path) == meshes(undisturbed)


def test_an_object_that_can_have_no_mesh_says_why(clip: Path, labels: Path, tmp_path: Path, undisturbed: Path) -> None:
    (video,) = run(clip, tmp_path, labels, optional=True, fail_on=5).videos
    assert video.status == "complete"
    with geoflow.open(tmp_path / "out" / "videos" / "a.h5") as store:
        assert store.objects is not None and store.objects[5].without == "object 5 is never seen from behind"
        assert [n for n, row in store.objects.items() if row.has_mesh] == [2, 9]
    expected = {name: data for name, data in meshes(undisturbed).items() if not name.startswith("5/")}
    assert meshes(tmp_path) == expected


@pytest.mark.slow
def test_a_stage_that_cannot_start_leaves_the_reason_with_each_object(clip: Path, labels: Path, tmp_path: Path) -> None:
    result = run(clip, tmp_path, labels, optional=True, broken=True)
    assert result.disabled == {"mesh": "its weights are missing"} and result.videos[0].status == "complete"
    with geoflow.open(tmp_path / "out" / "videos" / "a.h5") as store:
        assert store.objects is not None
        found = {n: row.without for n, row in store.objects.items()}
    assert found == dict.fromkeys(NUMBERS, "mesh could not run: its weights are missing")


def test_a_mesh_that_must_be_there_fails_its_video(clip: Path, labels: Path, tmp_path: Path) -> None:
    (video,) = run(clip, tmp_path, labels, fail_on=5).videos
    assert video.status == "failed"
    assert video.reason == "mesh failed on object 5 of a: object 5 is never seen from behind"
