"""What a stage of objects is given: the finished segments, as the store will have them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from object_stages import cube
from segment_fields import HEIGHT, WIDTH, Truth, fields_of, make_truth

from geoflow.errors import StoreError
from geoflow.stage import SegmentRecord
from geoflow.stages.stitch import Stitch
from geoflow.stages.write import Write
from geoflow.store.object_inputs import find_objects, keep_mesh, read_fields
from geoflow.store.object_work import FoundObjects, ObjectWork
from geoflow.store.paths import RunPaths
from geoflow.store.work_key import describe_work, work_key

PIPELINE = '{"seed": 7}'
INPUTS = ("frames.index", "objects.label", "camera.cam_from_world", "geometry.mask")


@pytest.fixture(scope="module")
def truth() -> Truth:
    return make_truth()


def written(out: Path, truth: Truth, unlabelled: int = -1) -> tuple[ObjectWork, Write]:
    """Every segment on disk; object 4 is in all frames, 7 in the last one alone. One segment may lack labels."""
    paths, stitch, write = RunPaths(out), Stitch(), Write(Write.Params(out=str(out), pipeline=PIPELINE))
    paths.events.touch()
    for segment in truth.segments:
        label = np.zeros((len(segment), HEIGHT, WIDTH), np.uint8)
        label[:, 1:4, 2:5] = 4
        label[-1, 5:, 5:] = 7 if segment.is_last else 0
        fields = {**fields_of(truth, segment), "objects.label": label}
        if segment.index == unlabelled:
            del fields["objects.label"]
        write.process(segment, stitch.process(segment, fields))
    return ObjectWork(paths, work_key(describe_work(truth.video, PIPELINE)), len(truth.segments)), write


def test_fields_are_those_of_the_store_and_each_frame_comes_once(truth: Truth, tmp_path: Path) -> None:
    work, write = written(tmp_path, truth)
    found = find_objects(work, truth.video)
    assert found == FoundObjects((4, 7), (), found.course) and found.course
    work = ObjectWork(work.paths, work.key, work.segments, found.course)
    pieces = list(read_fields(work, truth.video, {}, required=INPUTS, optional=("geometry.points",)))
    assert len(pieces) == len(truth.segments)
    assert all(piece.keys() == set(INPUTS) for piece in pieces), "what the store lacks does not exist"
    assert not any(array.flags.writeable for piece in pieces for array in piece.values())
    keep_mesh(work, truth.video, 4, cube(frame=int(pieces[0]["frames.index"][0])))
    assert find_objects(work, truth.video).made == (4,)
    records = [SegmentRecord(s.index, s.start, s.stop, "complete", {}, {}) for s in truth.segments]
    meshes = {4: work.paths.mesh_part(truth.video.name, 4, work.key)}
    with h5py.File(write.finish(truth.video, records, meshes=meshes, without_mesh={7: "one frame"})["path"]) as store:
        for name in INPUTS:
            given = np.concatenate([piece[name] for piece in pieces])
            np.testing.assert_array_equal(given, store[name.replace(".", "/")][()])


def test_a_segment_that_lacks_an_input_is_left_out(truth: Truth, tmp_path: Path) -> None:
    work, _ = written(tmp_path, truth, unlabelled=1)
    found = find_objects(work, truth.video)
    assert found.seen == (4, 7)
    work = ObjectWork(work.paths, work.key, work.segments, found.course)
    every = list(read_fields(work, truth.video, {}, required=("frames.index",), optional=("objects.label",)))
    labelled = list(read_fields(work, truth.video, {}, required=("objects.label",), optional=()))
    assert len(every) == len(truth.segments) == len(labelled) + 1
    assert [("objects.label" in piece) for piece in every].index(False) == 1


def test_segments_of_another_course_are_refused(truth: Truth, tmp_path: Path) -> None:
    work, _ = written(tmp_path, truth)
    other = ObjectWork(work.paths, work.key, work.segments, "another")
    with pytest.raises(StoreError, match="were replaced since its objects were looked for; run again"):
        list(read_fields(other, truth.video, {}, required=INPUTS, optional=()))
    work.paths.events.unlink()
    with pytest.raises(StoreError, match="is not the folder that the run writes to; name one for -o"):
        find_objects(work, truth.video)
