"""What a notebook shows of runs and videos, without one: what is counted, what is drawn, what is escaped."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from full_store import UNPOSED, write_full_store
from ledger_events import Event, done, failed, one_run, planned, ready, started

from geoflow.environments.extras import library
from geoflow.errors import ConfigError, StoreError
from geoflow.notebook import drawing
from geoflow.observe.board import Board, StageBar, board_of
from geoflow.observe.tally import Tally
from geoflow.observe.time_left import parallelism
from geoflow.results import RunResult, VideoResult
from geoflow.store.picture import Picture
from geoflow.store.reader import open_video
from geoflow.synth import Clip
from geoflow.values.frontend import in_notebook

NASTY = '<img src=x onerror="alert(1)">'


def board_after(events: list[Event], *, num_inputs: int = 2, now: float | None = None) -> Board:
    tally = Tally(num_inputs, events[0]["time"])
    for event in events:
        tally.observe(event)
    return board_of(tally, events[-1]["time"] if now is None else now)


def test_before_anything_has_happened() -> None:
    board = board_of(Tally(3, 100.0), 105.0)
    assert (board.state, board.elapsed_s, board.eta_s, board.stages) == ("starting", 5, None, ())


def test_in_the_middle_of_a_run() -> None:
    board = board_after(one_run()[:9], now=1006)  # of 2 segments both are decoded, one has its prior
    decode, prior = board.stages
    assert (decode.done, decode.total, decode.state) == (2, 2, "working")  # there is another video to come
    assert (prior.done, prior.total, prior.share) == (1, 2, 0.5)
    assert decode.rate == pytest.approx(2 / 1.0) and prior.rate == pytest.approx(1 / 0.5)
    assert board.eta_s is not None and board.eta_s > 0 and 0 < board.share < 1
    assert board.subject == "0 of 2 videos (a)" and board.frames_per_s == pytest.approx(10 / 4)
    assert board.remarks == ("prior failed on a segment 0, is tried with a cheaper setting: no",)


def test_at_the_end() -> None:
    board = board_after(one_run())
    assert board.over and (board.complete, board.failed) == (1, 1)
    assert board.failures == ("b: not a video",) and board.eta_s is None
    assert all(bar.state == "done" and bar.share == 1 for bar in board.stages)
    assert board.elapsed_s == 10 and board_after(one_run(), now=9999).elapsed_s == 10


def test_what_was_done_before_is_not_counted_as_pace() -> None:
    resumed = {"time": 2, "event": "segment_resumed", "video": "a", "index": 1, "unneeded": ["decode"], "restored": []}
    restored = {"time": 3, "event": "stage_restored", "video": "a", "index": 1, "slot": "prior", "bytes": 1}
    events = [started(0, "a"), planned(1, "a", 4) | {"finished": 1}, resumed, restored]
    decode, prior = board_after(events, num_inputs=1).stages
    assert (decode.done, decode.total, decode.rate) == (1, 3, None) and (prior.done, prior.rate) == (1, None)
    assert board_after(events, num_inputs=1).eta_s is None
    after = board_after([*events, done(4, "decode", 0, "a", 2)], num_inputs=1)
    assert after.eta_s == pytest.approx(1 * (1 + 2) / parallelism(1.0, 1.0, 2.0)) and after.stages[0].done == 2


def test_stages_start_wait_work_and_are_left_out() -> None:
    events = [started(0, "a", slots=("decode", "prior", "hands")), planned(1, "a", 2), ready(1, "decode", 0)]
    assert [bar.state for bar in board_after(events).stages] == ["waiting", "starting", "starting"]
    disabled = {"time": 3, "event": "stage_disabled", "slot": "hands", "reason": "no pip"}
    board = board_after([*events, done(1, "decode", 0, "a", 0), disabled])
    assert [bar.state for bar in board.stages] == ["working", "starting", "left out"]
    assert board.remarks == ("going on without hands: no pip",)


def test_a_video_that_failed_leaves_no_work_behind() -> None:
    events = [started(0, "a", "b"), planned(1, "a", 10), done(1, "decode", 0, "a", 0), planned(2, "b", 1)]
    events += [{"time": 3, "event": "video_failed", "video": "a", "reason": "torn"}]
    decode, prior = board_after(events).stages
    assert (decode.done, decode.total) == (1, 2) and (prior.done, prior.total) == (0, 1)


def test_lists_of_what_went_wrong_stay_short() -> None:
    events = [started(0)] + [{"time": 1, "event": "video_failed", "video": f"v{i}", "reason": "x"} for i in range(50)]
    events += [failed(1, "prior", 0, "a", i, "retry") for i in range(50)]
    board = board_after(events, num_inputs=60)
    assert board.failed == 50 and len(board.failures) == 20 and len(board.remarks) == 5


def test_an_interrupted_run_says_so() -> None:
    stopping = {"time": 1006, "event": "run_stopping", "running": 2}
    board = board_after([*one_run()[:9], stopping])
    assert board.state == "stopping" and "interrupt once more" in board.remarks[-1] and board.eta_s is None
    stopped = board_after([*one_run()[:9], stopping, {"time": 1007, "event": "run_stopped", "reason": "interrupted"}])
    assert stopped.headline == "stopped (interrupted): 0 of 2 videos, 0:00:07"


def test_details_of_a_bar() -> None:
    assert StageBar("a", 0, 0, "waiting").detail == "waiting"
    assert StageBar("a", 1, 1, "done", 2.0).detail == "1 of 1 segment, 2.0/s"
    assert StageBar("a", 0, 4, "left out").detail == "left out"


def test_drawings_say_the_same_and_escape_names() -> None:
    bars = (StageBar("prior", 1, 4, "working", 0.5), StageBar("write", 0, 4, "starting"))
    board = Board("running", 3.0, 9.0, 2, 0, 1, bars, (f"{NASTY}: torn",), ("an actor of <b> died",))
    html, plain = drawing.as_html(board), drawing.as_text(board)
    for part in ("running: 1 of 2 videos, 1 failed, 0:00:03, about 0:00:09 left", "1 of 4 segments, 2.0 s each"):
        assert part in html and part in plain
    assert NASTY not in html and "<b>" not in html and "&lt;img" in html and NASTY in plain
    assert "width:25%" in html and " 25 %" in plain


def test_widgets_follow_the_board_and_are_closed() -> None:
    widgets = pytest.importorskip("ipywidgets")
    shown = drawing.WidgetBoard(widgets)
    shown.draw(board_after(one_run()[:4]))
    shown.draw(board_after(one_run()[:9]))
    rows = shown.root.children[1].children
    assert [row.children[0].value for row in rows] == ["all", "decode", "prior"]
    assert 0 < rows[0].children[1].value < 1 and [row.children[1].value for row in rows[1:]] == [1.0, 0.5]
    assert "1 of 2 segments" in rows[2].children[2].value and "running: 0 of 2" in shown.root.children[0].value
    shown.close()
    assert shown.root.comm is None and rows[0].children[1].comm is None


# Results


def result(*videos: VideoResult, out: str = "/elsewhere/out") -> RunResult:
    return RunResult(out, "embedded", videos, {"hands": f"no {NASTY}"}, 75.0)


def test_a_result_is_a_table_with_failures_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = str(tmp_path / "out" / "videos" / "a b.h5")
    good = VideoResult("a b", "a b.mp4", "complete", path=store, seconds=12.34, frames=1200)
    old = VideoResult("old", "old.mp4", "complete", path="/elsewhere/old.h5", reused=True, frames=3)
    bad = VideoResult(NASTY, "x", "failed", f"not a video {NASTY}")
    html = result(good, old, bad, out=str(tmp_path / "out"))._repr_html_()
    assert NASTY not in html and html.count("&lt;img") == 3
    assert re.search("<tr>.*failed.*complete.*from an earlier run", html, re.S)
    assert 'href="out/videos/a%20b.h5"' in html and "1,200" in html and "12.3 s" in html
    assert "<code>/elsewhere/old.h5</code>" in html and 'href="/elsewhere' not in html  # Jupyter serves its own folder
    assert "2 complete, 1 failed" in html and "in 1 min 15 s" in html


def test_long_results_are_cut() -> None:
    html = result(*(VideoResult(f"v{i}", "", "complete", path="s3://b/v.h5") for i in range(500)))._repr_html_()
    assert html.count("<tr>") == 101 and "and 400 more" in html and len(html) < 60_000


# Videos


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, small_clip: Clip) -> Path:
    path = tmp_path_factory.mktemp("full") / "clip<b>.h5"
    write_full_store(path, small_clip, source=f"/in/{NASTY}.mp4")
    return path


def pictures(html: str) -> list[np.ndarray]:
    import base64

    import cv2

    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    return [cv2.imdecode(np.frombuffer(base64.b64decode(row), np.uint8), cv2.IMREAD_COLOR) for row in found]


def test_a_video_is_a_strip_of_frames_depth_and_masks(full: Path) -> None:
    with open_video(full) as video:
        html = video._repr_html_()
        assert html is not None
        shown = pictures(html)
        assert [picture.shape for picture in shown] == [(48, 64, 3)] * 9
        assert ((shown[5][..., 0] > 128) == video.mask[4]).mean() > 0.98  # JPEG rings at edges
    assert "8 frames of 64x48" in html and "7 frames with a pose" in html and "left hand in 4 frames" in html
    assert f"Frame {UNPOSED}: " in html  # why it has no pose
    assert NASTY not in html and "&lt;img" in html and "clip<b>" not in html


def test_a_video_without_pixels_or_depth(tmp_path: Path, small_clip: Clip) -> None:
    write_full_store(tmp_path / "a.h5", small_clip, leave_out=("geometry",))
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["frames/rgb"]
    with open_video(tmp_path / "a.h5") as video:  # its source is gone, too
        html = video._repr_html_()
        assert html is not None and len(pictures(html)) == 6 and "camera depth" in html
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["camera"], file["prior"]
    with open_video(tmp_path / "a.h5") as video:
        assert "Nothing to show" in str(video._repr_html_())
        with pytest.raises(StoreError, match="no camera pose"):
            video.trajectory()


def test_the_card_of_a_large_video_stays_small(tmp_path: Path) -> None:
    """Three frames of noise at 640x480, the worst there is for JPEG."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (9, 480, 640, 3), np.uint8)
    path = write_frames(tmp_path / "big.h5", frames)
    with open_video(path) as video:
        html = str(video._repr_html_())
    assert max(picture.shape[1] for picture in pictures(html)) == 240 and len(html) < 500_000


def write_frames(path: Path, frames: np.ndarray) -> Path:
    """A store that holds pixels alone."""
    with h5py.File(path, "w") as file:
        file["frames/rgb"], file["frames/index"] = frames, np.arange(len(frames))
        file["frames/time"] = np.arange(len(frames)) / 10
        file["segments"] = np.zeros(0, [("start", "i8"), ("stop", "i8")])
        attributes = {"source": "x", "source_sha256": "", "fps": 10.0, "num_frames": len(frames), "metric": False}
        size = {"height": frames.shape[1], "width": frames.shape[2]}
        versions = {"geoflow_schema": 1, "geoflow_version": "test", "status": "complete", "pipeline": "{}"}
        file.attrs.update(attributes | size | versions)
    return path


def test_a_closed_video_is_shown_as_text(full: Path) -> None:
    video = open_video(full)
    video.close()
    assert video._repr_html_() is None and repr(video) == "Video('clip<b>', closed)"


def test_the_trajectory_shows_path_views_and_tracks(full: Path) -> None:
    pytest.importorskip("plotly")
    with open_video(full) as video:
        figure = video.trajectory(frusta=3, points=20)
        path, views, start, tracks = figure.data
        assert (start.x[0], start.z[0]) == (path.x[0], path.z[0])
        centers = video.cameras.centers
        assert len(path.x) == 8 and np.isnan(path.x[UNPOSED])  # a gap, not a straight line across it
        known = np.isfinite(path.x)
        assert np.array_equal(np.c_[path.x, -path.z, path.y][known], centers[known])  # plotly's z points up
        place = np.nanmean(video.tracks.xyz[:, 0], axis=0)  # the first track is lost on the way
        assert np.allclose([tracks.x[0], -tracks.z[0], tracks.y[0]], place, atol=1e-5)
        assert len(tracks.x) == 20 and figure.layout.scene.aspectmode == "data"
        corners = np.c_[views.x, -views.z, views.y]
        assert np.isnan(corners).any(1).sum() == 1 + 3 * 3
        apexes = [row for row in corners if np.abs(row - centers[0]).max() < 1e-5]
        assert len(apexes) == 3  # each view's outline starts at its camera and comes back twice
        unit = figure.layout.scene.xaxis.title.text
        assert unit == "x [scene units]" and "<b>" not in figure.layout.title.text


def test_without_plotly_the_extra_is_named(full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with open_video(full) as video, pytest.raises(ConfigError, match=r'pip install "geoflow-video\[notebook\]"'):
        video.trajectory()
    with pytest.raises(ConfigError, match=r"show\(\) needs nonesuch"):
        library("nonesuch.part", "notebook", "show()")


# Pictures


def test_a_strip_is_an_array_and_a_picture(full: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not in_notebook()
    with open_video(full) as video:
        strip = video.show(0)
    assert isinstance(strip, np.ndarray) and strip.shape == (48, 3 * 64, 3) and strip.dtype == np.uint8
    assert capsys.readouterr().out == ""  # shown in notebooks only


def test_a_picture_is_shown_once_per_cell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ipython = pytest.importorskip("IPython")
    shown: list[Any] = []

    class Shell:
        kernel, execution_count = object(), 1

    monkeypatch.setattr(ipython, "get_ipython", lambda: Shell)
    monkeypatch.setattr("IPython.display.display", shown.append)
    picture = Picture.shown(np.zeros((4, 6, 3), np.uint8))
    assert len(shown) == 1 and shown[0].data.startswith(b"\x89PNG")
    picture._ipython_display_()  # the last value of the same cell
    assert len(shown) == 1
    Shell.execution_count = 2
    picture._ipython_display_()
    picture[:2]._ipython_display_()
    assert len(shown) == 3
    (picture[0] + 1)._ipython_display_()  # no picture any more
    assert len(shown) == 3 and "array([[1, 1, 1]" in capsys.readouterr().out
