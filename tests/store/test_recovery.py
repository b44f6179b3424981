"""What was recovered of a video is said in one sentence: in the store, and wherever a run's end is shown."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from ledger_events import one_run
from rich.console import Console
from segment_fields import HEIGHT, Truth, fields_of, make_truth
from synthetic_store import Flaws, write_store

from geoflow.fields import MOTION_STILL
from geoflow.observe.console import ConsoleProgress
from geoflow.observe.status import fold, render_status
from geoflow.report.overview import video_table
from geoflow.stage import SegmentRecord
from geoflow.stages.stitch import Stitch
from geoflow.stages.write import Write
from geoflow.store.notes import nothing_found, read_without, without
from geoflow.store.paths import RunPaths
from geoflow.store.reader import open_video
from geoflow.store.recovery import Recovery, recovery_of
from geoflow.synth import Clip

NOTHING = Recovery(120, posed=0, depth=0.0, camera_depth=0.0, tracks=0, hands=0, segments=2, unjoined=0)
ALL = Recovery(120, posed=120, depth=0.87, camera_depth=0.6, tracks=400, hands=35, segments=2, unjoined=0)
STILL = {"the camera stood still": 120}


@pytest.mark.parametrize(
    ("recovery", "sentence", "lacking"),
    [
        (ALL, "all 120 frames posed, depth in 87 % of the pixels, 400 tracks, hands in 35 frames", ""),
        (
            replace(NOTHING, unposed=STILL),
            "nothing recovered: no frame posed, no depth, no tracks, no hands found; the camera stood still",
            "poses, depth, tracks",
        ),
        (
            replace(NOTHING, hands=1, unposed=STILL),
            "no frame posed, no depth, no tracks, hands in 1 frame; the camera stood still",
            "poses, depth, tracks",
        ),
        (
            replace(ALL, posed=48, unposed={"it was dark": 2, "the camera stood still": 69, "so": 1}, unjoined=1),
            "48 of 120 frames posed (40 %), depth in 87 % of the pixels, 400 tracks, hands in 35 frames; in 69 frames "
            "the camera stood still; in 2 frames it was dark; other reasons in 1 frame; 1 of 2 segments could "
            "not be joined to the rest",
            "poses",
        ),
        (
            replace(NOTHING, camera_tracks=12, hands=None, depth=0.5),
            "no frame posed, depth in 50 % of the pixels, 12 tracks in camera space, none in the world",
            "poses, tracks",
        ),
        (
            replace(ALL, hands=None, without={"hands": (2, "it could not run: no wheel")}),
            "all 120 frames posed, depth in 87 % of the pixels, 400 tracks; hands not computed: it could not run: "
            "no wheel",
            "hands (not computed)",
        ),
        (
            replace(ALL, hands=0, without={"hands": (1, "no")}),
            "all 120 frames posed, depth in 87 % of the pixels, 400 tracks, no hands found; hands not computed in "
            "1 of 2 segments: no",
            "hands (not computed)",
        ),
        (
            replace(ALL, posed=None, tracks=None, hands=None, depth=0.004, camera_depth=None),
            "depth in under 1 % of the pixels",
            "depth",
        ),
        (
            replace(ALL, posed=None, tracks=None, hands=None, depth=0.0),
            "no depth of the slot geometry, multi-view depth in 60 % of the pixels",
            "",
        ),
        (
            replace(NOTHING, posed=None, depth=None, camera_depth=None, tracks=None, hands=None, prior_depth=0.0),
            "nothing recovered: no depth; the prior found nothing",
            "depth",
        ),
        (
            replace(NOTHING, posed=None, depth=None, camera_depth=None, tracks=None, hands=None, prior_depth=0.5),
            "depth of each frame by itself in 50 % of the pixels",
            "",
        ),
        (
            replace(ALL, depth=0.0, camera_depth=None, prior_depth=0.5),
            "all 120 frames posed, no depth, 400 tracks, hands in 35 frames",
            "depth",
        ),
        (
            replace(ALL, doubtful=12, quality=0.4),
            "all 120 frames posed, depth in 87 % of the pixels, 400 tracks, hands in 35 frames; the poses of 12 frames "
            "are doubtful",
            "",
        ),
        (
            replace(ALL, posed=1, doubtful=1, unposed={"it was dark": 119}),
            "1 of 120 frames posed (under 1 %), depth in 87 % of the pixels, 400 tracks, hands in 35 frames; in 119 "
            "frames it was dark; the pose of 1 frame is doubtful",
            "poses",
        ),
        (Recovery(9, None, None, None, None, None, segments=1, unjoined=0), "frames only", ""),
    ],
)
def test_the_sentence(recovery: Recovery, sentence: str, lacking: str) -> None:
    assert recovery.sentence == sentence and recovery.lacking == lacking


@pytest.mark.parametrize(
    ("share", "said"), [(0.0001, "under 1 %"), (0.4, "40 %"), (0.999, "over 99 %"), (1.0, "100 %")]
)
def test_a_share_is_never_rounded_to_none_or_all(share: float, said: str) -> None:
    assert replace(ALL, depth=share).sentence.split(", ")[1] == f"depth in {said} of the pixels"


def blinded(truth: Truth, segment: int) -> dict[str, np.ndarray]:
    """The fields of a segment in which every stage found nothing."""
    fields = dict(fields_of(truth, truth.segments[segment]))
    count = len(truth.segments[segment])
    for name in ("prior.mask", "geometry.mask", "camera.valid", "hands.left.valid", "camera.depth"):
        fields[name] = np.zeros_like(fields[name])
    fields["prior.points"] = np.full_like(fields["prior.points"], np.nan)
    fields["camera.cam_from_world"] = np.full((count, 4, 4), np.nan, np.float32)
    fields["camera.motion"] = np.full(count, MOTION_STILL, np.uint8)
    for name, shape in (("xyz", (count, 0, 3)), ("visible", (count, 0)), ("uv", (count, 0, 2)), ("query", (0, 4))):
        fields[f"tracks.{name}"] = np.zeros(shape, fields[f"tracks.{name}"].dtype)
    return fields


def store(out: Path, truth: Truth, notes: dict[int, tuple[str, ...]], given: list[dict[str, np.ndarray]]) -> dict:
    """The report of the writer on a video made of these segments."""
    out.mkdir(exist_ok=True)
    stitch, write = Stitch(), Write(Write.Params(out=str(out)))
    for segment, fields in zip(truth.segments, given):
        write.process(segment, stitch.process(segment, fields))
    records = [
        SegmentRecord(s.index, s.start, s.stop, "incomplete" if notes.get(s.index) else "complete", {}, {}, note)
        for s in truth.segments
        for note in [notes.get(s.index, ())]
    ]
    return write.finish(truth.video, records)


def test_a_video_of_which_nothing_is_found_says_so_in_its_store(tmp_path: Path) -> None:
    truth = make_truth(20)
    report = store(tmp_path, truth, {}, [blinded(truth, s.index) for s in truth.segments])
    assert report["recovered"].startswith("nothing recovered: no frame posed, no depth, no tracks, no hands found; ")
    assert "the camera stood still" in report["recovered"] and report["lacking"] == "poses, depth, tracks"
    assert report["frames_posed"] == 0 and report["geometry_coverage"] == 0
    with open_video(RunPaths(tmp_path).video("clip")) as video:
        assert video.recovered == report["recovered"] and video.file.attrs["lacking"] == report["lacking"]
        for row in video.segments:
            assert json.loads(row["notes"]) == ["nothing found by camera, geometry, hands, prior, tracks"]


def test_doubtful_poses_are_counted_and_their_quality_reaches_the_index(tmp_path: Path) -> None:
    truth = make_truth(20)
    given = [dict(fields_of(truth, s)) for s in truth.segments]
    for segment, fields in zip(truth.segments, given):
        frames = np.arange(segment.start, segment.stop)
        fields["camera.quality"] = np.where(frames < 4, 0.2, 0.8).astype(np.float32)
    report = store(tmp_path, truth, {}, given)
    assert report["recovered"].endswith("; the poses of 4 frames are doubtful")
    assert report["camera_quality"] == pytest.approx(0.8)
    with open_video(RunPaths(tmp_path).video("clip")) as video:
        assert report["tracks"] == len(video.tracks) and report["notes"] == "[]"
        assert report["frames_with_hands"] == int(video.hands.left.valid.sum()) > 0


def test_what_was_not_computed_is_told_from_what_was_not_found(tmp_path: Path) -> None:
    truth = make_truth(20)
    fields = [fields_of(truth, s) for s in truth.segments]
    without_hands = [{name: a for name, a in f.items() if not name.startswith("hands")} for f in fields]
    note = (without("hands", "it could not run: no wheel\nfor this Python"),)
    gone = store(tmp_path / "gone", truth, dict.fromkeys(range(9), note), without_hands)
    assert gone["recovered"].endswith("tracks; hands not computed: it could not run: no wheel")
    assert gone["lacking"] == "hands (not computed)"
    part = store(tmp_path / "part", truth, {1: note}, [fields[0], without_hands[1], *fields[2:]])
    assert f"hands not computed in 1 of {len(truth.segments)} segments" in part["recovered"]
    none = [{**f, "hands.left.valid": np.zeros_like(f["hands.left.valid"])} for f in fields]
    assert "no hands found" in store(tmp_path / "none", truth, {}, none)["recovered"]


def test_geometry_that_is_missing_on_a_segment_does_not_count_as_covered(tmp_path: Path) -> None:
    truth = make_truth(40)
    given = [fields_of(truth, s) for s in truth.segments]
    given[2:] = [{name: a for name, a in f.items() if not name.startswith("geometry")} for f in given[2:]]
    report = store(tmp_path, truth, {}, given)
    with open_video(RunPaths(tmp_path).video("clip")) as video:
        stored = np.mean([video.mask[i].mean() for i in range(len(video))])
    assert report["geometry_coverage"] == pytest.approx(stored)
    assert 0 < stored < (HEIGHT - 2) / HEIGHT - 0.1


def test_a_store_of_an_earlier_version_is_counted_when_asked(tmp_path: Path, small_clip: Clip) -> None:
    write_store(tmp_path / "a.h5", small_clip, Flaws(drop=8))
    with open_video(tmp_path / "a.h5") as video:
        assert video.recovered.startswith("all 8 frames posed, depth in ")


def test_notes_are_read_as_they_were_written() -> None:
    notes = [without("hands", "no wheel: 0.10\nTraceback"), without("prior", "x" * 999), "nothing found by camera"]
    assert read_without(notes) == {"hands": "no wheel: 0.10", "prior": "x" * 299 + "…"}
    assert nothing_found({"hands.left.valid": (0, 9), "hands.right.valid": (2, 9), "camera.valid": (0, 9)}) == [
        "nothing found by camera"
    ]
    assert nothing_found({}) == []


SAID = {"recovered": "nothing recovered: no frame posed; the camera stood still", "lacking": "poses"}


def events() -> list[dict]:
    return [row | SAID if row["event"] == "video_complete" else row for row in one_run()]


def lines(show: object) -> str:
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(show)
    return console.export_text()


def test_status_and_console_say_it() -> None:
    status = fold(events(), lambda host, pid: True)
    assert status.videos["a"].recovered == SAID["recovered"]
    found = {
        "run": 1,
        "pipeline": "test",
        "state": "finished",
        "elapsed": 1.0,
        "eta": None,
        "share": 1.0,
        "frames_per_second": None,
        "doing": "",
        "reason": "",
        "counts": {},
        "stages": [],
        "videos": [asdict(video) for video in status.videos.values()],
    }
    assert SAID["recovered"] in lines(render_status(found))
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with ConsoleProgress(console, 2) as progress:
        for row in events():
            progress.observe(row)
        progress.observe({"time": 1011, "event": "video_skipped", "video": "z", "recovered": "as before"})
    text = console.export_text()
    assert SAID["recovered"] in text and "as before" in text


def test_the_overview_says_it() -> None:
    row = {"name": "a", "source": "a.mp4", "status": "complete", **SAID}
    html = video_table([row], {}, {}, {})
    assert f'<div class="warn recovered">{SAID["recovered"]}</div>' in html
    assert "recovered" not in video_table([{**row, "recovered": None, "lacking": None}], {}, {}, {})


def test_tracks_that_have_a_place_before_the_camera_only_are_counted_as_such(small_clip: Clip, tmp_path: Path) -> None:
    write_store(tmp_path / "c.h5", small_clip, Flaws())
    with h5py.File(tmp_path / "c.h5", "a") as file:
        frames, points = file["tracks/visible"].shape
        file["tracks/query"][:] = np.nan
        places = np.full((frames, points, 3), np.nan, np.float32)
        places[-1, :2] = 1.0  # two of them, in one frame
        file["tracks/camera_xyz"] = places
    with open_video(tmp_path / "c.h5") as video:
        assert "2 tracks in camera space, none in the world" in recovery_of(video).sentence
