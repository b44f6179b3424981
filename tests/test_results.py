"""How a run's results print: short, without the values that they hold."""

from __future__ import annotations

from geoflow.pipeline import Pipeline
from geoflow.results import RunResult, VideoResult


def test_results_print_in_a_line_each() -> None:
    done = VideoResult("a", "a.mp4", "complete", path="out/videos/a.h5", seconds=2.51, frames=90, recovered="no depth")
    again = VideoResult("b", "b.mp4", "complete", reused=True, frames=1, recovered="all 1 frames posed")
    bad = VideoResult("c.mp4", "c.mp4", "failed", "not a video")
    assert repr(done) == "VideoResult('a', complete, 90 frames, 2.5 s: no depth)"
    assert repr(again) == "VideoResult('b', complete, 1 frames, reused: all 1 frames posed)"
    assert repr(bad) == "VideoResult('c.mp4', failed: not a video)"
    result = RunResult("out", "embedded", (done, again, bad), seconds=60.0)
    assert repr(result) == "RunResult('out', 2 complete, 1 failed, pipeline embedded, 60.0 s)"


def test_a_pipeline_prints_as_its_stages() -> None:
    assert repr(Pipeline.load("embedded")).startswith("Pipeline('embedded': decode geoflow.stages.decode, ")
