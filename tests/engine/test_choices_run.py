"""Runs that choose a stream or pictures: the choice is part of what is finished, and how a source was read is said."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import clips
import pytest
from chosen_clips import several, write_picture
from plain_pipeline import PLAIN
from rich.console import Console

import geoflow
from geoflow.store.paths import RunPaths

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def pipeline(folder: Path) -> Path:
    (folder / "plain.yaml").write_text(PLAIN.replace("rgb: true", "rgb: false"))
    return folder / "plain.yaml"


def run(source: Path, out: Path, **options: Any) -> tuple[list[int], list[str], str, bool]:
    """Numbers of two frames, which the store reads from its source; its notes; what was printed; if it was reused."""
    printed = io.StringIO()
    result = geoflow.run(source, out, pipeline(out.parent), console=Console(file=printed, width=400), **options)
    assert result.exit_status == 0, result.failed
    with geoflow.open(RunPaths(out).video(result.videos[0].name)) as video:
        numbers = [clips.number_of(video.rgb(i)) for i in (0, 2)]
        return numbers, video.notes, printed.getvalue(), result.videos[0].reused


def test_another_stream_is_computed_anew(tmp_path: Path) -> None:
    source = several(tmp_path / "two.mkv", [(64, 48), (128, 96)], [0, 0], [8, 8])
    numbers, notes, printed, _ = run(source, tmp_path / "out")
    assert numbers == [10, 12] and "1 is read, the largest" in notes[0] and notes[0] in printed
    numbers, notes, printed, reused = run(source, tmp_path / "out", stream=0)
    assert numbers == [0, 2] and notes == [] and not reused
    assert run(source, tmp_path / "out", stream=0)[3]


def test_other_pictures_are_computed_anew(tmp_path: Path) -> None:
    folder = tmp_path / "scene"
    folder.mkdir()
    for k in range(8):
        write_picture(folder / f"left_{k}.png", k)
        write_picture(folder / f"right_{k}.png", k + 20)
    (failed,) = geoflow.run(folder, tmp_path / "none", pipeline(tmp_path), console=Console(file=io.StringIO())).failed
    assert "cannot be one film" in failed.reason and "--pattern 'left_*'" in failed.reason
    assert run(folder, tmp_path / "out", pattern="left_*")[0] == [0, 2]
    numbers, _, _, reused = run(folder, tmp_path / "out", pattern="right_*")
    assert numbers == [20, 22] and not reused
    assert run(folder, tmp_path / "out", pattern="right_*")[3]
