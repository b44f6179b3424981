"""Objects of videos without Ray: which are made, which an earlier run has left, and what follows for their video."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import pytest
from object_stages import WholeBoxes, cube

from geoflow.engine import meshing
from geoflow.engine.graph import Graph
from geoflow.engine.mailbox import Mailbox
from geoflow.engine.outcome import Failure, Outcome
from geoflow.engine.schedule import Kind
from geoflow.engine.state import VideoRun
from geoflow.errors import ConfigError
from geoflow.pipeline import Pipeline
from geoflow.segments import VideoInfo
from geoflow.store.meshes import made_in, write_mesh_part
from geoflow.store.object_work import FoundObjects, ObjectWork
from geoflow.store.paths import RunPaths
from geoflow.video.inputs import Input

KEY = "0123"
INFO = VideoInfo("a", "a", "", 20, 30.0, 8, 8, 8, 8)


class FromPoints(WholeBoxes):
    inputs = ("objects.label", "geometry.points")


def pipeline(**mesh: Any) -> Pipeline:
    rows: list[dict[str, Any]] = [
        {"slot": "decode", "backend": "geoflow.stages.decode"},
        {"slot": "stitch", "backend": "geoflow.stages.stitch"},
        {"slot": "mesh", "backend": "object_stages:WholeBoxes", **mesh},
        {"slot": "write", "backend": "geoflow.stages.write"},
    ]
    return Pipeline.from_dict({"name": "p", "stages": rows})


def graph() -> Graph:
    return Graph.build([(s.slot, s.make_stage(), s.optional) for s in pipeline().stages])


class Driven:
    """What the executor does with objects, by hand."""

    def __init__(self, folder: Path) -> None:
        self.events: list[dict[str, Any]] = []
        self.whole: list[VideoRun] = []
        self.failed: list[str] = []
        self.again: list[VideoRun] = []
        flow: Any = SimpleNamespace(
            fail=lambda video, reason: self.failed.append(reason), recover_video=self.again.append
        )
        self.work = ObjectWork(RunPaths(folder), KEY, 3)
        self.meshing = meshing.Meshing(
            graph(),
            flow,
            Mailbox(),
            self.work.paths,
            part_key=lambda info: KEY,
            shared=False,
            emit=lambda event, **data: self.events.append({"event": event, **data}),
            whole=self.whole.append,
        )
        self.video = VideoRun(0, Input("a", "a"), info=INFO, status="running", num_segments=3)

    def found(self, *seen: int, made: tuple[int, ...] = ()) -> None:
        self.meshing._found(self.video, self.work, FoundObjects(seen, made, "course"))


@pytest.fixture
def driven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driven:
    monkeypatch.setattr(meshing, "outcome_of", lambda ref: ref if isinstance(ref, Outcome) else Outcome(value=ref))
    return Driven(tmp_path)


def test_no_segment_goes_through_the_step_of_objects() -> None:
    built = graph()
    assert [row.slot for row in built.steps] == ["decode", "stitch", "write"]
    last = built.of_objects
    assert last is not None and last.slot == "mesh" and last.surveys and built.step(last.index) is last
    assert built.of_stage(2) == (last,) and built.step(1) is built.steps[1]
    assert built.above({"decode", "mesh"}) == {"decode": (), "mesh": ("decode",)}


def test_a_video_is_finished_once_all_of_its_objects_are(driven: Driven) -> None:
    driven.found(2, 5, 9)
    runs = []
    while driven.meshing.head() is not None:
        runs.append(driven.meshing.take())
    assert [run.object.number for run in runs] == [2, 5, 9] and {run.work.course for run in runs} == {"course"}
    driven.meshing.done(runs[0])
    driven.meshing.fail(runs[2], "too small")
    assert driven.whole == []
    driven.meshing.queue(runs[1])  # it failed, and is tried again
    assert driven.meshing.head() is runs[1]
    driven.meshing.done(driven.meshing.take())
    assert driven.whole == [driven.video]
    assert [*driven.video.meshes] == [2, 5] and driven.video.without_mesh == {9: "too small"}


def test_meshes_of_an_earlier_run_are_taken(driven: Driven) -> None:
    write_mesh_part(driven.work.paths, INFO, 5, cube(), KEY, course="course")
    driven.found(2, 5, made=(5,))
    assert [row["object"] for row in driven.events if row["event"] == "stage_restored"] == [5]
    run = driven.meshing.take()
    assert run.object.number == 2 and driven.meshing.head() is None
    driven.meshing.done(run)
    assert driven.whole == [driven.video] and sorted(driven.video.meshes) == [2, 5]


def test_a_video_without_objects_is_finished_at_once(driven: Driven) -> None:
    driven.found()
    assert driven.whole == [driven.video] and driven.meshing.head() is None


def test_a_stage_that_cannot_run_leaves_every_object_with_the_reason(driven: Driven) -> None:
    driven.found(2, 5)
    driven.meshing.disable("no such package")
    assert driven.video.without_mesh == dict.fromkeys((2, 5), "mesh could not run: no such package")
    later = Driven(driven.work.paths.root)
    later.meshing.disable("no such package")
    later.found(7)
    assert later.whole == [later.video] and [*later.video.without_mesh] == [7]


def test_what_comes_back_late_changes_nothing(driven: Driven) -> None:
    driven.found(2, 5)
    first, second = driven.meshing.take(), driven.meshing.take()
    driven.meshing.recover(first)
    assert driven.again == [driven.video] and not first.live and not second.live
    driven.meshing.fail(second, "late")
    driven.meshing.queue(second)
    assert driven.whole == [] and driven.video.without_mesh == {} and driven.meshing.head() is None


def test_labels_that_cannot_be_read_fail_the_video(driven: Driven) -> None:
    driven.meshing._found(driven.video, driven.work, Outcome(Failure(Kind.STORE, "cannot read the segment")))
    assert driven.failed == ["mesh cannot see which objects there are: cannot read the segment"]


def test_where_finished_segments_are_out_of_reach_a_run_does_not_begin(tmp_path: Path) -> None:
    def begin(paths: RunPaths | None, shared: bool) -> None:
        flow: Any = None
        meshing.Meshing(
            graph(),
            flow,
            Mailbox(),
            paths,
            part_key=lambda info: KEY,
            shared=shared,
            emit=lambda event, **data: None,
            whole=lambda video: None,
        )

    with pytest.raises(ConfigError, match="which it cannot fetch from s3://bucket/out; name a folder for -o"):
        begin(RunPaths(tmp_path, "s3://bucket/out"), True)
    with pytest.raises(ConfigError, match="a run without a store has none"):
        begin(None, False)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["decode", "mesh", "stitch", "write"],
            "mesh works on objects of whole videos: put it between stitch and write",
        ),
        (
            ["decode", "stitch", "write", "mesh"],
            "mesh works on objects of whole videos: put it between stitch and write",
        ),
        (["decode", "stitch", "mesh", "more", "write"], "mesh and more both make meshes of objects; leave one out"),
    ],
)
def test_a_pipeline_has_one_in_its_place(rows: list[str], message: str) -> None:
    backends = {"mesh": "object_stages:WholeBoxes", "more": "object_stages:WholeBoxes"}
    stages = [{"slot": row, "backend": backends.get(row, f"geoflow.stages.{row}")} for row in rows]
    with pytest.raises(ConfigError, match=message):
        Pipeline.from_dict({"name": "p", "stages": stages})


def test_what_the_store_lacks_cannot_be_taken() -> None:
    rows: list[dict[str, Any]] = [
        {"slot": "decode", "backend": "geoflow.stages.decode"},
        {"slot": "prior", "backend": "counting_stages:Prior"},
        {"slot": "geometry", "backend": "counting_stages:Geometry"},
        {"slot": "stitch", "backend": "geoflow.stages.stitch"},
        {"slot": "mesh", "backend": f"{__name__}:FromPoints"},
        {"slot": "write", "backend": "geoflow.stages.write"},
    ]
    with pytest.raises(ConfigError, match=r"mesh takes geometry.points .* which lacks it: set write.points=true"):
        Pipeline.from_dict({"name": "p", "stages": rows})
    assert Pipeline.from_dict({"name": "p", "stages": rows}, {"write.points": True}).spec("mesh")


def test_a_mesh_is_known_by_the_segments_it_was_made_from(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    path = write_mesh_part(paths, INFO, 3, cube(), KEY, course="one")
    assert made_in(path, 3, KEY, "one") and path.is_file()
    assert not made_in(path, 3, KEY, "another") and not path.exists()
    assert not made_in(path, 3, KEY, "one")
    path = write_mesh_part(paths, INFO, 3, cube(), KEY, course="one")
    with h5py.File(path, "r+") as file:
        file["vertices"][0, 0] += 1
    assert not made_in(path, 3, KEY, "one")
