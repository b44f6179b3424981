"""`geoflow demo`: render a clip with exactly known truth, run the pipeline on it, score it and write the report."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geoflow.errors import ConfigError
from geoflow.pipeline import Pipeline
from geoflow.results import RunResult
from geoflow.runner import run
from geoflow.store.mirror import run_paths
from geoflow.store.whole import write_whole
from geoflow.values.plain import text, whole
from geoflow.video.options import ReadOptions

if TYPE_CHECKING:
    from rich.console import Console

    from geoflow.evaluate import Scores


@dataclass(frozen=True)
class DemoResult:
    """A demo's run, its scores (None if the run failed) and its report."""

    run: RunResult
    scores: Scores | None
    report: Path

    def to_dict(self) -> dict[str, Any]:
        scores = self.scores.to_dict() if self.scores else None
        return {**self.run.to_dict(), "scores": scores, "report": str(self.report)}


def demo(
    out: str | Path,
    *,
    pipeline: str | Pipeline = "embedded",
    num_frames: int = 150,
    size: tuple[int, int] = (320, 240),
    seed: int = 0,
    resume: bool = True,
    settings: dict[str, Any] | None = None,
    address: str | None = None,
    console: Console | None = None,
) -> DemoResult:
    """Render a clip into `out/clip`, run the pipeline on it, score it, and write scores.json and report.html.

    The clip is rendered again only if its settings have changed.
    """
    from geoflow.evaluate import evaluate_store
    from geoflow.report import write_report
    from geoflow.synth import render_clip

    paths = run_paths(text(out, "out"))
    pipe = pipeline if isinstance(pipeline, Pipeline) else Pipeline.load(pipeline)
    pipe = pipe.with_settings({} if settings is None else settings)
    width, height = ReadOptions(size=size).size or (320, 240)
    num_frames, seed = whole(num_frames, "num_frames"), whole(seed, "seed")
    if paths.remote:
        raise ConfigError(f"-o {out}: the demo works on this machine only; name a local folder")
    name = f"demo_{width}x{height}_{num_frames}_{seed}"
    video, truth = paths.root / "clip" / f"{name}.mp4", paths.root / "clip" / f"{name}.gt.h5"
    if not (video.is_file() and truth.is_file()):
        if console:
            console.print(f"rendering {num_frames} frames of a synthetic room with exact ground truth")
        video.parent.mkdir(parents=True, exist_ok=True)
        render_clip(video, truth, num_frames=num_frames, width=width, height=height, seed=seed)
    pipe = _with_true_queries(pipe, truth)
    result = run(video, out, pipe, resume=resume, address=address, console=console)
    scores = None
    if result.complete:
        scores = evaluate_store(result.complete[0].path, truth)
        write_whole(paths.scores, json.dumps({result.complete[0].name: scores.to_dict()}, indent=1).encode())
    return DemoResult(result, scores, Path(write_report(paths.root)))


def _with_true_queries(pipe: Pipeline, truth: Path) -> Pipeline:
    """Return the pipeline, asked to follow the truth's own points too, so that its tracks can be held to them.

    Each begins in the first frame that sees it. Nothing changes without a tracks stage that takes such points, or if
    the user asks for other ones.
    """
    from geoflow.synth import load_ground_truth

    stages = [spec.make_stage() for spec in pipe.stages if spec.slot == "tracks"]
    if not stages or getattr(stages[0].params, "queries", None) != "":
        return pipe
    with contextlib.closing(load_ground_truth(truth)) as known:
        if known.tracks is None:
            return pipe
        visible, uv = known.tracks.visible, known.tracks.uv
    seen = np.flatnonzero(visible.any(0))
    first = visible[:, seen].argmax(0)
    rows = np.column_stack([first, uv[first, seen]])
    lines = ["frame,x,y", *(f"{frame:.0f},{x:.3f},{y:.3f}" for frame, x, y in rows)]
    path = truth.with_suffix(".queries.csv")
    write_whole(path, ("\n".join(lines) + "\n").encode())
    return pipe.with_setting("tracks.queries", str(path))
