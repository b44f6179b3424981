"""The comparison of two stores or two runs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from geoflow.comparison.differences import contents, setting_differences
from geoflow.comparison.each_other import between
from geoflow.comparison.found import Between, Comparison, RunComparison
from geoflow.errors import InputError
from geoflow.evaluate import Scores, evaluate_store
from geoflow.evaluate.prediction import Prediction
from geoflow.store.mirror import is_run
from geoflow.store.opening import copied
from geoflow.store.reader import Video, open_video
from geoflow.store.run import Run, load_run

Comparable = str | os.PathLike[str] | Video | Run
_SAME_SHAPE = 0.05  # of width over height; sizes in round numbers of pixels differ by less
_TRUTH = ".gt.h5"  # `geoflow synth` writes it beside the video


def compare(a: Comparable, b: Comparable, *, gt: str | os.PathLike[str] | None = None) -> Comparison | RunComparison:
    """Compare two stores, or two runs video by video: settings that differ, what each holds, statistics, scores.

    a, b: paths, or what `geoflow.open` and `geoflow.load_run` return. With the ground truth `gt` both are scored
    against it; for runs it is a folder with `<name>.gt.h5`. In any case A is held against B: depth ratio and AbsRel
    per branch, ATE of the camera path. If that means nothing, or may mean nothing, a note says why.

    Raises InputError if one is a store and the other a run, or if the truth is missing or of another clip; StoreError
    if a store or run cannot be read.
    """
    first, second = _address(a), _address(b)
    if is_run(first) != is_run(second):
        raise InputError(f"{first} and {second} are a store and a run; compare two stores, or two runs")
    if is_run(first):
        return _compare_runs(first, second, None if gt is None else Path(gt))
    return _compare_stores(first, second, None if gt is None else Path(gt))


def _address(given: Comparable) -> str:
    if isinstance(given, Run):
        return str(given.paths.home)
    return str(given.path) if isinstance(given, Video) else os.fspath(given)


def _compare_runs(a: str, b: str, gt: Path | None) -> RunComparison:
    runs = load_run(a), load_run(b)
    complete = [{row["name"]: row["path"] for row in run.index if row["status"] == "complete"} for run in runs]
    both = [name for name in complete[0] if name in complete[1]]
    truths = _truths(gt, both)
    videos = {}
    for name in both:
        first, second = (str(run.paths.whole(paths[name])) for run, paths in zip(runs, complete))
        lacking = "" if gt is None else f"no {name}{_TRUTH} in {gt}"
        videos[name] = _compare_stores(first, second, truths.get(name), lacking)
    failures = [run.failures for run in runs]
    return RunComparison(
        str(runs[0].paths.home),
        str(runs[1].paths.home),
        videos,
        tuple(name for name in complete[0] if name not in complete[1]),
        tuple(name for name in complete[1] if name not in complete[0]),
        {name: (failures[0].get(name), failures[1].get(name)) for name in {**failures[0], **failures[1]}},
    )


def _truths(gt: Path | None, names: list[str]) -> dict[str, Path]:
    """Return the truth of each video that has one. Raises InputError if there is none at all."""
    if gt is None:
        return {}
    if gt.is_file() and len(names) == 1:
        return {names[0]: gt}
    found = {name: path for name in names if (path := gt / f"{name}{_TRUTH}").is_file()}
    if not found:
        raise InputError(f"{gt} holds no ground truth; for runs, give a folder with <name>{_TRUTH} of their videos")
    return found


def _compare_stores(a: str, b: str, gt: Path | None, without_truth: str = "") -> Comparison:
    with copied(a) as path_a, copied(b) as path_b, open_video(path_a) as first, open_video(path_b) as second:
        fields, statistics = contents(first, second)
        settings = setting_differences(first, second)
        notes = [without_truth] if without_truth and gt is None else []
        scores: tuple[Scores, Scores] | None = None
        if gt is not None:
            scores = evaluate_store(path_a, gt), evaluate_store(path_b, gt)
        held, why = _against_each_other(first, second)
        return Comparison(a, b, settings, fields, statistics, scores, held, (*notes, *why))


def _against_each_other(a: Video, b: Video) -> tuple[Between | None, list[str]]:
    """Return the scores of A against B, or None; and sentences on why there are none, or how far to believe them."""
    doubt = _doubt(a, b)
    if doubt and not np.array_equal(a.frame_index, b.frame_index):
        return None, [f"{doubt} and they hold other frames, so that they are not held against each other"]
    if not np.isin(a.frame_index, b.frame_index).any():
        return None, ["they hold no source frame in common, so that nothing can be held against each other"]
    if abs(a.width * b.height / (a.height * b.width) - 1) > _SAME_SHAPE:
        sizes = " and ".join(f"{video.width}x{video.height}" for video in (a, b))
        return None, [f"their pictures have different shapes ({sizes}), so that they are not held against each other"]
    with Prediction(Path(a.path)) as first, Prediction(Path(b.path)) as second:
        held = between(first, second, metric=b.metric)
    return held, [
        f"{doubt}: frames are matched by number, and figures mean something only for one film"
    ] if doubt else []


def _doubt(a: Video, b: Video) -> str:
    """Return why the two may not be of one source; "" if they are."""
    if not (a.source_sha256 and b.source_sha256):
        return "" if a.source == b.source else "one has no checksum of its source"
    return "" if a.source_sha256 == b.source_sha256 else "they were made from different files"
