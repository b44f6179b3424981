"""The engine bench: bounds against small cases by hand, workloads, figures from a trace, and one run for real."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from geoflow.bench.engine import bounds, engine_bench, geoflow_engine
from geoflow.bench.engine.engine_bench import FIGURES, bench_engines, summarise
from geoflow.bench.engine.engine_figures import times_of
from geoflow.bench.engine.engine_table import markdown, render
from geoflow.bench.engine.engines import ENGINES, Engine, engine
from geoflow.bench.engine.measure import growth, idle_share, measure
from geoflow.bench.engine.plot import draw
from geoflow.bench.engine.sleeper import Sleeper, read_trace
from geoflow.bench.engine.workloads import WORKLOADS, SleepStage, Workload, workload
from geoflow.engine.graph import Graph
from geoflow.errors import ConfigError


def chain(*seconds: float, items: int = 4, gpus: int = 2) -> Workload:
    names = "abc"[: len(seconds)]
    last = len(seconds) - 1
    stages = tuple(
        SleepStage(n, 0.5, s, (names[i - 1],) if i else (), 8 if i < last else 0)
        for i, (n, s) in enumerate(zip(names, seconds))
    )
    return Workload("chain", stages, items, gpus=gpus, load_seconds=0.0)


# Bounds


def test_fluid_counts_each_stage_by_its_share() -> None:
    assert bounds.fluid(chain(1.0, 2.0)) == pytest.approx(4 * (0.5 * 1 + 0.5 * 2) / 2)


def test_spread_keeps_the_mean_and_so_the_fluid_bound() -> None:
    even, spread = WORKLOADS["skewed"], WORKLOADS["skewed"].factor
    factors = np.array([spread(item) for item in range(even.items)])
    assert factors.mean() == pytest.approx(1)
    assert 2 < factors.max() / factors.min() <= 4
    assert bounds.fluid(even) == pytest.approx(60 * (0.25 * 40 + 0.5 * 160 + 0.5 * 720 + 0.25 * 60 + 0.25 * 40) / 4000)


def test_one_worker_each_is_a_production_line() -> None:
    # The first item leaves after 1 + 2 s, the others 2 s apart.
    found = bounds.simulate(chain(1.0, 2.0), {"a": 1, "b": 1})
    assert found == bounds.Schedule(makespan=9.0, first_output=3.0)


def test_two_workers_take_items_in_turns() -> None:
    # a ends items at 1, 2, 3, 4; b's two workers take them at 1, 2, 3, 4 and end at 3, 4, 5, 6.
    assert bounds.simulate(chain(1.0, 2.0), {"a": 1, "b": 2}).makespan == pytest.approx(6)


def test_a_join_waits_for_its_slower_branch() -> None:
    stages = (
        SleepStage("s", 0.5, 1.0),
        SleepStage("l", 0.5, 1.0, ("s",)),
        SleepStage("r", 0.5, 3.0, ("s",)),
        SleepStage("j", 0.5, 1.0, ("l", "r")),
    )
    found = bounds.simulate(Workload("fork", stages, items=2), dict.fromkeys("slrj", 1))
    assert found == bounds.Schedule(makespan=8.0, first_output=5.0)  # r ends at 4 and 7


def test_best_pools_fill_the_gpus_where_it_helps() -> None:
    # Four workers of half a GPU: three on the slow stage keep up with one on the quick one.
    assert bounds.best_pools(chain(1.0, 3.0, items=30)) == {"a": 1, "b": 3}


def test_best_pools_are_as_good_as_any_other() -> None:
    load = chain(1.0, 1.5, 0.5, items=9, gpus=3)
    every = [
        {"a": a, "b": b, "c": c} for a in range(1, 5) for b in range(1, 5) for c in range(1, 5) if (a + b + c) / 2 <= 3
    ]
    best = bounds.simulate(load, bounds.best_pools(load)).makespan
    assert best == pytest.approx(min(bounds.simulate(load, pools).makespan for pools in every))


@pytest.mark.parametrize("name", WORKLOADS)
def test_no_schedule_beats_the_fluid_bound(name: str) -> None:
    load = WORKLOADS[name]
    assert bounds.simulate(load, bounds.best_pools(load)).makespan >= bounds.fluid(load)


def test_balanced_has_the_bounds_worked_out_by_hand() -> None:
    load = WORKLOADS["balanced"]
    assert bounds.fluid(load) == pytest.approx(2.625)
    # b's last of three workers begins at 3 x 40 ms and does 20 items of 160 ms; c, d and e add 220 ms to the last.
    assert bounds.simulate(load, bounds.best_pools(load)).makespan == pytest.approx(0.12 + 20 * 0.16 + 0.22)


# Workloads


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_survives_json(name: str) -> None:
    assert Workload.from_json(WORKLOADS[name].to_json()) == WORKLOADS[name]


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_pipelines_graph_is_the_workloads(name: str) -> None:
    load = WORKLOADS[name]
    pipe = geoflow_engine.pipeline_of(load, None, "trace", 0.25)
    graph = Graph.build([(spec.slot, spec.make_stage(), spec.optional) for spec in pipe.stages])
    for stage, node in zip(load.stages, graph.steps):
        assert tuple(graph.steps[parent].slot for parent in node.sources.values() if parent >= 0) == stage.after


@pytest.mark.parametrize("name", WORKLOADS)
def test_on_equal_terms_no_more_models_live_on_a_gpu_than_its_shares_allow(name: str) -> None:
    load = WORKLOADS[name]
    equal = geoflow_engine.pipeline_of(load, None, "trace", 0.25)
    assert [spec.gpu_memory for spec in equal.stages] == [stage.gpus for stage in load.stages]
    own = geoflow_engine.pipeline_of(load, None, "trace", 0.25, resident=True)
    assert {spec.gpu_memory for spec in own.stages} == {0.1}


def test_what_a_chain_carries_along() -> None:
    dag = WORKLOADS["dag"]
    names = [stage.name for stage in dag.stages]
    assert dag.read_later(names.index("prior")) == ("decode", "prior")  # camera still needs decode
    assert dag.read_later(names.index("camera")) == ("geometry", "camera")
    assert dag.read_later(names.index("join")) == ()


def test_wrong_workloads_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"b reads \['x'\], which no stage above it makes"):
        Workload("w", (SleepStage("a", 1, 1), SleepStage("b", 1, 1, ("x",))), items=1)
    with pytest.raises(ConfigError, match="should start and end with one stage"):
        Workload("w", (SleepStage("a", 1, 1), SleepStage("b", 1, 1)), items=1)
    with pytest.raises(ConfigError, match=r"unknown workload 'x'; the workloads are: balanced"):
        workload("x")
    with pytest.raises(ConfigError, match=r"unknown engine 'x'; the engines are: geoflow"):
        engine("x")


# Work and figures


def test_a_sleeper_works_and_notes_when(tmp_path: Path) -> None:
    load = chain(0.0, 0.02)
    first, last = (Sleeper(load, name, str(tmp_path / "trace")) for name in "ab")
    made = first.work(3, [])
    assert made.nbytes == 8
    assert last.work(3, [made]).nbytes == 0
    with pytest.raises(ValueError, match="b got 4 bytes from a, expected 8 of ones"):
        last.work(3, [made[:4]])
    rows = read_trace(tmp_path / "trace")
    assert [(what, stage) for what, stage, *_ in rows] == [("up", "a"), ("up", "b"), ("3", "a"), ("3", "b")]
    assert rows[3][4] - rows[3][3] >= 0.02


def test_times_of_a_run() -> None:
    load = chain(1.0, 1.0, items=2)
    rows = [
        ("up", "a", 1, 10.0, 11.0),
        ("0", "a", 1, 11.0, 12.0),
        ("up", "b", 2, 10.0, 12.0),
        ("1", "a", 1, 12.0, 13.0),
        ("0", "b", 2, 12.0, 13.0),
        ("1", "b", 2, 13.0, 14.0),
    ]
    found = times_of(load, rows, clock=9.0)
    assert (found.startup, found.first_output, found.makespan) == (3.0, 4.0, 5.0)
    assert found.early == pytest.approx(0.25)  # one call of four was over before b was up
    assert found.steady == pytest.approx(2 + 0.25 * bounds.fluid(load))
    assert found.delivered == 2


def test_workers_that_came_later_do_not_move_the_start() -> None:
    load = chain(1.0, items=2)
    rows = [("up", "a", 1, 0.0, 1.0), ("0", "a", 1, 1.0, 2.0), ("up", "a", 2, 2.5, 2.8), ("1", "a", 1, 2.0, 3.0)]
    assert times_of(load, rows, clock=0.0).startup == 1.0


def test_stage_by_stage_the_loading_between_is_not_steady() -> None:
    load = chain(1.0, 1.0, items=1)
    rows = [("up", "a", 1, 0.0, 1.0), ("0", "a", 1, 1.0, 2.0), ("up", "b", 2, 5.0, 7.0), ("0", "b", 2, 7.0, 8.0)]
    found = times_of(load, rows, clock=0.0, phased=True)
    assert (found.startup, found.steady, found.makespan) == pytest.approx((6.0, 2.0, 8.0))


def test_where_nothing_takes_time_early_calls_are_charged_at_the_pace_of_the_others() -> None:
    load = chain(0.0, items=4)
    rows = [("0", "a", 1, 0.5, 0.5), ("up", "a", 2, 0.0, 1.0), *((str(i), "a", 1, i + 1.0, i + 1.0) for i in (1, 2, 3))]
    found = times_of(load, rows, clock=0.0)
    assert found.early == 0.25
    assert found.steady == pytest.approx(4.0)  # three calls in 3 s


def test_a_run_without_output_has_no_times() -> None:
    assert times_of(chain(1.0), [], clock=0.0).makespan is None


def test_idle_share_needs_two_samples() -> None:
    assert idle_share([(1.0, 5, 10)], 0.0, 2.0) is None
    assert idle_share([(0.5, 0, 0), (1.5, 5, 20)], 0.0, 2.0) == 0.25


def test_a_count_between_samples_is_interpolated_and_never_made_up() -> None:
    samples = [(0.0, 0.0), (1.0, 10.0), (3.0, 30.0)]
    assert growth(samples, 0.5, 2.0) == 15.0
    assert growth(samples, 0.5, 4.0) is None and growth([], 0.0, 1.0) is None


def row(name: str, steady: float | None) -> dict[str, object]:
    one = dict.fromkeys(FIGURES, 1.0) | {"steady": steady, "error": "" if steady else "broke", "delivered": 4}
    if steady is None:
        one |= {"makespan": None, "startup": None}
    return summarise(chain(1.0, 2.0), ENGINES[name], {"a": 1, "b": 2}, [one])


def test_a_row_is_the_median_of_the_runs_that_went_well() -> None:
    base = dict.fromkeys(FIGURES, 1.0)
    runs = [{**base, "steady": value, "error": ""} for value in (3.0, 9.0, 6.0)]
    runs.append({**base, "steady": 100.0, "error": "broke"})
    found = summarise(chain(1.0, 2.0), ENGINES["geoflow"], {"a": 1, "b": 2}, runs)
    assert found["steady"] == 6.0
    assert found["to_sim"] == pytest.approx(6.0 / 6.0)
    assert found["to_fluid"] == pytest.approx(6.0 / 3.0)
    assert found["failed_runs"] == 1


def test_table_and_picture_show_runs_that_failed() -> None:
    rows = [row("geoflow", 6.5), row("xenna", None)]
    assert render(rows).row_count == 3  # the workload's heading and two engines
    picture = ElementTree.fromstring(draw(rows))
    assert "no result" in "".join(picture.itertext())
    assert json.dumps(rows)


def test_the_table_for_a_page_names_what_failed_and_leaves_empty_what_was_not_measured() -> None:
    lines = markdown([row("geoflow", 6.5), row("plain", None)]).splitlines()
    assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1
    cells = [cell.strip() for cell in lines[2].split("|")]
    assert cells[1:3] == ["chain, fluid 3.00 s", "`geoflow`"] and "2.17" in cells
    assert "`plain` (1 of 1 runs failed)" in lines[3]


def test_a_run_that_was_kept_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def measured(e: Engine, load: Workload, *args: object, **more: object) -> dict[str, object]:
        done.append(f"{load.name} {e.name}")
        return dict.fromkeys(FIGURES, 1.0) | {"steady": 2.0 + len(done), "error": ""}

    monkeypatch.setattr(engine_bench, "measure", measured)
    settings = {"engines": ["plain", "geoflow"], "console": Console(quiet=True)}
    bench_engines(tmp_path, workloads=["balanced"], runs=1, **settings)  # type: ignore[arg-type]
    bench_engines(tmp_path, workloads=["balanced"], runs=2, **settings)  # type: ignore[arg-type]
    found = bench_engines(tmp_path, workloads=["dag"], runs=1, **settings)  # type: ignore[arg-type]
    assert done == ["balanced plain", "balanced geoflow"] * 2 + ["dag plain", "dag geoflow"]
    assert [(one["workload"], one["engine"], len(one["runs"])) for one in found["rows"]] == [
        ("balanced", "geoflow", 2),
        ("balanced", "plain", 2),
        ("dag", "geoflow", 1),
        ("dag", "plain", 1),
    ]
    assert found["rows"][0]["steady"] == (4.0 + 6.0) / 2
    bench_engines(tmp_path, workloads=["dag"], runs=1, fresh=True, **settings)  # type: ignore[arg-type]
    assert len(done) == 8


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_has_its_module(name: str) -> None:
    assert importlib.util.find_spec(ENGINES[name].module) is not None


@pytest.mark.slow
@pytest.mark.ray
def test_geoflow_delivers_every_item_also_when_killed_half_way(tmp_path: Path) -> None:
    load = dataclasses.replace(chain(0.05, 0.1, items=12), killed_at=0.5)
    found = measure(
        engine("geoflow-fixed"), load, {"a": 1, "b": 1}, python=sys.executable, timeout=240, log=tmp_path / "log"
    )
    assert found["error"] == "", (tmp_path / "log").read_text()[-2000:]
    assert found["delivered"] == 12
    assert found["repeated"] <= 2, "beyond what had just ended when it was killed"
    assert found["makespan"] >= found["first_output"] > 0
    assert found["private_mb"] > 10
    assert found["spilled_mb"] == 0


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("name", ["plain", "plain-batch"])
def test_the_plain_executor_delivers_every_item_of_a_dag(tmp_path: Path, name: str) -> None:
    stages = (
        SleepStage("s", 0.25, 0.0, (), 8),
        SleepStage("l", 0.25, 0.01, ("s",), 8),
        SleepStage("r", 0.25, 0.0, ("s",), 8),
        SleepStage("j", 0.25, 0.0, ("l", "r")),
    )
    load = Workload("fork", stages, items=7, load_seconds=0.0, batch=3)
    found = measure(
        engine(name), load, dict.fromkeys("slrj", 1), python=sys.executable, timeout=240, log=tmp_path / "log"
    )
    assert found["error"] == "", (tmp_path / "log").read_text()[-2000:]
    assert found["delivered"] == 7 and found["repeated"] == 0
