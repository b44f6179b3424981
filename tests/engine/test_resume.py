"""What a resumed run does again: keys, the plan of a segment, and the files, all without Ray."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoflow.engine.actor import workfiles
from geoflow.engine.actor.workfiles import DamagedWork
from geoflow.engine.graph import Graph, Step
from geoflow.engine.keys import Keys
from geoflow.engine.resume import Action, below_order, choose_actions, finished_prefix
from geoflow.engine.spans import find_span, plan_spans
from geoflow.errors import ConfigError
from geoflow.pipeline import Pipeline
from geoflow.segments import Segment, Span, VideoInfo, plan_segments

RUN, RESTORE, UNNEEDED = Action


def graph_of(parents: list[tuple[int, ...]], ordered: tuple[int, ...] = ()) -> Graph:
    steps = tuple(
        Step(i, f"s{i}", i in ordered, False, {f"f{p}": p for p in above}, frozenset(), (f"f{i}",), i)
        for i, above in enumerate(parents)
    )
    return Graph(steps, {}, tuple(tuple(n.index for n in steps if i in n.parents) for i in range(len(steps))))


def choices(graph: Graph) -> list[tuple[int, frozenset[int]]]:
    """How many stages run and which are restored, for every choice of actions that gives each stage what it reads."""
    found = []
    for actions in itertools.product(Action, repeat=len(graph.steps)):
        fine = True
        for row, action in zip(graph.steps, actions):
            leaf = not graph.children[row.index]
            fine &= action is not RESTORE or not leaf
            fine &= action is not UNNEEDED or not (leaf or row.ordered)
            fine &= action is not RUN or all(actions[p] is not UNNEEDED for p in row.parents)
        if fine:
            found.append((actions.count(RUN), frozenset(i for i, action in enumerate(actions) if action is RESTORE)))
    return found


def test_a_segment_costs_no_more_than_it_must() -> None:
    """Every graph of four stages that starts with one source, every set of saved results."""
    above = [[()], [(0,)], [(0,), (1,), (0, 1)], [c for k in (1, 2, 3) for c in itertools.combinations(range(3), k)]]
    subsets = [frozenset(s) for k in range(5) for s in itertools.combinations(range(4), k)]
    for parents, ordered in itertools.product(itertools.product(*above), [(), (3,), (2, 3)]):
        graph = graph_of(list(parents), ordered)
        possible = choices(graph)
        for saved in subsets:
            actions = choose_actions(graph, saved)
            # Fewest stages run, then fewest restored.
            cheapest = min((run, len(restored)) for run, restored in possible if restored <= saved)
            assert (actions.count(RUN), actions.count(RESTORE)) == cheapest, (parents, ordered, saved)


def test_a_stage_known_to_be_absent_asks_for_nothing() -> None:
    graph = graph_of([(), (0,), (0,), (1, 2)])  # decode → {prior, hands} → write
    assert choose_actions(graph, {1}) == (RUN, RESTORE, RUN, RUN)
    assert choose_actions(graph, {1}, absent={2}) == (UNNEEDED, RESTORE, RUN, RUN)


def test_what_hangs_on_earlier_segments() -> None:
    assert below_order(graph_of([(), (0,), (1,), (2,)], ordered=(1,))) == {1, 2, 3}


def test_finished_segments_are_kept_up_to_the_first_gap() -> None:
    assert finished_prefix("abxd", lambda c: c != "x", lambda c: True) == ["a", "b"]
    assert finished_prefix("abcd", lambda c: True, lambda c: c in "ab") == ["a", "b"]
    assert finished_prefix("abcd", lambda c: True, lambda c: False) == []


# Keys

INFO = VideoInfo("clip", "/videos/clip.mp4", "f00d", 200, 30.0, 48, 64, 48, 64)
EMBEDDED = Pipeline.load("embedded")


def spans_of(graph: Graph, pipe: Pipeline, segment: Segment) -> dict[int, Span]:
    """The spans that a segment lies in."""
    planned = plan_spans(graph, segment.video, pipe.segment.size, pipe.segment.overlap)
    return {step: find_span(spans, segment.index) for step, spans in planned.items()}


def survey_keys(pipe: Pipeline = EMBEDDED, info: VideoInfo = INFO) -> list[str]:
    """Per segment, the key of the survey of the chapter that it lies in."""
    graph = Graph.build([(s.slot, s.make_stage(), s.optional) for s in pipe.stages])
    made = Keys(graph, [s.signature() for s in pipe.stages])
    (step,) = (row.index for row in graph.steps if row.surveys)
    segments = list(plan_segments(info, pipe.segment.size, pipe.segment.overlap))
    return [made.of_span(step, spans_of(graph, pipe, segment)[step]) for segment in segments]


def keys(pipe: Pipeline = EMBEDDED, info: VideoInfo = INFO, reading: str = "") -> dict[tuple[str, int], str]:
    """Key per slot and segment of a whole video."""
    graph = Graph.build([(s.slot, s.make_stage(), s.optional) for s in pipe.stages])
    made, found, before = Keys(graph, [s.signature() for s in pipe.stages], reading), {}, {}
    for segment in plan_segments(info, pipe.segment.size, pipe.segment.overlap):
        spans = spans_of(graph, pipe, segment)
        before = made.of_all(segment, set(), before, spans)
        found |= {(graph.steps[step].slot, segment.index): key for step, key in before.items()}
    return found


def changed(a: dict[Any, str], b: dict[Any, str]) -> set[str]:
    return {slot for slot, index in a if a[slot, index] != b[slot, index]}


EVERY = {spec.slot for spec in EMBEDDED.stages}


@pytest.mark.parametrize(
    ("setting", "value", "touched"),
    [
        ("camera.actors", 7, set()),
        ("camera.num_cpus", 1, set()),
        ("prior.weight", 3, set()),
        ("prior.keep", False, set()),
        ("keep_fields", True, set()),
        ("hung_after", 60, set()),
        ("write.compression", 1, {"write"}),
        ("stitch.median_depth", 3.0, {"stitch", "write"}),
        ("tracks.backend", "engine_stages:Mask", {"tracks", "stitch", "write"}),
        ("prior.backend", "engine_stages:Prior", {"prior", "geometry", "stitch", "write"}),
        ("decode.long_side", 320, EVERY),
    ],
)
def test_a_setting_touches_its_stage_and_those_below(setting: str, value: Any, touched: set[str]) -> None:
    assert changed(keys(), keys(EMBEDDED.with_setting(setting, value))) == touched


BOUND = {"out": "/elsewhere", "remote": "s3://bucket/out", "share": True, "pipeline": '{"name": "another"}'}


def test_what_the_run_fills_in_is_no_setting() -> None:
    assert changed(keys(), keys(EMBEDDED.bound(BOUND))) == set()
    assert EMBEDDED.bound(BOUND).to_dict() == EMBEDDED.to_dict()
    with pytest.raises(ConfigError, match=r"write\.out is filled in by the run"):
        EMBEDDED.with_settings({"write.out": "/elsewhere"})


@pytest.mark.parametrize("name", BOUND)
def test_a_parameter_of_the_same_name_in_another_stage_is_its_own(name: str) -> None:
    pipe = EMBEDDED.with_setting("prior.backend", "engine_stages:Named")
    other = pipe.with_setting(f"prior.{name}", "other")
    assert changed(keys(pipe), keys(other)) == {"prior", "geometry", "stitch", "write"}
    assert other.fingerprint() != pipe.fingerprint()
    assert getattr(pipe.bound(BOUND).spec("prior").make_stage().params, name) == "its own"


def test_a_new_revision_of_the_weights_touches_the_stage_that_loads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    import geoflow.backends.catalogue as registry

    before, models = keys(), registry.load_models()
    entry = models["embedded.klt"].model_copy(update={"revision": "another"})
    monkeypatch.setattr(registry, "load_models", lambda: {**models, "embedded.klt": entry})
    assert changed(before, keys()) == {"tracks", "stitch", "write"}


@pytest.mark.parametrize(
    "change", [{"source_sha256": "beef"}, {"fps": 15.0}, {"intrinsics": (9, 9, 4, 4)}, {"masks_sha256": "1"}]
)
def test_other_content_is_other_work(change: dict[str, Any]) -> None:
    assert changed(keys(), keys(info=dataclasses.replace(INFO, **change))) == EVERY
    assert changed(keys(), keys(reading="fps=15")) == EVERY


def test_the_same_content_elsewhere_is_the_same_work() -> None:
    assert keys(info=dataclasses.replace(INFO, source="/moved/b.mp4", name="b")) == keys()


def test_ordered_stages_hang_on_all_earlier_segments() -> None:
    pipe = EMBEDDED
    graph = Graph.build([(s.slot, s.make_stage(), s.optional) for s in pipe.stages])
    slot = {n.slot: n.index for n in graph.steps}
    made = Keys(graph, [s.signature() for s in pipe.stages])
    first, second, third = plan_segments(INFO, pipe.segment.size, pipe.segment.overlap)
    spans = spans_of(graph, pipe, first)
    a, b = made.of_all(first, set(), {}, spans), made.of_all(first, {slot["hands"]}, {}, spans)
    for segment in (second, third):
        spans = spans_of(graph, pipe, segment)
        a, b = made.of_all(segment, set(), a, spans), made.of_all(segment, set(), b, spans)
        assert {graph.steps[n].slot for n in a if a[n] != b[n]} == {"stitch", "write"}


def test_the_segments_of_a_chapter_share_one_survey() -> None:
    long = dataclasses.replace(INFO, num_frames=1000)
    found = survey_keys(info=long)
    assert len(set(found)) == 3 and found == sorted(found, key=found.index)  # each chapter's segments in a row
    assert set(survey_keys(EMBEDDED.with_setting("segment.size", 500), long)).isdisjoint(found)


@pytest.mark.parametrize(
    ("setting", "value", "other"),
    [
        ("camera.max_points", 500, True),
        ("decode.long_side", 320, True),
        ("camera.actors", 7, False),
        ("prior.backend", "engine_stages:Prior", False),
        ("write.compression", 1, False),
    ],
)
def test_a_survey_hangs_on_its_stage_and_on_the_frames(setting: str, value: Any, other: bool) -> None:
    assert (survey_keys() != survey_keys(EMBEDDED.with_setting(setting, value))) == other


# Files

ARRAYS = {"prior.points": np.arange(24, dtype=np.float16).reshape(2, 4, 3), "prior.mask": np.zeros((0, 3), bool)}


def test_fields_come_back_as_they_were(tmp_path: Path) -> None:
    path = str(tmp_path / "new" / "a.npz")
    assert workfiles.save(path, ARRAYS, {"level": 1, "work_seconds": 0.1}) == 48
    arrays, meta = workfiles.load(path)
    assert meta == {"level": 1, "work_seconds": 0.1}
    assert all(np.array_equal(arrays[n], ARRAYS[n]) and arrays[n].dtype == ARRAYS[n].dtype for n in ARRAYS)
    assert workfiles.looks_whole(path)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.npz"]


def test_a_state_keeps_its_plain_values(tmp_path: Path) -> None:
    path = str(tmp_path / "s.npz")
    state = {"meta": np.eye(2), "file": 3, "world": True, "none": None, "scale": np.float32(0.1)}
    workfiles.save_state(path, state)
    back = workfiles.load_state(path)
    assert back.keys() == state.keys() and back["file"] == 3 and back["world"] is True and back["none"] is None
    assert back["scale"].dtype == np.float32 and back["scale"] == np.float32(0.1)
    assert np.array_equal(back["meta"], np.eye(2))


@pytest.mark.parametrize("cut", [0, 1, 50, -1])
def test_a_file_cut_short_is_known_at_a_glance(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.npz"
    workfiles.save(str(path), ARRAYS, {})
    path.write_bytes(path.read_bytes()[:cut])
    assert not workfiles.looks_whole(path)
    with pytest.raises(DamagedWork, match=r"a\.npz"):
        workfiles.load(str(path))


def test_every_flipped_byte_of_an_array_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    array = np.arange(1000, dtype=np.uint8)
    workfiles.save(str(path), {"frames.rgb": array}, {})
    whole = path.read_bytes()
    first = whole.index(array[:50].tobytes())
    for at in range(first, first + len(array), 99):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(DamagedWork):
            workfiles.load(str(path))


def test_an_absent_file_is_a_damaged_one(tmp_path: Path) -> None:
    assert not workfiles.looks_whole(tmp_path / "a.npz")
    with pytest.raises(DamagedWork):
        workfiles.load(str(tmp_path / "a.npz"))


def test_saving_leaves_room_for_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 40, 0, 100 << 20))
    with pytest.raises(OSError, match="only 100 MiB free"):
        workfiles.save(str(tmp_path / "a.npz"), ARRAYS, {})
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: Any, **arrays: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", refuse)
    with pytest.raises(OSError, match="No space"):
        workfiles.save(str(tmp_path / "a.npz"), ARRAYS, {})
    assert list(tmp_path.iterdir()) == []
