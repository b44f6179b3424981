"""`geoflow.run` on real files: states, records, resuming, and what bad company does to good inputs (nothing)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import clips
import h5py
import odd_clips
import pytest
from metric_depth import WALL_M
from plain_pipeline import PLAIN

import geoflow
from geoflow.errors import InputError
from geoflow.observe.ledger import read_events
from geoflow.results import RunResult
from geoflow.store.index import read_rows
from geoflow.store.info import describe
from geoflow.store.paths import RunPaths
from geoflow.store.verify import verify_run
from geoflow.synth import render_clip

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of different size and length (one with a name to be careful with), a broken file, a bare folder."""
    folder = tmp_path_factory.mktemp("videos")
    render_clip(folder / "a.mp4", folder / "a.gt.h5", num_frames=20, width=64, height=48)
    render_clip(folder / "it's ; rm -rf ä.mp4", folder / "b.gt.h5", num_frames=9, width=48, height=64)
    (folder / "broken.mp4").write_bytes((folder / "a.mp4").read_bytes()[:2000])
    (folder / "no video here").mkdir()
    (folder / "plain.yaml").write_text(PLAIN)
    return folder


def run(folder: Path, out: Path, *names: str, **options: Any) -> RunResult:
    return geoflow.run([folder / name for name in names], out, folder / "plain.yaml", **options)


def events(out: Path) -> list[str]:
    return [row["event"] for row in read_events(RunPaths(out).events)]


def test_good_inputs_are_unharmed_by_bad_company(folder: Path, tmp_path: Path) -> None:
    names = ["a.mp4", "it's ; rm -rf ä.mp4", "broken.mp4", "no video here", "absent.mp4"]
    result = run(folder, tmp_path / "out", *names)
    assert result.exit_status == 3
    assert {Path(v.source).name: v.status for v in result.videos} == {
        "a.mp4": "complete",
        "it's ; rm -rf ä.mp4": "complete",
        "broken.mp4": "failed",
        "no video here": "failed",
        "absent.mp4": "failed",
    }
    reasons = {Path(v.source).name: v.reason for v in result.failed}
    assert "cut off" in reasons["broken.mp4"] and "copy or record it again" in reasons["broken.mp4"]
    assert "holds no video" in reasons["no video here"] and "does not exist" in reasons["absent.mp4"]
    assert verify_run(tmp_path / "out") == []
    for video, shape in zip(result.complete, [(20, 48, 64, 3), (9, 64, 48, 3)]):
        assert Path(video.path).parent == tmp_path / "out" / "videos"
        with h5py.File(video.path) as store:
            assert store["frames/rgb"].shape == shape
    loaded = geoflow.load_run(tmp_path / "out")
    assert len(loaded.videos) == 2 and len(loaded.failures) == 3
    assert [row["video"] for row in loaded.segments].count("a") == 3


def test_what_was_mended_in_a_source_is_noted(folder: Path, tmp_path: Path) -> None:
    """And frames that are found by counting are the right ones in every segment."""
    odd_clips.restamped(folder / "twice.mkv", [0, 100, 200, 300, 700, 700, 900, 1000, 1100, 1200])
    clips.write(folder / "counted.avi", 30)
    result = run(folder, tmp_path / "out", "twice.mkv", "counted.avi")
    assert result.exit_status == 0 and verify_run(tmp_path / "out") == []
    with geoflow.open(result.complete[0].path) as twice, geoflow.open(result.complete[1].path) as counted:
        assert twice.remarks == twice.notes and "The time of frame 5 of the 10 in the file" in twice.notes[0]
        assert twice.frame_time[[4, 6]].tolist() == pytest.approx([0.7, 0.9]) and 0.7 < twice.frame_time[5] < 0.9
        assert counted.notes == [] and [clips.number_of(counted.rgb(i)) for i in range(30)] == list(range(30))
        assert describe(twice)["remarks"] == twice.notes
    noted = [row for row in read_events(RunPaths(tmp_path / "out").events) if row["event"] == "video_noted"]
    assert [row["video"] for row in noted] == ["twice"]


def test_a_second_run_keeps_what_is_there(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(folder, out, "a.mp4")
    before = RunPaths(out).video("a").stat().st_mtime_ns
    again = run(folder, out, "a.mp4", "it's ; rm -rf ä.mp4")
    assert [v.reused for v in again.videos] == [True, False]
    assert RunPaths(out).video("a").stat().st_mtime_ns == before
    assert verify_run(out) == []


def test_finished_work_is_found_without_ray(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    run(folder, out, "a.mp4")
    left = RunPaths(out).parts("a") / "left by a killed run"
    left.mkdir(parents=True)
    monkeypatch.setattr("geoflow.runner.ray_cluster", lambda address: pytest.fail("Ray is started"))
    again = run(folder, out, "a.mp4", "broken.mp4")
    assert [(v.status, v.reused) for v in again.videos] == [("complete", True), ("failed", False)]
    assert not left.exists() and verify_run(out) == []
    assert events(out)[-4:] == ["run_started", "video_skipped", "video_failed", "run_finished"]


@pytest.mark.parametrize("change", [{"resume": False}, {"limit": 12}, {"settings": {"segment.size": 10}}])
def test_what_changes_the_result_is_computed_again(folder: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    out = tmp_path / "out"
    run(folder, out, "a.mp4")
    assert not run(folder, out, "a.mp4", **change).videos[0].reused
    assert verify_run(out) == []


def test_videos_of_an_earlier_run_stay_listed(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "out", "a.mp4")
    run(folder, tmp_path / "out", "it's ; rm -rf ä.mp4")
    assert len(geoflow.load_run(tmp_path / "out").videos) == 2


def test_another_video_of_the_same_name_does_not_replace_a_store(folder: Path, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    assert run(folder, out, "a.mp4").exit_status == 0
    store = out / "videos" / "a.h5"
    before = store.read_bytes()
    elsewhere.mkdir()
    render_clip(elsewhere / "a.mp4", tmp_path / "other.gt.h5", num_frames=9, width=48, height=64)
    for resume in (True, False):
        result = run(folder, out, str(elsewhere / "a.mp4"), resume=resume)
        (failed,) = result.failed
        assert result.exit_status == 3 and f"store of another video, {folder / 'a.mp4'}" in failed.reason
        assert failed.source == str(elsewhere / "a.mp4")
        assert store.read_bytes() == before and verify_run(out) == []
    (elsewhere / "a.mp4").write_bytes((folder / "a.mp4").read_bytes())  # the same video, at another place
    assert [video.reused for video in run(folder, out, str(elsewhere / "a.mp4")).complete] == [True]


def test_reading_options_reach_the_store(folder: Path, tmp_path: Path) -> None:
    result = run(folder, tmp_path / "out", "a.mp4", fps=15.0, size=(32, 24), limit=6)
    with h5py.File(result.videos[0].path) as store:
        assert store["frames/rgb"].shape == (6, 24, 32, 3)
        assert list(store["frames/index"]) == [0, 2, 4, 6, 8, 10]
        assert store.attrs["fps"] == pytest.approx(15.0)


def test_metres_stay_metres_down_to_the_index(folder: Path, tmp_path: Path) -> None:
    stage = "  - {slot: geometry, backend: metric_depth:MetricDepth, num_cpus: 0.5}\n  - {slot: stitch"
    (tmp_path / "metric.yaml").write_text(PLAIN.replace("  - {slot: stitch", stage))
    result = geoflow.run(folder / "a.mp4", tmp_path / "out", tmp_path / "metric.yaml")
    with geoflow.open(result.complete[0].path) as video:
        assert video.metric and (video.depth[3] == WALL_M).all()
        assert video.pipeline["stages"][1]["metric"] is True
    (row,) = read_rows(RunPaths(tmp_path / "out").index)
    assert row["metric"] is True and verify_run(tmp_path / "out") == []


def test_nothing_to_do_is_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no video"):
        run(folder, tmp_path / "out", "no video here")


def test_the_ledger_tells_the_story(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "out", "a.mp4", "broken.mp4")
    story = events(tmp_path / "out")
    assert story[0] == "run_started" and story[-1] == "run_finished"
    assert story.count("video_complete") == 1 and story.count("video_failed") == 1
    assert story.count("segment_complete") == 3


def test_a_disk_that_refuses_costs_the_video_not_the_run(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ".work").write_text("a file where the parts should go")
    result = run(folder, out, "a.mp4")
    assert result.exit_status == 3
    assert ".work" in result.videos[0].reason
    assert not list((out / "videos").iterdir())
