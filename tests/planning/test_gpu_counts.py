"""How many GPUs pay off: the least time by their number, as far as it falls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import clips
import pytest
from test_plan import gpu_pipeline, remember

from geoflow.planning.gpu_counts import Work, least_seconds, worthwhile
from geoflow.planning.plan import make_plan
from geoflow.planning.plan_table import summary


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoflow.planning.plan.list_gpus", list)


def plan(folder: Path, frames: int = 30, **options: Any) -> dict[str, Any]:
    clips.write(folder / "a.mp4", frames)
    return make_plan([str(folder / "a.mp4")], gpu_pipeline(folder / "half.yaml"), **options)


def test_the_least_time_is_that_of_the_last_stage_or_of_all_gpus_together() -> None:
    work = {"decode": Work(10.0, 0.0), "prior": Work(80.0, 0.5), "geometry": Work(80.0, 1.0)}
    assert least_seconds(work, {"decode": 1, "prior": 2, "geometry": 1}, segments=8, gpus=1) == 120.0
    assert least_seconds(work, {"decode": 1, "prior": 2, "geometry": 2}, segments=8, gpus=3) == 40.0
    assert least_seconds(work, {"decode": 1, "prior": 9, "geometry": 9}, segments=8, gpus=99) == 10.0
    assert least_seconds(work, {"decode": 1, "prior": 9, "geometry": 3}, segments=4, gpus=99) == 40.0, "two turns"


def test_counts_that_save_nothing_are_left_out() -> None:
    assert worthwhile({2: 60.0, 3: 59.5, 4: 40.0, 5: 41.0, 8: 39.9}) == {2: 60.0, 4: 40.0}
    assert worthwhile({}) == {}


def test_a_plan_says_where_more_gpus_stop_to_help(tmp_path: Path) -> None:
    remember(gpu_pipeline(tmp_path / "half.yaml"), decode=0.012, prior=120.0, geometry=12.0)
    found = plan(tmp_path, gpus=8)  # 42 frames with those of the seams, in 4 segments
    counts = {row["gpus"]: row["seconds"] for row in found["gpu_counts"]}
    # prior: 10 s a frame, half a GPU; a GPU holds two models, so that one has one copy of each
    assert counts[1] == pytest.approx(420.0)
    assert min(counts.values()) == pytest.approx(105.0), "one segment's time: it cannot be divided"
    assert list(counts.values()) == sorted(counts.values(), reverse=True) and max(counts) < 8
    (line,) = [line for line in summary(found) if "more do not help" in line]
    assert line.startswith("1 GPU: 7 min 0 s; 2 GPUs: ") and line.endswith("more do not help (if no GPU ever waits)")
    assert not any("nothing" in line for line in summary(found))


def test_what_was_not_measured_is_unknown_and_gpus_without_a_model_share_a_line(tmp_path: Path) -> None:
    clips.write(tmp_path / "a.mp4", 30)
    found = make_plan([str(tmp_path / "a.mp4")], "geometry", gpus=8)
    assert found["gpu_counts"] == []
    lines = summary(found)
    assert "GPUs 2 to 7 begin empty: the first segment shows how many models fit" in lines
    assert any(line.startswith("how many GPUs pay off: unknown") and "1 segment, which goes" in line for line in lines)


def test_a_pipeline_on_cpus_says_nothing_of_gpus(tmp_path: Path) -> None:
    clips.write(tmp_path / "a.mp4", 6)
    found = make_plan([str(tmp_path / "a.mp4")], gpus=8)
    assert found["gpu_counts"] == [] and not any("pay off" in line for line in summary(found))
