"""Runs whose stages are in another Python: faults, kills and resuming end as for any stage, and nothing is left."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from bridged_stages import Foreign, all_gone, is_running
from counted_runs import Driver, assert_same, count, datasets, render
from counted_runs import run as run_counted
from engine_runs import count as number_of
from engine_runs import execute, pipeline, whole

import geoflow
from geoflow.backends import loading
from geoflow.pipeline import Pipeline
from geoflow.planning import environment_building as building
from geoflow.planning.plan import make_plan
from geoflow.store.verify import verify_run
from geoflow.synth import render_clip

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


@pytest.fixture
def env(tmp_path: Path) -> str:
    path = tmp_path / "other.yaml"
    path.write_text(f"interpreter: {{path: {sys.executable}}}\n")
    return str(path)


@pytest.mark.parametrize(
    ("stage", "mode", "event"),
    [("prior", "die-once", "actor_died"), ("prior", "hang-once", "actor_hung"), ("stitch", "", "actor_died")],
)
def test_a_child_that_dies_or_hangs_costs_one_call(tmp_path: Path, env: str, stage: str, mode: str, event: str) -> None:
    settings: dict[str, Any] = {"prior__mode": mode, "prior__segment": 2} if mode else {"stitch__die_at": 2}
    pipe = pipeline(tmp_path, prior__env=env, stitch__env=env, **settings)
    with all_gone() as pids:
        videos, events, _ = execute(pipe, least_deadline=3.0)
        pids += [e["child"] for e in events if e["event"] == "actor_ready" and "child" in e]
    assert whole(videos[0]) and number_of(events, event, stage) == 1 and len(set(pids)) >= 3
    failed = [e for e in events if e["event"] == "stage_failed"]  # and what was queued behind that call
    assert {(e["slot"], e["kind"], e["verdict"]) for e in failed} == {(stage, "died", "retry")}
    if mode != "hang-once":
        (message,) = [e["message"] for e in failed if "the stage's child process" in e["message"]]
        assert "is gone: exit status 1" in message


def test_out_of_memory_walks_the_ladder_and_an_actor_s_end_is_its_child_s(tmp_path: Path, env: str) -> None:
    killed: list[int] = []

    def kill(event: dict[str, Any]) -> None:
        if event["event"] == "stage_done" and event["slot"] == "prior" and not killed:
            killed.append(ready["prior"]["pid"])
            os.kill(killed[0], signal.SIGKILL)
        if event["event"] == "actor_ready":
            ready.setdefault(event["slot"], event)

    ready: dict[str, dict[str, Any]] = {}
    pipe = pipeline(tmp_path, prior__env=env, prior__mode="memory", prior__segment=-1, prior__actors=1)
    with all_gone() as pids:
        videos, events, _ = execute(pipe, observe=kill)
        pids += [e["child"] for e in events if e["event"] == "actor_ready" and "child" in e]
    assert whole(videos[0]) and killed and number_of(events, "actor_died", "prior") == 1
    assert {e["level"] for e in events if e["event"] == "stage_done" and e["slot"] == "prior"} == {1}
    assert ready["prior"]["interpreter"].startswith("Python 3.")


def test_a_node_without_the_interpreter_says_so(tmp_path: Path) -> None:
    absent = tmp_path / "absent.yaml"
    absent.write_text("interpreter: {path: /opt/none/bin/python}\n")
    with pytest.raises(geoflow.GeoFlowError, match="/opt/none/bin/python does not run as Python"):
        execute(pipeline(tmp_path, prior__env=str(absent)))


def test_environments_are_built_and_planned_with_it(tmp_path: Path, env: str) -> None:
    lines: list[str] = []
    backends = ["embedded.klt", "embedded.temporal_fusion", loading.name_of(Foreign)]
    built = building.build(env, backends, load=True, progress=lines.append)
    assert built.python == ".".join(map(str, sys.version_info[:3])) and built.own_bytes == 0
    assert [line for line in lines if line.startswith("warmed with")], lines
    clip = render(tmp_path)
    rows = make_plan(str(clip), Pipeline.load("embedded", {"tracks.env": env}).without(["hands"]))["stages"]
    assert {row["slot"]: row["interpreter"] for row in rows if row["interpreter"]} == {"tracks": sys.executable}


@pytest.mark.slow
def test_a_driver_that_is_killed_leaves_nothing_and_its_run_goes_on_to_the_same_bits(tmp_path: Path, env: str) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    clip = render(tmp_path)
    run_counted(clip, plain)
    abroad = {f"{slot}__env": env for slot in ("prior", "geometry", "stitch", "write")}
    driver = Driver(clip, tmp_path, own_cluster=True, prior__seconds=0.2, geometry__seconds=0.1, **abroad)
    driver.when(lambda: count(driver.events(), "segment_complete") >= 1)
    children = [row["child"] for row in driver.events() if row["event"] == "actor_ready" and "child" in row]
    assert len(children) >= 4 and all(map(is_running, children))
    assert driver.end(signal.SIGKILL) == -signal.SIGKILL
    deadline = time.monotonic() + 60
    while (left := driver.left_behind()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == [] and not any(map(is_running, children))
    run_counted(clip, tmp_path, prior__seconds=0.2, geometry__seconds=0.1, **abroad)
    assert_same(datasets(tmp_path / "out"), datasets(plain / "out"))


@pytest.mark.slow
def test_the_embedded_pipeline_gives_the_same_bits_in_children(tmp_path: Path, env: str) -> None:
    render_clip(tmp_path / "a.mp4", tmp_path / "a.gt.h5", num_frames=20, width=160, height=120)
    own = Pipeline.load("embedded", {"segment.size": 12, "segment.overlap": 6}).without(["hands"])
    foreign = own.with_settings({f"{spec.slot}.env": env for spec in own.stages})
    for name, pipe in (("own", own), ("foreign", foreign)):
        result = geoflow.run(tmp_path / "a.mp4", tmp_path / name, pipe)
        assert result.exit_status == 0 and verify_run(tmp_path / name) == []
    assert_same(datasets(tmp_path / "foreign"), datasets(tmp_path / "own"))
