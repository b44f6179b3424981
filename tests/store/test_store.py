from __future__ import annotations

import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest
from segment_fields import HEIGHT, WIDTH, Truth, fields_of, make_truth

from geoflow.errors import StageError, StoreError
from geoflow.quality.quality_columns import QUALITY_COLUMNS
from geoflow.segments import Segment
from geoflow.stage import SegmentRecord
from geoflow.stages.stitch import Stitch
from geoflow.stages.write import Write
from geoflow.store.index import read_rows, write_index, write_segments
from geoflow.store.info import describe, render
from geoflow.store.layout import blocks
from geoflow.store.paths import RunPaths
from geoflow.store.reader import open_video
from geoflow.store.run import load_run
from geoflow.store.schema import datasets
from geoflow.store.verify import verify_store
from geoflow.store.whole import write_whole
from geoflow.store.work_key import describe_work, work_key

Results = list[dict[str, np.ndarray]]


def records(truth: Truth) -> list[SegmentRecord]:
    return [
        SegmentRecord(s.index, s.start, s.stop, "complete", {"camera": 1.5, "stitch": 0.25}, {"camera": 1}, ("slow",))
        for s in truth.segments
    ]


def write(out: Path, truth: Truth, results: Results, **params: object) -> dict:
    """Write a whole video, each segment by a fresh stage."""
    params = {"out": str(out), "pipeline": '{"seed": 7}', **params}
    state: dict = {}
    for segment, fields in zip(truth.segments, results):
        stage = Write(Write.Params(**params))
        stage.restore(state)
        assert stage.process(segment, fields) == {}
        state = stage.state()
    return Write(Write.Params(**params)).finish(truth.video, records(truth))


def parts_of(paths: RunPaths) -> list[int]:
    """Numbers of the finished segments that are on disk."""
    return sorted(index for index, _, _ in paths.all_parts("clip"))


def only(fields: dict[str, np.ndarray], *prefixes: str) -> dict[str, np.ndarray]:
    return {name: array for name, array in fields.items() if name.startswith(prefixes)}


@pytest.fixture(scope="module")
def truth() -> Truth:
    return make_truth()


@pytest.fixture(scope="module")
def results(truth: Truth) -> Results:
    """What stitch gives for each segment, and its frames; read-only, since the tests share it."""
    stage = Stitch()
    found = []
    for segment in truth.segments:
        rgb = np.full((len(segment), HEIGHT, WIDTH, 3), segment.index, np.uint8)
        fields = {"frames.rgb": rgb, **stage.process(segment, fields_of(truth, segment))}
        for array in fields.values():
            array.flags.writeable = False
        found.append(fields)
    return found


@pytest.fixture(scope="module")
def stored(truth: Truth, results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    write(out, truth, results)
    return out


def test_what_was_written_reads_back(truth: Truth, results: Results, stored: Path):
    assert verify_store(RunPaths(stored).video("clip")) == []
    with open_video(RunPaths(stored).video("clip")) as video:
        assert len(video) == 40 and video.depth.shape == (40, HEIGHT, WIDTH)
        points = np.concatenate([r["geometry.points"] for r in results])
        assert np.array_equal(video.depth[10:20], points[10:20, ..., 2].astype(np.float32))
        inside = video.depth[5] > 0
        assert not inside.all() and np.array_equal(inside, np.isfinite(video.points(5)).all(-1))
        np.testing.assert_allclose(video.points(5)[inside], points[5][inside], rtol=2e-3, atol=2e-3)  # from float16 z
        assert np.array_equal(video.frame_index, 2 * np.arange(40))
        expected = np.concatenate([r["camera.cam_from_world"] for r in results])
        assert np.array_equal(video.cameras.cam_from_world, expected)
        assert np.array_equal(np.asarray(video.camera_depth), np.concatenate([r["camera.depth"] for r in results]))
        hands = video.hands
        assert hands.right is None and np.array_equal(hands.left.valid, np.arange(40) % 3 == 0)
        assert video.pipeline == {"seed": 7}
        world = video.points(5, world=True)
        assert world.dtype == np.float32 and np.isnan(world[~inside]).all()
        back = world[inside] @ expected[5, :3, :3].T + expected[5, :3, 3]
        np.testing.assert_allclose(back[:, 2], video.depth[5][inside], rtol=1e-4)
        assert repr(video).startswith("Video('clip', 40 frames 16x12 at ") and repr(video).endswith(
            "; up to one scale)"
        )
        shown = {repr(value) for value in (video.depth, video.field("camera.depth"), video.hands.left)}
        assert shown == {
            "Lazy(geometry/depth: float32 (40, 12, 16) scene)",
            "Lazy(camera/depth: float16 (40, 12, 16) scene)",
            "Hand(14 of 40 frames: joints float32 (40, 21, 3) camera frame, uv float32 (40, 21, 2) px)",
        }
        assert repr(video.cameras) == (
            "Cameras(40 of 40 frames posed: cam_from_world float32 (40, 4, 4) scene, intrinsics float32 (40, 3, 3) px)"
        )
        assert "xyz float32 (40, " in repr(video.tracks) and "3) scene, world frame" in repr(video.tracks)
        depth = video.depth
    assert repr(depth) == "Lazy(geometry/depth, closed)"


def test_of_unposed_frames_only_a_rotation_without_a_position_is_kept():
    poses = np.tile(np.eye(4, dtype=np.float32), (4, 1, 1))
    poses[1, :3, 3] = np.nan  # frame 0 is a whole pose that is not valid, 1 turns, 2 is broken, 3 is valid
    poses[2, 0, 0] = poses[2, 0, 3] = np.nan
    fields = {"camera.cam_from_world": poses, "camera.valid": np.array([False, False, False, True])}
    ((_, written),) = blocks(datasets()["camera/cam_from_world"], fields, 4)
    assert np.isnan(written[[0, 2]]).all()
    assert np.array_equal(written[[1, 3]], poses[[1, 3]], equal_nan=True)


def test_plain_h5py_reads_the_file(stored: Path):
    with h5py.File(RunPaths(stored).video("clip")) as file:
        assert file.attrs["geoflow_schema"] == 1 and file.attrs["status"] == "complete"
        assert file["geometry/depth"].dtype == np.float16 and file["geometry/depth"].chunks == (1, HEIGHT, WIDTH)
        assert file["geometry/mask"].dtype == bool
        assert file["geometry/depth"].compression == "gzip" and file["geometry/depth"].shuffle
        assert "frames/rgb" not in file and "geometry/points" not in file
        assert json.loads(file["camera/motion"].attrs["codes"])["2"] == "still"
        table = file["segments"][()]
        assert table["start"].tolist() == [0, 10, 20, 30] and table["stop"][-1] == 40
        assert table["seconds_camera"].tolist() == [1.5] * 4
        assert json.loads(table["ladder"][0]) == {"camera": 1}
        assert np.isnan(table["seam_residual"][0]) and (table["seam_residual"][1:] < 1e-3).all()


def test_tracks_live_in_their_segment_only(truth: Truth, results: Results, stored: Path):
    counts = [r["tracks.query"].shape[0] for r in results]
    with open_video(RunPaths(stored).video("clip")) as video:
        tracks = video.tracks
        assert len(tracks) == sum(counts) and tracks.xyz.shape == (40, sum(counts), 3)
        first = 0
        for segment, result, count in zip(truth.segments, results, counts):
            columns = slice(first, first + count)
            assert np.array_equal(tracks.xyz[segment.start : segment.stop, columns], result["tracks.xyz"])
            outside = np.ones(40, bool)
            outside[segment.start : segment.stop] = False
            assert np.isnan(tracks.xyz[:, columns][outside]).all()
            assert not tracks.visible[:, columns][outside].any()
            first += count


def test_a_track_that_goes_on_has_one_column(tmp_path: Path):
    truth = make_truth()
    numbers = [
        [1, 2, 3, 4],
        [2, 4, 5, 6, 7],
        [4, 7, 6, 9, 10, 11],
        [1, 12, 13, 14, 15, 16, 17],
    ]  # the third in disorder
    parts = []
    for segment, mine in zip(truth.segments, numbers):
        fields = only(fields_of(truth, segment), "frames.", "tracks.")
        fields["tracks.id"] = np.array(mine, np.int32)
        fields["tracks.xyz"] = np.broadcast_to(np.array(mine, np.float32)[:, None], fields["tracks.xyz"].shape)
        fields["tracks.xyz"] = fields["tracks.xyz"] + np.float32(0.1) * segment.index
        before = {number for earlier in numbers[: segment.index] for number in earlier}
        query = fields["tracks.query"].copy()
        query[:, 0] = [0 if number in before else segment.start for number in mine]
        fields["tracks.query"] = query
        parts.append(fields)
    write(tmp_path, truth, parts)
    assert verify_store(RunPaths(tmp_path).video("clip")) == []
    with open_video(RunPaths(tmp_path).video("clip")) as video:
        tracks = video.tracks
        ids = tracks.id.tolist()
        assert ids == [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17]
        for number in ids:
            column, rows = ids.index(number), [k for k, mine in enumerate(numbers) if number in mine]
            expected = np.full(40, np.nan)
            for k in rows:  # a later segment's own frames, and those that it shares, are the later one's
                expected[truth.segments[k].start : truth.segments[k].stop] = number + 0.1 * k
            np.testing.assert_allclose(tracks.xyz[:, column][:, 0], expected, rtol=1e-6)
            assert np.array_equal(tracks.visible[:, column], np.isfinite(expected))
            assert tracks.query[column, 0] == truth.segments[rows[0]].start, (
                "its query is of the part in which it began"
            )


def test_a_number_given_twice_is_refused(tmp_path: Path):
    truth = make_truth()
    parts = [only(fields_of(truth, segment), "frames.", "tracks.") for segment in truth.segments]
    for fields in parts:
        fields["tracks.id"] = np.ones(fields["tracks.query"].shape[0], np.int32)
    with pytest.raises(StoreError, match="tracks/id has a number twice"):
        write(tmp_path, truth, parts)


def test_untouched_track_chunks_take_no_space(tmp_path: Path):
    truth = make_truth(200, size=40, overlap=8)
    for segment in truth.segments:
        truth.tracks[segment.index] = np.zeros((len(segment), 256, 3))
    write(tmp_path, truth, [only(fields_of(truth, segment), "frames.", "tracks.") for segment in truth.segments])
    with h5py.File(RunPaths(tmp_path).video("clip")) as file:
        xyz = file["tracks/xyz"]
        tiles = xyz.id.get_num_chunks()
        everything = -(-200 // 32) * len(truth.segments)
        assert tiles <= 3 * len(truth.segments) < everything  # a segment of 40 frames touches at most 3 tiles of 32


def test_finish_reports_and_cleans_up(tmp_path: Path, truth: Truth, results: Results):
    report = write(tmp_path, truth, results)
    coverage = (HEIGHT - 2) / HEIGHT
    assert report == {
        "path": str(tmp_path / "videos" / "clip.h5"),
        "frames": 40,
        "frames_posed": 40,
        "camera_quality": None,
        "geometry_coverage": pytest.approx(coverage),
        "tracks": 22,
        "frames_with_hands": 14,
        "notes": "[]",
        "motion": "moving",
        "segments": 4,
        "objects": None,
        "metric": False,
        "recovered": "all 40 frames posed, depth in 83 % of the pixels, 22 tracks, hands in 14 frames; "
        "camera with cheaper settings",
        "lacking": "",
        "key": work_key(describe_work(truth.video, '{"seed": 7}')),
        "seam_residual": report["seam_residual"],
        **{name: report[name] for name in QUALITY_COLUMNS},  # tests/quality/ holds what they are
    }
    assert 0 < report["quality"] < 1 and report["posed"] == 1 and report["blur"] is None
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["clip.h5", "videos"]
    # Asked again after the process died before it could report, it finds the work done.
    again = Write(Write.Params(out=str(tmp_path), pipeline='{"seed": 7}')).finish(truth.video, records(truth))
    assert again == report
    with pytest.raises(StoreError, match="resume"):
        Write(Write.Params(out=str(tmp_path), pipeline='{"seed": 8}')).finish(truth.video, records(truth))


def test_options(tmp_path: Path, truth: Truth, results: Results):
    write(tmp_path, truth, results, rgb=True, points=True, prior=False, compression=0)
    path = RunPaths(tmp_path).video("clip")
    assert verify_store(path) == []
    with open_video(path) as video:
        assert "prior" not in video.file and video.file["frames/rgb"].compression is None
        assert video.rgb(0).max() == 0 and video.rgb(39).min() == 3
        kept = video.file["geometry/points"][3].astype(np.float32)
        assert np.array_equal(video.points(3), np.where(kept[..., 2:] > 0, kept, np.nan), equal_nan=True)
        assert video.show(3).shape == (HEIGHT, 3 * WIDTH, 3)


def test_a_slot_that_is_missing_on_one_segment(tmp_path: Path, truth: Truth, results: Results):
    less = {name: array for name, array in results[1].items() if not name.startswith(("geometry.", "hands."))}
    write(tmp_path, truth, [results[0], less, *results[2:]])
    path = RunPaths(tmp_path).video("clip")
    assert verify_store(path) == []
    with open_video(path) as video:
        start, stop = truth.segments[1].start, truth.segments[2].start
        assert not video.mask[start:stop].any() and video.mask[:start].any()
        assert not video.hands.left.valid[start:stop].any()
        assert np.isnan(video.hands.left.joints[start:stop]).all()


def test_unstitched_segments_give_up_their_overlap(tmp_path: Path, truth: Truth):
    write(tmp_path, truth, [fields_of(truth, segment) for segment in truth.segments])
    with open_video(RunPaths(tmp_path).video("clip")) as video:
        assert np.array_equal(video.frame_index, 2 * np.arange(40))
        assert np.isnan(video.segments[1]["seam_residual"])


def test_frames_must_grow(tmp_path: Path, truth: Truth, results: Results):
    stage = Write(Write.Params(out=str(tmp_path)))
    stage.process(truth.segments[1], results[1])
    with pytest.raises(StageError, match="in order"):
        stage.process(truth.segments[0], results[0])
    with pytest.raises(StageError, match="expected"):
        stage.process(truth.segments[2], {name: array[:3] for name, array in results[2].items()})


def test_a_node_that_does_not_see_the_run_s_folder_is_told(tmp_path: Path):
    stage = Write(Write.Params(out=str(tmp_path / "out")))
    with pytest.raises(StageError, match="on a disk of all nodes, or a URI"):
        stage.setup()
    RunPaths(tmp_path / "out").videos.mkdir(parents=True)
    RunPaths(tmp_path / "out").events.touch()
    stage.setup()
    Write(Write.Params(out=str(tmp_path / "cache"), remote="s3://bucket/out")).setup()


def test_a_missing_segment_is_named(tmp_path: Path, truth: Truth, results: Results):
    stage = Write(Write.Params(out=str(tmp_path)))
    for segment, fields in zip(truth.segments, results):
        if segment.index != 1:
            stage.process(segment, fields)
    with pytest.raises(StoreError, match="lacks frames 10 to 20"):
        stage.finish(truth.video, records(truth))
    assert parts_of(RunPaths(tmp_path)) == [0, 2, 3]  # nothing is thrown away
    assert not RunPaths(tmp_path).videos.exists() or not list(RunPaths(tmp_path).videos.iterdir())


def test_reader_refuses_what_is_no_store(tmp_path: Path, stored: Path):
    with pytest.raises(StoreError, match="does not exist"):
        open_video(tmp_path / "none.h5")
    text = tmp_path / "text.h5"
    text.write_text("not HDF5")
    with pytest.raises(StoreError, match="not a whole HDF5"):
        open_video(text)
    torn = tmp_path / "torn.h5"
    torn.write_bytes(RunPaths(stored).video("clip").read_bytes()[:-1000])
    with pytest.raises(StoreError, match="not a whole HDF5"):
        open_video(torn)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["x"] = 1
    with pytest.raises(StoreError, match="not a GeoFlow store"):
        open_video(other)
    with h5py.File(other, "w") as file:
        file.attrs["geoflow_schema"] = 2
    with pytest.raises(StoreError, match="install a newer"):
        open_video(other)


def test_reader_says_what_is_missing(stored: Path):
    with open_video(RunPaths(stored).video("clip")) as video:
        with pytest.raises(StoreError, match=r"source .*cannot be read"):
            video.rgb(0)
        assert video.show(0).shape == (HEIGHT, 2 * WIDTH, 3)  # depth still shows
        with pytest.raises(IndexError):
            video.depth[40]
        depth = video.depth
    with pytest.raises(StoreError, match="closed"):
        depth[0]
    with pytest.raises(StoreError, match="closed"):
        _ = video.depth


def test_how_a_source_was_read_is_in_its_store(truth: Truth, results: Results, tmp_path: Path, capsys):
    from rich.console import Console

    noted = dataclasses.replace(truth, video=dataclasses.replace(truth.video, notes=("two streams; took the larger",)))
    write(tmp_path, noted, results)
    with open_video(RunPaths(tmp_path).video("clip")) as video:
        assert video.notes == ["two streams; took the larger"] == describe(video)["remarks"][:1]
        Console(width=100).print(render(describe(video)))
    assert "took the larger" in capsys.readouterr().out


def test_info(stored: Path):
    from rich.console import Console

    with open_video(RunPaths(stored).video("clip")) as video:
        summary = describe(video)
    json.dumps(summary)
    assert summary["totals"]["frames_posed"] == 40 and summary["totals"]["seconds"] == {"camera": 6.0, "stitch": 1.0}
    assert summary["datasets"]["geometry/depth"]["shape"] == [40, HEIGHT, WIDTH]
    assert 0 < summary["totals"]["seam_residual_max"] < 1e-3 or summary["totals"]["seam_residual_max"] == 0
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(render(summary))
    assert "geometry/depth" in console.export_text()


def test_index_and_run(stored: Path, tmp_path: Path):
    paths = RunPaths(tmp_path)
    write_whole(paths.video("clip"), RunPaths(stored).video("clip").read_bytes())
    with open_video(paths.video("clip")) as video:
        write_segments(paths, {"clip": video.file["segments"][()]})
    good = {"name": "clip", "source": "/a/clip.mp4", "status": "complete", "reason": "", "num_frames": 40}
    bad = {"name": "no", "source": "/a/no.mp4", "status": "failed", "reason": "zero bytes", "path": ""}
    write_index(paths, [{**good, "path": paths.relative(paths.video("clip"))}, bad])
    run = load_run(tmp_path)
    assert run.failures == {"no": "zero bytes"} and list(run.videos) == ["clip"]
    with run.videos["clip"] as video:
        assert len(video) == 40
    assert [row["start"] for row in run.segments] == [0, 10, 20, 30]
    assert run.segments[0]["video"] == "clip" and run.segments[0]["seconds_camera"] == 1.5
    assert read_rows(paths.index)[1]["num_frames"] is None
    with pytest.raises(StoreError, match="no columns"):
        write_index(paths, [{"nmae": "x"}])
    with pytest.raises(StoreError, match="should hold"):
        write_index(paths, [{"name": "x", "num_frames": "many"}])
    with pytest.raises(StoreError, match="not the output of a run"):
        load_run(tmp_path / "other")


@pytest.mark.parametrize("name", ["", "..", "a/b", "../x", ".hidden", "a\0b"])
def test_names_never_lead_out_of_the_folder(name: str):
    with pytest.raises(StoreError, match="plain file name"):
        RunPaths("out").video(name)


def test_odd_but_harmless_names(tmp_path: Path, truth: Truth, results: Results):
    odd = 'it\'s; rm -rf "ü" 日本'
    video = dataclasses.replace(truth.video, name=odd)
    segments = [dataclasses.replace(s, video=video) for s in truth.segments]
    stage = Write(Write.Params(out=str(tmp_path)))
    for segment, fields in zip(segments, results):
        stage.process(segment, only(fields, "frames.", "camera."))
    report = stage.finish(video, records(truth))
    assert Path(report["path"]).name == odd + ".h5" and verify_store(report["path"]) == []


# The disk. Each of these runs in a process of its own, since a limit or a kill concerns a whole process.

_PREAMBLE = """
import os, pickle, resource, time
from pathlib import Path
from geoflow.errors import StoreError
from geoflow.stages.write import Write
from geoflow.store.paths import RunPaths
from geoflow.store.verify import verify_store
out = Path({out!r})
video, segments, results, records = pickle.loads(Path({data!r}).read_bytes())
"""


def run_python(code: str, tmp_path: Path, truth: Truth, results: Results) -> subprocess.Popen:
    """Start `code` in a new process that has the stitched segments at hand and writes below tmp_path / "out"."""
    data = tmp_path / "data"
    data.write_bytes(pickle.dumps((truth.video, truth.segments, results, records(truth))))
    script = _PREAMBLE.format(out=str(tmp_path / "out"), data=str(data)) + textwrap.dedent(code)
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)


def test_a_full_disk_leaves_nothing_torn(tmp_path: Path, truth: Truth, results: Results):
    """A limit on file size fails a write as a full disk does (EFBIG for ENOSPC), at every stage of a file."""
    process = run_python(
        """
        for limit in (0, 1000, 5000, 9000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                Write(Write.Params(out=str(out))).process(segments[0], results[0])
                print("written")
            except StoreError as error:
                print("refused", error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        stage = Write(Write.Params(out=str(out)))
        for segment, fields in zip(segments, results):
            stage.process(segment, fields)
        largest = max(p.stat().st_size for _, _, p in RunPaths(out).all_parts("clip"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
        try:
            stage.finish(video, records)
        except StoreError as error:
            print("refused", error)
        print("parts", len(RunPaths(out).all_parts("clip")), "left", os.listdir(out / "videos"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print("problems", verify_store(stage.finish(video, records)["path"]))
        """,
        tmp_path,
        truth,
        results,
    )
    lines = process.communicate(timeout=60)[0].splitlines()
    assert process.returncode == 0
    assert [line.split()[0] for line in lines] == ["refused"] * 5 + ["parts", "problems"]
    assert "segment_00000." in lines[0] and "MiB free" in lines[0] and "free some space" in lines[0]
    assert "clip.h5" in lines[4]
    assert lines[5] == "parts 4 left []"
    assert lines[6] == "problems []"


@pytest.mark.parametrize("pause_in", ["part", "assembly"])
def test_a_kill_leaves_no_torn_file(tmp_path: Path, truth: Truth, results: Results, pause_in: str):
    process = run_python(
        f"""
        import geoflow.store.parts as parts, geoflow.store.writer as writer
        stage = Write(Write.Params(out=str(out)))
        for segment, fields in zip(segments, results):
            if {pause_in!r} == "part" and segment.index == 2:
                parts._summary = lambda *a: (print("now", flush=True), time.sleep(60))
            stage.process(segment, fields)
        writer.verify_file = lambda *a, **k: (print("now", flush=True), time.sleep(60))
        stage.finish(video, records)
        """,
        tmp_path,
        truth,
        results,
    )
    assert process.stdout is not None and process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)
    paths = RunPaths(tmp_path / "out")
    assert not paths.video("clip").exists()
    folders = (paths.parts("clip"), paths.videos)
    left = [[path.name.partition(".")[0] for path in folder.glob("*.part")] for folder in folders]
    assert left == ([["segment_00002"], []] if pause_in == "part" else [[], ["clip"]])
    finished = parts_of(paths)
    assert finished == ([0, 1] if pause_in == "part" else [0, 1, 2, 3])
    # The next process goes on where this one stopped; what is left over does not disturb it.
    stage = Write(Write.Params(out=str(paths.root)))
    for segment, fields in zip(truth.segments, results):
        if segment.index not in finished:
            stage.process(segment, fields)
    assert verify_store(stage.finish(truth.video, records(truth))["path"]) == []
    assert paths.video("clip").is_file()


def test_an_output_that_cannot_be_written(tmp_path: Path, truth: Truth, results: Results):
    occupied = tmp_path / "file"
    occupied.write_text("")
    with pytest.raises(StoreError, match="another output folder"):
        Write(Write.Params(out=str(occupied))).process(truth.segments[0], results[0])


def test_first_frame_of_segment_is_its_place(truth: Truth, results: Results):
    """The writer relies on it: stitch returns a segment's frames from its first to the next segment's first."""
    for segment, result in zip(truth.segments, results):
        following: Segment | None = next((s for s in truth.segments if s.index == segment.index + 1), None)
        stop = following.start if following else segment.stop
        assert np.array_equal(result["frames.index"], 2 * np.arange(segment.start, stop))


def test_chunks_are_copied_as_they_are(tmp_path: Path, truth: Truth, results: Results):
    stage = Write(Write.Params(out=str(tmp_path), compression=9))
    for segment, fields in zip(truth.segments, results):
        stage.process(segment, fields)
    (path,) = [path for index, _, path in RunPaths(tmp_path).all_parts("clip") if index == 1]
    with h5py.File(path) as part:
        chunk = part["geometry/depth"].id.read_direct_chunk((2, 0, 0))
    path = stage.finish(truth.video, records(truth))["path"]
    with h5py.File(path) as file:
        assert file["geometry/depth"].id.read_direct_chunk((truth.segments[1].start + 2, 0, 0)) == chunk
