"""`run --skip-unfit`: what is unfit is left out and named, what is broken fails as ever, what is complete stays."""

from __future__ import annotations

from pathlib import Path

import marked_clips
import pytest
from plain_pipeline import PLAIN

import geoflow
from geoflow.errors import ConfigError, InputError
from geoflow.observe.ledger import read_events
from geoflow.scanning import ScanParams
from geoflow.scanning.leaving_out import wanted_scan, without_unfit
from geoflow.store.index import read_rows
from geoflow.store.paths import RunPaths
from geoflow.store.verify import verify_run
from geoflow.video.inputs import expand_inputs
from geoflow.video.options import ReadOptions


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    frames = marked_clips.film(0, 12, size=(96, 72))
    marked_clips.save(folder / "good.mp4", frames)
    marked_clips.save(folder / "dark.mp4", marked_clips.dark(frames))
    (folder / "broken.mp4").write_bytes((folder / "good.mp4").read_bytes()[:3000])
    (folder / "plain.yaml").write_text(PLAIN)
    return folder


def test_what_is_broken_stays_among_the_inputs(folder: Path) -> None:
    items, _ = expand_inputs([folder])
    fit, unfit = without_unfit(items, ReadOptions(), ScanParams())
    assert [item.name for item in fit] == ["broken", "good"]
    assert [video.name for video in unfit] == ["dark"] and "dark: brightness" in unfit[0].reason


def test_parameters_that_nothing_would_use_are_refused() -> None:
    assert wanted_scan(False, None) is None and wanted_scan(True, {"blur": 0.9}) == ScanParams(blur=0.9)
    with pytest.raises(ConfigError, match="add --skip-unfit"):
        wanted_scan(False, {"blur": 0.9})


def test_a_run_with_nothing_that_is_fit_writes_nothing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="every input is unfit: dark is dark: brightness"):
        geoflow.run(folder / "dark.mp4", tmp_path / "out", folder / "plain.yaml", skip_unfit=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_the_index_names_what_was_left_out_and_why(folder: Path, tmp_path: Path) -> None:
    videos, pipeline, out = (
        [folder / f"{name}.mp4" for name in ("good", "dark")],
        folder / "plain.yaml",
        tmp_path / "out",
    )
    result = geoflow.run(videos, out, pipeline, skip_unfit=True)
    assert result.exit_status == 0 and [video.name for video in result.unfit] == ["dark"]
    assert repr(result).startswith(f"RunResult({str(out)!r}, 1 complete, 0 failed, 1 unfit")
    paths = RunPaths(out)
    rows = {row["name"]: row for row in read_rows(paths.index)}
    assert {name: row["status"] for name, row in rows.items()} == {"good": "complete", "dark": "unfit"}
    assert "dark: brightness" in rows["dark"]["reason"] and not rows["dark"]["path"]
    assert [row["video"] for row in read_events(paths.events) if row["event"] == "video_unfit"] == ["dark"]
    assert verify_run(out) == []

    # Without the look it is processed; with it again, its complete store stays what the index says it is.
    assert len(geoflow.run(videos, out, pipeline).complete) == 2
    again = geoflow.run(videos, out, pipeline, skip_unfit=True)
    assert [video.name for video in again.unfit] == ["dark"] and again.complete[0].reused
    assert {row["name"]: row["status"] for row in read_rows(paths.index)} == {"good": "complete", "dark": "complete"}
    assert verify_run(out) == []

    result = geoflow.run([*videos, folder / "broken.mp4"], out, pipeline, skip_unfit=True)
    assert result.exit_status == 3 and [video.name for video in result.failed] == ["broken"]
