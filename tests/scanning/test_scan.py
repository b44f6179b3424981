"""A scan of clips that are marked with what is wrong with them, and of one with which nothing is."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import marked_clips
import numpy as np
import pytest

from geoflow.errors import ConfigError, InputError
from geoflow.scanning import ScannedVideo, scan_inputs
from geoflow.scanning.fitness import ScanParams
from geoflow.scanning.scan import scan_items
from geoflow.scanning.scan_table import COLUMNS, as_values, render_scan, write_scan
from geoflow.store.index import read_rows
from geoflow.video.inputs import Input, expand_inputs
from geoflow.video.options import ReadOptions
from geoflow.video.probing_process import Answer

SMALL = (160, 120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marked")
    frames = marked_clips.film(0, 24, size=SMALL)
    marked_clips.save(folder / "good.mp4", frames)
    marked_clips.save(folder / "small.mp4", frames[4:], size=(112, 84), crf=28)
    marked_clips.save(folder / "still.mp4", marked_clips.at_rest(frames[::-1, :, ::-1]))
    marked_clips.save(folder / "dark.mp4", marked_clips.dark(frames))
    marked_clips.save(folder / "blown.mp4", marked_clips.blown(frames))
    marked_clips.save(folder / "blurred.mp4", marked_clips.blurred(frames[:, ::-1]))
    marked_clips.save(folder / "one.mp4", 255 - frames[:1])
    (folder / "broken.mp4").write_bytes((folder / "good.mp4").read_bytes()[:9000])
    return folder


@pytest.fixture(scope="module")
def scanned(folder: Path) -> list[ScannedVideo]:
    return scan_inputs([folder, folder / "absent.mp4"])


def test_each_clip_is_found_to_be_what_it_is_marked_as(scanned: list[ScannedVideo]) -> None:
    found = {Path(video.source).stem: [finding.kind for finding in video.findings] for video in scanned}
    assert "dark" in found.pop("dark") and "short" in found.pop("one")
    assert found == {
        "good": [],
        "small": ["duplicate"],
        "still": ["still"],
        "blown": ["blown"],
        "blurred": ["blurred"],
        "broken": ["broken"],
        "absent": ["broken"],
    }
    assert {video.name: video.verdict for video in scanned if video.verdict == "fit"} == {"good": "fit", "still": "fit"}


def test_a_broken_file_is_named_with_the_reason_that_a_run_would_give(scanned: list[ScannedVideo]) -> None:
    reasons = {Path(video.source).stem: video.reason for video in scanned if video.is_broken}
    assert reasons.keys() == {"broken", "absent"}
    assert "cut off" in reasons["broken"] and "copy or record it again" in reasons["broken"]
    assert reasons["absent"] == "broken: does not exist; check the path"


def test_of_duplicates_the_longest_and_largest_is_kept(scanned: list[ScannedVideo]) -> None:
    small = next(video for video in scanned if video.name == "small")
    assert small.duplicate_of == "good" and "a part of good (1.0 s)" in small.reason


def test_what_counts_as_fit_is_the_users_choice(folder: Path) -> None:
    still, blurred = scan_inputs([folder / "still.mp4", folder / "blurred.mp4"], {"blur": 0.99, "refuse": "still"})
    assert still.verdict == "unfit" and still.unfit == ("still",)
    assert blurred.verdict == "fit" and blurred.findings == ()


def test_the_table_is_a_manifest_and_holds_every_measurement(scanned: list[ScannedVideo], tmp_path: Path) -> None:
    write_scan(tmp_path / "new" / "scan.parquet", scanned)
    rows = {row["name"]: row for row in read_rows(tmp_path / "new" / "scan.parquet")}
    assert rows.keys() == {video.name for video in scanned} and rows["good"].keys() == COLUMNS.keys()
    good = rows["good"]
    assert (good["frames"], good["width"], good["height"], good["camera"]) == (24, *SMALL, "moves")
    assert good["duration_s"] == pytest.approx(1.0) and len(good["hashes"]) == 16 and good["frames_read"] == 16
    assert rows["broken"]["frames"] is None and rows["dark"]["blur"] is None
    items, rejected = expand_inputs([tmp_path / "new" / "scan.parquet"])
    assert len(items) == len(scanned) - 1 and len(rejected) == 1  # absent.mp4


def test_plain_values_and_the_console_say_what_findings_mean(scanned: list[ScannedVideo]) -> None:
    from rich.console import Console

    found = as_values(scanned, ScanParams())
    assert (found["fit"], found["unfit"]) == (2, 7)
    assert "no depth from motion" in found["meaning"]["still"] and "cuts" not in found["meaning"]
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(render_scan(scanned))
    shown = console.export_text()
    assert "small is a duplicate: a part of good" in shown and "2 fit, 7 unfit" in shown
    assert "still: the camera is at rest throughout: no depth from motion" in shown


def test_a_table_is_written_under_the_name_of_one_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ends in \.parquet"):
        write_scan(tmp_path / "scan.csv", [])


def test_without_an_input_there_is_nothing_to_do() -> None:
    with pytest.raises(InputError, match="no input was given"):
        scan_inputs([])


def test_a_file_that_crashes_the_decoder_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child ends with the file that it could not survive; the next file has a new child."""
    from geoflow.scanning import scan

    class Child:
        numbers = itertools.count()

        def __init__(self, describe: object) -> None:
            self.number = next(self.numbers)

        def ask(self, item: Input) -> Answer:
            if item.name == "b":
                raise EOFError
            return Answer(error=InputError(f"asked child {self.number}"))

        def end(self) -> None:
            pass

    monkeypatch.setattr(scan, "ProbingProcess", Child)
    monkeypatch.setattr(scan, "cores", lambda: 1)
    items = [Input(name, f"/{name}.mp4") for name in "abc"]
    reasons = [video.reason for video in scan_items(items, ReadOptions(), ScanParams())]
    assert reasons[0] == "broken: asked child 0" and "the decoder crashed" in reasons[1]
    assert reasons[2] == "broken: asked child 1"


@pytest.mark.long
def test_precision_on_clips_of_different_scenes(tmp_path: Path) -> None:
    """Duplicates: re-encoded larger and smaller, trimmed, at half the rate, among different films of the same length;
    cuts by joining films; two strengths of blur; cameras at rest. Nothing is missed, and nothing is found where
    nothing is."""
    films = [marked_clips.film(seed, 60, motion, SMALL) for seed, motion in enumerate(("handheld", "orbit") * 2)]
    others = [marked_clips.film(seed, 36, "handheld", SMALL) for seed in (11, 12, 13)]
    expected: dict[str, set[str]] = {}

    def clip(name: str, frames: np.ndarray, *marks: str, size: tuple[int, int] | None = None, crf: int = 20) -> None:
        marked_clips.save(tmp_path / f"{name}.mp4", frames, size=size, crf=crf)
        expected[name] = {*marks}

    for k, frames in enumerate(films):
        clip(f"film{k}", frames)
    clip("smaller", films[0], "duplicate", size=(112, 84), crf=30)
    clip("trimmed", films[1][17:50], "duplicate", crf=28)
    clip("half", films[2][::2], "duplicate", size=(128, 96))  # plays at the full rate: half as long
    clip("joined", np.concatenate([others[0], others[1][:29], others[2]]), "cuts")
    for sigma in (3, 4):
        clip(f"blurred{sigma}", marked_clips.blurred(255 - films[3][::-1, ::-1], sigma), "blurred")
        films[3] = films[3][:, :, ::-1]  # so that the two are no duplicates
    clip("rest", marked_clips.at_rest(255 - films[1]), "still")
    clip("turning", marked_clips.film(21, 48, "rotate", SMALL))
    clip("tripod", marked_clips.film(22, 48, "still", SMALL), "still")
    found = {video.name: {finding.kind for finding in video.findings} for video in scan_inputs(tmp_path)}
    assert found == expected
    joined = next(video for video in scan_inputs(tmp_path / "joined.mp4"))
    assert joined.measured is not None
    assert np.allclose(joined.measured.cuts_s, np.array([36, 65]) / marked_clips.RATE)
