"""The hands backend on annotated photos and clips: what it finds, how precisely, and at what cost.

Photos are given as videos of one frame, so that nothing is carried from one to the next; clips are one segment.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geoflow.bench.hand_truth import HandSource, read_sources
from geoflow.errors import InputError, StageError
from geoflow.evaluate.hand_scores import FoundHand, HandRow, HandScores, TrueHand, match, mean_hands, rows, summarise
from geoflow.geometry.hands.hand_sides import SIDES
from geoflow.segments import Segment, VideoInfo

if TYPE_CHECKING:
    from rich.console import Console

BACKEND, ENVIRONMENT = "embedded.mediapipe_hands", "mediapipe"
SMALL_PX = 32  # the longer side of a hand's box; below this, fingers are only a few pixels wide

# From a segment and its fields to the stage's outputs and the CPU seconds that it took.
Run = Callable[[Segment, dict[str, np.ndarray]], tuple[dict[str, np.ndarray], float]]


@dataclass
class _Counts:
    """Counts of one source: annotated hands, and hands found where there is none."""

    rows: list[HandRow] = field(default_factory=list)
    true: list[TrueHand] = field(default_factory=list)
    extra: int = 0

    def add(self, found: list[FoundHand], true: list[TrueHand], complete: bool) -> None:
        self.rows += rows(found, true)
        self.true += true
        if complete:
            self.extra += len(found) - sum(j is not None for j in match(found, true))


def bench_hands(
    folder: Path,
    *,
    boxes: Path | None,
    settings: dict[str, Any],
    here: bool,
    most_photos: int,
    longest: int,
    console: Console,
) -> dict[str, Any]:
    """Score the backend on every source of `folder`.

    The second half of each source is scored separately: parameters were chosen on the first halves only. With `here`
    the backend runs in this process, where its packages must be importable; otherwise Ray builds its environment.

    Returns {"sources": {name: scores of all, first_half, second_half}, the same for all sources together, means of the
    sources' scores, those of "baselines", and "cpu_s_per_frame"}. Raises InputError if the folder holds no annotated
    hands.
    """
    sources = read_sources(folder, boxes, most_photos=most_photos)
    if not sources:
        raise InputError(f"{folder} holds no clip with annotated hands; see geoflow/bench/hand_truth.py for the layout")
    halves: dict[str, tuple[_Counts, _Counts]] = {}
    frames, cpu_s, began = 0, 0.0, time.monotonic()
    with _runner(settings, here) as run:
        for source in sources:
            halves[source.name] = (_Counts(), _Counts())
            for i, found, true, cpu in _found_hands(source, run, longest):
                frames, cpu_s = frames + 1, cpu_s + cpu
                if true is not None:
                    halves[source.name][2 * i >= len(source.pictures)].add(found, true, source.complete)
            console.print(_line(source.name, _summary(*halves[source.name])))
    result = _scores(halves)
    for name in ("all", "first_half", "second_half"):
        console.print(_line(name, result[name]))
    result |= {"frames": frames, "cpu_s_per_frame": cpu_s / frames, "seconds": time.monotonic() - began}
    console.print(f"{frames} frames, {result['cpu_s_per_frame']:.3f} CPU s each")
    return plain(result | {"settings": settings})


def _scores(halves: dict[str, tuple[_Counts, _Counts]]) -> dict[str, Any]:
    by_source = {
        name: {"all": _summary(*both), "first_half": _summary(both[0]), "second_half": _summary(both[1])}
        for name, both in halves.items()
    }
    rows_of_all = [row for both in halves.values() for counts in both for row in counts.rows]
    true = [hand for both in halves.values() for counts in both for hand in counts.true]
    return {
        "sources": by_source,
        "all": _summary(*(counts for both in halves.values() for counts in both)),
        "first_half": _summary(*(both[0] for both in halves.values())),
        "second_half": _summary(*(both[1] for both in halves.values())),
        f"hands of {SMALL_PX} px and more": summarise([row for row in rows_of_all if row.size_px >= SMALL_PX]),
        "mean of the sources": _means([scores["all"] for scores in by_source.values()]),
        "mean of the sources, second halves": _means([scores["second_half"] for scores in by_source.values()]),
        "baselines": {
            "nothing found": summarise([HandRow(hand.size, False) for hand in true]),
            "mean hand in the true box": summarise(_mean_rows(true)),
        },
    }


def _summary(*counted: _Counts) -> HandScores:
    return summarise([row for counts in counted for row in counts.rows], sum(counts.extra for counts in counted))


def _means(scores: list[HandScores]) -> dict[str, float]:
    """Return means over the sources with something to measure: a large source counts no more than a small one."""
    columns = {name: [getattr(row, name) for row in scores if row.hands] for name in ("found", "pck", "sides")}
    known = {name: [value for value in column if math.isfinite(value)] for name, column in columns.items()}
    return {name: float(np.mean(column)) if column else math.nan for name, column in known.items()}


def _mean_rows(true: list[TrueHand]) -> list[HandRow]:
    return [row for hand, placed in zip(true, mean_hands(true)) for row in rows([placed], [hand])]


def _line(name: str, scores: HandScores) -> str:
    if not scores.hands:
        return f"{name}: no hands; {scores.extra} found"
    return (
        f"{name}: {scores.hands} hands, found {scores.found:.1%}, PCK@0.2 {scores.pck:.3f}, side {scores.sides:.1%} of "
        f"{scores.sides_told}, 3D {scores.error_mm:.1f} mm (shape {scores.aligned_mm:.1f}), {scores.extra} too many"
    )


def _found_hands(
    source: HandSource, run: Run, longest: int
) -> Iterator[tuple[int, list[FoundHand], list[TrueHand] | None, float]]:
    """Yield per frame its number, the hands found, the annotated hands, and CPU seconds."""
    loaded = [picture.load(longest) for picture in source.pictures]
    runs = [[item] for item in loaded] if source.photos else [loaded]
    number = 0
    for part in runs:
        rgb = np.stack([frame for frame, _, _ in part])
        height, width = rgb.shape[1:3]
        video = VideoInfo(source.name, str(source.name), "", len(part), source.fps, height, width, height, width)
        given = {
            "frames.rgb": rgb,
            "frames.time": np.arange(len(part)) / source.fps,
            "camera.intrinsics": np.stack([k for _, k, _ in part]).astype(np.float32),
        }
        outputs, cpu_s = run(Segment(video, 0, 0, len(part)), given)
        for i, (_, _, true) in enumerate(part):
            yield number, _hands_of(outputs, i), true, cpu_s / len(part)
            number += 1


def _hands_of(outputs: dict[str, np.ndarray], i: int) -> list[FoundHand]:
    return [
        FoundHand(side, outputs[f"hands.{side}.uv"][i].astype(float), outputs[f"hands.{side}.joints"][i].astype(float))
        for side in SIDES
        if outputs[f"hands.{side}.valid"][i]
    ]


@contextmanager
def _runner(settings: dict[str, Any], here: bool) -> Iterator[Run]:
    from geoflow.backends.loading import load, make_params

    stage = load(BACKEND)
    params = make_params(stage, settings, slot=stage.slot)
    if not here:
        with _in_environment({row.name: getattr(params, row.name) for row in dataclasses.fields(params)}) as run:
            yield run
        return
    worker = stage(params)
    worker.setup()

    def run_here(segment: Segment, given: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], float]:
        began = time.process_time()
        return worker.process(segment, given), time.process_time() - began

    yield run_here
    worker.teardown()


@contextmanager
def _in_environment(params: dict[str, Any]) -> Iterator[Run]:
    """Start an actor in the backend's own environment, as in a run of a pipeline."""
    import ray

    from geoflow.backends.loading import load
    from geoflow.cluster.session import ray_cluster
    from geoflow.engine.actor.wire import pack, unpack
    from geoflow.engine.actor.worker import StageWorker
    from geoflow.engine.calls import Part, ask, make_jobs, read_answer
    from geoflow.environments.environment import load_runtime_env

    outputs = load(BACKEND).outputs

    with ray_cluster():
        actor = ray.remote(StageWorker).options(runtime_env=load_runtime_env(ENVIRONMENT), num_cpus=1)
        worker = actor.remote(BACKEND, params, 1)
        loaded = ray.get(worker.load.remote())
        if loaded.failure is not None:
            raise StageError(loaded.failure.message)

        def run(segment: Segment, given: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], float]:
            parts = {name: Part(ray.put(pack(array))) for name, array in given.items()}
            jobs, objects = make_jobs([(segment, parts, 0, None)])
            call = worker.process.options(num_returns=1 + len(outputs)).remote(ask(jobs, None), *objects)
            answered, *arrays = ray.get(call)
            (outcome,) = read_answer(answered)
            if outcome.failure is not None:
                raise StageError(outcome.failure.traceback)
            return {name: unpack(array) for name, array in zip(outputs, arrays)}, outcome.cpu_seconds

        yield run
        ray.kill(worker)


def plain(value: Any) -> Any:
    """Return plain values for JSON: scores as dictionaries, null if it could not be measured, four digits."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value
