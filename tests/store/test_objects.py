"""Labels and meshes of objects in the store: written, read back, verified, and told of."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
from object_stages import cube
from segment_fields import HEIGHT, WIDTH, Truth, fields_of, make_truth

from geoflow.errors import StoreError
from geoflow.stage import SegmentRecord
from geoflow.stages.stitch import Stitch
from geoflow.stages.write import Write
from geoflow.store.info import describe, render
from geoflow.store.meshes import read_mesh_part, write_mesh_part
from geoflow.store.paths import RunPaths
from geoflow.store.reader import open_video
from geoflow.store.schema import INDEX_COLUMNS
from geoflow.store.verify import verify_store
from geoflow.store.work_key import describe_work, work_key
from geoflow.store.writer import assemble

PIPELINE = '{"seed": 7}'
Meshes = Mapping[int, Any]


def labels(start: int, stop: int) -> np.ndarray:
    """Object 1 on the left in every frame, object 9 on the right from frame 30 on."""
    out = np.zeros((stop - start, HEIGHT, WIDTH), np.uint8)
    out[:, 2:6, :4] = 1
    out[np.arange(start, stop) >= 30, 2:6, 8:] = 9
    return out


@pytest.fixture(scope="module")
def truth() -> Truth:
    return make_truth()


def parts(out: Path, truth: Truth) -> None:
    """Every segment's part file, as a run with labels leaves it."""
    stitch, write = Stitch(), Write(Write.Params(out=str(out), pipeline=PIPELINE))
    for segment in truth.segments:
        fields = {**fields_of(truth, segment), "objects.label": labels(segment.start, segment.stop)}
        write.process(segment, stitch.process(segment, fields))


def join(out: Path, truth: Truth, meshes: Meshes | None = None, **options: Any) -> dict[str, Any]:
    records = [SegmentRecord(s.index, s.start, s.stop, "complete", {}, {}) for s in truth.segments]
    return assemble(RunPaths(out), truth.video, records, pipeline=PIPELINE, meshes=meshes, **options)


def key_of(truth: Truth) -> str:
    return work_key(describe_work(truth.video, PIPELINE))


@pytest.fixture(scope="module")
def stored(truth: Truth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("objects")
    parts(out, truth)
    records = [SegmentRecord(s.index, s.start, s.stop, "complete", {}, {}) for s in truth.segments]
    write = Write(Write.Params(out=str(out), pipeline=PIPELINE))
    write.finish(truth.video, records, meshes={9: cube(frame=62)})
    return RunPaths(out).video("clip")


def test_labels_and_meshes_read_back(stored: Path) -> None:
    assert verify_store(stored) == []
    expected = labels(0, 40)
    with open_video(stored) as video:
        objects = video.objects
        assert list(objects) == [1, 9] and 2 not in objects and 9 in objects
        assert np.array_equal(objects.label[25:35], expected[25:35]) and objects.label.dtype == np.uint8
        assert objects[9].mask(35).dtype == bool and np.array_equal(objects[9].mask(35), expected[35] == 9)
        assert not objects[9].mask(3).any()
        assert objects[1].mesh is None and list(objects.meshes) == [9]
        mesh = objects[9].mesh
        for name, array in cube(frame=62).items():
            assert np.array_equal(getattr(mesh, name), array[0] if name == "frame" else array)
        assert mesh.frame == 62 and mesh.scale == pytest.approx(2)
        np.testing.assert_allclose(mesh.world_vertices.mean(0), [0, 0, 5], atol=1e-6)
        assert repr(objects) == "Objects(1, 9; 1 of 2 with a mesh)"
        assert repr(objects[9]) == "Object(9, Mesh(8 vertices, 12 faces, of frame 62))"
        assert "objects" in repr(video) and video.recovered.endswith("2 objects, 1 mesh")
        with pytest.raises(KeyError):
            objects[2]


def test_what_was_seen_of_a_mesh_is_kept_and_may_be_absent(truth: Truth, stored: Path, tmp_path: Path) -> None:
    parts(tmp_path, truth)
    seen = np.arange(8) < 4
    join(tmp_path, truth, {9: {**cube(frame=62), "seen": seen}})
    path = RunPaths(tmp_path).video("clip")
    with open_video(path) as video, open_video(stored) as other:
        mesh, unsaid = video.objects[9].mesh, other.objects[9].mesh
        assert np.array_equal(mesh.seen, seen) and mesh.watertight and 0 < mesh.seen_share < 0.5
        assert unsaid.seen is None and unsaid.seen_share is None
    assert verify_store(path) == []
    part = RunPaths(tmp_path)
    kept = write_mesh_part(part, truth.video, 9, {**cube(), "seen": seen}, "k")
    assert np.array_equal(read_mesh_part(kept, 9, "k")["seen"], seen)
    assert "seen" not in read_mesh_part(write_mesh_part(part, truth.video, 8, cube(), "k"), 8, "k")
    with pytest.raises(StoreError, match="seen"):
        write_mesh_part(part, truth.video, 7, {**cube(), "seen": seen[:3]}, "k")


def test_plain_h5py_reads_them(stored: Path) -> None:
    with h5py.File(stored) as file:
        label = file["objects/label"]
        assert label.dtype == np.uint8 and label.chunks == (1, HEIGHT, WIDTH) and label.compression == "gzip"
        assert list(label.attrs["numbers"]) == [1, 9]
        assert set(file["objects/9"]) == {"vertices", "faces", "colours", "world_from_mesh", "frame"}
        assert file["objects/9/vertices"].attrs["unit"] == "mesh"
        assert "rotation, scale" in file["objects/9/world_from_mesh"].attrs["meaning"]


def test_they_are_told_of(stored: Path, truth: Truth, tmp_path: Path) -> None:
    with open_video(stored) as video:
        summary = describe(video)
        assert summary["totals"]["objects"] == 2 and summary["totals"]["meshes"] == 1
        assert summary["datasets"]["objects/9/faces"]["shape"] == [12, 3]
        json.dumps(summary)
        render(summary)
        card = video._repr_html_()
        assert card is not None and "2 objects" in card and "hands, objects" in card
    assert "objects" in INDEX_COLUMNS
    parts(tmp_path, truth)
    assert join(tmp_path, truth)["objects"] == 2


def test_a_store_without_objects_says_nothing_of_them(truth: Truth, tmp_path: Path) -> None:
    stitch, write = Stitch(), Write(Write.Params(out=str(tmp_path), pipeline=PIPELINE))
    for segment in truth.segments:
        write.process(segment, stitch.process(segment, fields_of(truth, segment)))
    assert join(tmp_path, truth)["objects"] is None
    with open_video(RunPaths(tmp_path).video("clip")) as video:
        assert video.objects is None and "object" not in video.recovered


def test_an_object_that_lacks_its_mesh_says_why(truth: Truth, tmp_path: Path) -> None:
    parts(tmp_path, truth)
    done = join(tmp_path, truth, {9: cube(frame=60)}, without_mesh={1: "it is seen in no posed frame"})
    assert "meshes" in done["lacking"]
    path = RunPaths(tmp_path).video("clip")
    assert verify_store(path) == []
    with open_video(path) as video:
        assert video.status == "incomplete" and video.objects[1].without == "it is seen in no posed frame"
        assert repr(video.objects[1]) == "Object(1, no mesh: it is seen in no posed frame)"
        assert "object 1 has no mesh: it is seen in no posed frame" in video.recovered


def test_a_mesh_waits_in_a_part_of_its_work(truth: Truth, tmp_path: Path) -> None:
    parts(tmp_path, truth)
    paths, key = RunPaths(tmp_path), key_of(truth)
    path = write_mesh_part(paths, truth.video, 9, cube(frame=62), key)
    other = write_mesh_part(paths, truth.video, 9, cube(frame=64), "of other work")
    assert np.array_equal(read_mesh_part(path, 9, key)["vertices"], cube()["vertices"])
    for number, wrong in ((9, "other"), (1, key)):
        with pytest.raises(StoreError, match=rf"not the mesh of object {number} of this work"):
            read_mesh_part(path, number, wrong)
    with pytest.raises(StoreError, match="not the mesh of object 9 of this work"):
        join(tmp_path, truth, {9: other})
    assert not paths.video("clip").exists() and path.exists()
    join(tmp_path, truth, {9: path})
    assert verify_store(paths.video("clip")) == []
    assert not paths.parts("clip").exists()


def test_a_part_that_was_changed_is_refused(truth: Truth, tmp_path: Path) -> None:
    path = write_mesh_part(RunPaths(tmp_path), truth.video, 9, cube(), key_of(truth))
    with h5py.File(path, "a") as file:
        file["vertices"][0] = 7
    with pytest.raises(StoreError, match="not the mesh of object 9"):
        read_mesh_part(path, 9, key_of(truth))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(StoreError, match="cannot read the finished mesh"):
        read_mesh_part(path, 9, key_of(truth))


@pytest.mark.parametrize(
    ("meshes", "message"),
    [
        (
            {9: {**cube(), "faces": np.array([[0, 1, 8]], np.int32)}},
            "object 9: mesh.9.faces should name vertices 0 to 7",
        ),
        ({9: {k: v for k, v in cube().items() if k != "colours"}}, r"object 9 .*left out \['mesh.9.colours'"),
        ({300: cube(frame=62)}, r"meshes of objects \[300\], but labels show \[1, 9\]"),
        ({9: cube(frame=3)}, "object 9 is of frame 3, which is not in this video"),
        ({9: {}}, "object 9"),
    ],
)
def test_a_mesh_that_is_none_costs_no_finished_work(truth: Truth, tmp_path: Path, meshes: Meshes, message: str) -> None:
    parts(tmp_path, truth)
    with pytest.raises(StoreError, match=message):
        join(tmp_path, truth, meshes)
    assert not RunPaths(tmp_path).video("clip").exists()
    join(tmp_path, truth, {9: cube(frame=62)})


def rename(old: str, new: str) -> Callable[[h5py.File], None]:
    return lambda file: file.move(old, new)


def put(name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name][...] = value

    return change


def stamp(name: str, value: Any) -> Callable[[h5py.File], None]:
    return lambda file: file["objects/9"].attrs.__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename("objects/9", "objects/nine"), "objects/nine is not an object"),
        (rename("objects/9", "objects/12"), "objects/12 is an object that no frame of objects/label shows"),
        (rename("objects/9/faces", "objects/9/corners"), "objects/9/faces is missing"),
        (rename("objects/label", "label"), "objects/label is missing beside the meshes"),
        (put("objects/9/faces", 8), "objects/9/faces should name vertices 0 to 7, found 8 to 8"),
        (put("objects/9/vertices", np.nan), "objects/9/vertices should be finite"),
        (put("objects/9/world_from_mesh", 1), "objects/9/world_from_mesh should have the last row 0 0 0 1"),
        (put("objects/9/frame", 3), "objects/9/frame 3 is not a frame of this video"),  # every second frame is used
        (put("objects/label", 1), r"objects/label shows objects \[1\], but lists \[1, 9\]"),
        (stamp("key", "of others"), "objects/9 is part of other work than the file states"),
    ],
)
def test_verify_names_what_is_wrong(
    stored: Path, tmp_path: Path, change: Callable[[h5py.File], None], message: str
) -> None:
    path = tmp_path / "clip.h5"
    path.write_bytes(stored.read_bytes())
    with h5py.File(path, "a") as file:
        change(file)
    found = verify_store(path)
    assert any(re.search(message, line) for line in found), found


def test_labels_of_a_later_segment_stay_where_two_share_frames(truth: Truth, tmp_path: Path) -> None:
    stitch = Stitch()
    found = []
    for segment in truth.segments:
        label = np.full((len(segment), HEIGHT, WIDTH), segment.index + 1, np.uint8)
        fields = {**fields_of(truth, segment), "objects.label": label}
        found.append(stitch.process(segment, fields)["objects.label"])
    assert np.concatenate(found)[:, 0, 0].tolist() == [1] * 10 + [2] * 10 + [3] * 10 + [4] * 10


def test_the_users_labels_survive_a_backend_that_failed(truth: Truth, tmp_path: Path) -> None:
    """The backend was given them and gave nothing back in two segments."""
    for k in range(80):  # every second frame of the source is used
        cv2.imwrite(str(tmp_path / f"{k:02}.png"), np.full((HEIGHT, WIDTH), k + 1, np.uint8))
    video = dataclasses.replace(truth.video, labels=str(tmp_path), labels_sha256="ab")
    stitch, found = Stitch(), []
    for segment in truth.segments:
        segment = dataclasses.replace(segment, video=video)
        fields = fields_of(truth, segment)
        if segment.index in (1, 2):
            index = fields["frames.index"].astype(np.uint8)
            fields["objects.label"] = np.broadcast_to(index[:, None, None] + np.uint8(1), (len(segment), HEIGHT, WIDTH))
        found.append(stitch.process(segment, fields)["objects.label"])
    assert (np.concatenate(found) == 1 + 2 * np.arange(40)[:, None, None]).all()


def test_the_key_of_work_counts_labels_and_prompts_only_where_there_are_any(truth: Truth) -> None:
    plain = describe_work(truth.video, PIPELINE)
    assert "labels" not in plain and "prompts" not in plain
    for change in ({"labels_sha256": "ab"}, {"labels": "/moved"}):
        changed = describe_work(dataclasses.replace(truth.video, **change), PIPELINE)
        assert (changed != plain) == ("labels_sha256" in change)
