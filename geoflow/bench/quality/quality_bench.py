"""`geoflow bench quality`: clips of different character are run, and `quality` is held against their true errors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import geoflow
from geoflow.bench.quality.made_clips import MADE, make
from geoflow.bench.quality.real_clips import PARTS, cut
from geoflow.curation.filling import fill_quality, own_frames
from geoflow.errors import InputError
from geoflow.evaluate import evaluate_store
from geoflow.pipeline import Pipeline
from geoflow.quality.quality_columns import QUALITY_COLUMNS
from geoflow.store.index import read_rows
from geoflow.store.opening import open_h5
from geoflow.store.paths import RunPaths
from geoflow.store.schema import SEGMENTS
from geoflow.store.whole import write_whole

if TYPE_CHECKING:
    from rich.console import Console

FRAMES, SIZE, REAL_SIZE = 42, (192, 144), 224  # px; two segments a clip
_SETTINGS = {"segment.size": 24, "segment.overlap": 6, "write.rgb": True}
ERRORS = ("abs_rel", "ate_percent")


def bench_quality(
    out: Path, *, clips: Path | None = None, again: bool = False, console: Console | None = None
) -> dict[str, Any]:
    """Make the clips, run the embedded pipeline on them, and compare; return the content of `out/quality.json`.

    `clips` is a folder of real clips, as `bench footage` takes it; without it there are made-up clips only. Stores that
    `out` holds already are kept; with `again` their quality is measured anew, so that a change of it needs no run.
    """
    for row in MADE:
        if not (out / "clips" / f"{row.name}.gt.h5").is_file():
            make(row, out / "clips", frames=FRAMES, width=SIZE[0], height=SIZE[1])
    sources = [out / "clips" / row.name for row in MADE]
    left_out: dict[str, str] = {}
    for part in PARTS:
        if clips is None:
            break
        try:
            if not (out / "clips" / f"{part.name}.gt.h5").is_file():
                cut(part, clips, out, frames=FRAMES, max_size=REAL_SIZE)
            sources.append(out / "clips" / part.name)
        except InputError as error:
            left_out[part.name] = str(error)
    pipeline = Pipeline.load("embedded").with_settings(_SETTINGS).without(["hands"])
    result = geoflow.run(sources, out / "run", pipeline, console=console)
    fill_quality(out / "run", again=again)
    paths = RunPaths(out / "run")
    columns = read_rows(paths.segments)
    rows = []
    for video in result.complete:
        mine = [row for row in columns if row["video"] == video.name]
        rows += _segments(Path(video.path), out / "clips" / f"{video.name}.gt.h5", mine)
    found = {
        "frames": FRAMES,
        "settings": _SETTINGS,
        "failed": {video.name: video.reason for video in result.failed},
        "left_out": left_out,
        "spearman": correlations(rows),
        "segments": rows,
    }
    write_whole(out / "quality.json", json.dumps(found, indent=1).encode())
    return found


def _segments(store: Path, truth: Path, columns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per segment: its columns of quality, and its true errors over the frames that it stores."""
    scores = evaluate_store(store, truth)
    curves = scores.curves.depth.get("geometry", {}).get("abs_rel")
    paths = scores.curves.poses.get("position_percent")
    with open_h5(store) as file:
        table, count = file[SEGMENTS][()], int(file.attrs["num_frames"])
    rows = []
    for own, held in zip(own_frames(table, count), columns):
        row = {"clip": store.stem, "segment": held["index"], "real": not any(m.name == store.stem for m in MADE)}
        row |= {"abs_rel": _mean(curves, own), "ate_percent": _root_mean_square(paths, own)}
        rows.append(row | {name: _rounded(held.get(name)) for name in QUALITY_COLUMNS})
    return rows


def _mean(curve: np.ndarray | None, own: slice) -> float | None:
    known = np.zeros(0) if curve is None else curve[own][np.isfinite(curve[own])]
    return float(f"{known.mean():.4g}") if len(known) else None


def _root_mean_square(curve: np.ndarray | None, own: slice) -> float | None:
    found = _mean(None if curve is None else curve**2, own)
    return None if found is None else float(f"{found**0.5:.4g}")


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def correlations(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return Spearman's rank correlation of quality with both errors, turned so that 1 is best, by groups of segments.

    `known` is over the segments that have this error. `all` counts those without as the worst: there quality must say
    that nothing was recovered.
    """
    halves = {name: k % 2 for k, name in enumerate(sorted({row["clip"] for row in rows}))}
    groups = {
        "everything": list(rows),
        "made": [row for row in rows if not row["real"]],
        "real": [row for row in rows if row["real"]],
        "one half of the clips": [row for row in rows if halves[row["clip"]] == 0],
        "the other half": [row for row in rows if halves[row["clip"]] == 1],
    }
    return {name: {error: _correlation(group, error) for error in ERRORS} for name, group in groups.items()}


def _correlation(rows: Sequence[dict[str, Any]], error: str) -> dict[str, Any]:
    from scipy.stats import spearmanr

    told = [row for row in rows if row["quality"] is not None]
    known = [row for row in told if row[error] is not None]
    found: dict[str, Any] = {"segments": len(told), "with_error": len(known)}
    for name, group in (("known", known), ("all", told)):
        worst = [np.inf if row[error] is None else row[error] for row in group]
        differs = len(group) > 2 and len(set(worst)) > 1  # else there is no order to agree with
        rho = spearmanr([row["quality"] for row in group], worst)[0] if differs else np.nan
        found[name] = None if not np.isfinite(rho) else round(-float(rho), 3)
    return found
