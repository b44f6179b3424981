"""The report: self-contained, complete, safe against hostile names, and honest about what is missing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from synthetic_store import Flaws, write_run, write_truth

from geoflow.errors import StoreError
from geoflow.evaluate import evaluate_store
from geoflow.report import write_report
from geoflow.report.curve_figure import curve_figure
from geoflow.report.figures import path_figure, tracks_figure
from geoflow.report.pictures import GREY, colour_depth, data_uri, inverse_range
from geoflow.report.score_section import score_section
from geoflow.report.video_section import stage_seconds
from geoflow.store.paths import RunPaths

HOSTILE = "a'b\"<script>alert(1)<|script>&"
VOID = {"meta", "img", "br", "image", "line", "rect", "circle", "polyline"}


class Balanced(HTMLParser):
    """Checks that tags nest, and collects them."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.stack and self.stack.pop() == tag, f"</{tag}> closes nothing"


def tags_of(page: str) -> list[str]:
    parser = Balanced()
    parser.feed(page)
    assert parser.stack == []
    return parser.tags


@pytest.fixture(scope="module")
def clip(small_clip):
    return small_clip


@pytest.fixture
def report(clip, tmp_path):
    def write(failures=None, scores=None, **flaws):
        out = tmp_path / "out"
        write_run(out, {HOSTILE: (clip, Flaws(segments=((0, 5), (3, 8)), **flaws))}, failures or {})
        if scores is not None:
            RunPaths(out).scores.write_text(json.dumps(scores))
        return write_report(out).read_text(encoding="utf-8")

    return write


def test_a_whole_run_gives_one_self_contained_page(report, clip, tmp_path):
    page = report(failures={"broken.mp4": "no video stream in <broken.mp4>"})
    tags = tags_of(page)
    assert "script" not in tags and "link" not in tags
    assert "alert(1)&lt;" in page and "<script" not in page
    # Nothing is fetched: every reference is a data URI.
    assert all(value.startswith("data:image/jpeg") for value in re.findall(r'(?:src|href)="([^"]*)', page))
    assert not re.search(r"url\(|@import|https?://", page)
    assert page.index("no video stream in &lt;broken.mp4&gt;") < page.index("alert(1)")  # failures first
    for word in ("from above", "from the side", "Tracks", "Work per stage", "Parameters", "Run record", "1</b>failed"):
        assert word in page
    # 4 sampled frames by prior, geometry and camera; the source does not exist, so no colour.
    assert page.count("<img ") == 12 and "no longer there" in page
    assert (tmp_path / "out" / "report.html").stat().st_size < 2_000_000


def test_frames_come_from_the_source_when_it_is_there(report, clip, tmp_path):
    import cv2

    folder = tmp_path / "source"
    folder.mkdir()
    for i, frame in enumerate(clip.frames):
        cv2.imwrite(str(folder / f"{i:03d}.png"), frame[..., ::-1])
    page = report(source=str(folder))
    assert page.count("<img ") == 16 and "no longer there" not in page


def test_scores_are_shown_and_what_is_missing_is_a_dash(report, clip, tmp_path):
    write_truth(tmp_path / "gt.h5", clip)
    write_run(tmp_path / "first", {"clip": (clip, Flaws(depth_gain={0: 1.2}))}, {})
    scores = evaluate_store(RunPaths(tmp_path / "first").video("clip"), tmp_path / "gt.h5").to_dict()
    page = report(scores={HOSTILE: scores})
    assert "Scores against ground truth" in page and "AbsRel" in page and "identity pose" in page
    assert f"{scores['geometry']['abs_rel']:.3f}" in page and f"{scores['tracks']['error_percent']:.2f} %" in page
    assert "—" in page and "nan" not in re.sub(r'"data:[^"]*"|[\w]+name', "", page).lower()
    tags_of(page)


def test_scores_of_every_frame_are_drawn(report, clip, tmp_path):
    write_truth(tmp_path / "gt.h5", clip)
    write_run(tmp_path / "first", {"clip": (clip, Flaws(depth_gain={0: 1.2}, segments=((0, 5), (3, 8))))}, {})
    scores = evaluate_store(RunPaths(tmp_path / "first").video("clip"), tmp_path / "gt.h5").to_dict()
    page = report(scores={HOSTILE: scores})
    tags_of(page)
    # AbsRel, coverage, scale and change of three branches; position and rotation of the camera.
    assert page.count('class="curve curve-') == 4 * 3 + 2
    assert page.count('class="lane" x=') == 6 and "two segments share" in page
    assert "pixels with depth</text>" not in page  # coverage says it
    assert ">-15 %<" in page  # the scale of the frame that is 20 percent long
    write_truth(tmp_path / "gt.h5", clip, deep=(), posed=())
    scores = evaluate_store(RunPaths(tmp_path / "first").video("clip"), tmp_path / "gt.h5").to_dict()
    page = score_section(scores)
    assert page.count('class="curve curve-') == 3 and "pixels with depth</text>" in page
    assert "curve" not in score_section({key: value for key, value in scores.items() if key != "curves"})


def test_a_curve_has_gaps_where_nothing_was_measured():
    """Frames 10 to 14 are 52 to 510 px; values 0 to 2 are 158 px up to 44."""
    frames, line = np.arange(10, 15), np.array([0, 1, np.nan, 2.0, np.nan])
    figure = curve_figure("AbsRel", frames, {"camera": line}, unit=" %")
    assert re.findall(r'points="([^"]*)"', figure) == ["52.0,158.0 166.5,101.0", "395.5,44.0 395.5,44.0"]
    assert "2 %" in figure and "frame 10" in figure and "frame 14" in figure and "nan" not in figure
    clipped = curve_figure("AbsRel", frames, {"camera": line}, top=1.0)
    assert "395.5,44.0" in clipped and "166.5,44.0" in clipped
    assert curve_figure("AbsRel", frames, {"camera": np.full(5, np.nan)}) == ""
    assert curve_figure("AbsRel", frames, {}) == ""


def test_a_long_curve_is_thinned_by_means():
    line = np.zeros(4000)
    line[1000:1010] = np.nan
    line[2000:2005] = 1.0
    (first, second) = re.findall(r'points="([^"]*)"', curve_figure("x", np.arange(4000), {"camera": line}))
    assert len(first.split()) == 100 and len(second.split()) == 299
    heights = [float(point.split(",")[1]) for point in second.split()]
    assert min(heights) == 44 and heights.count(158.0) == 298  # the mean of that bin, 0.5, is the highest


def test_only_a_visible_winner_stands_out():
    def bold(geometry, camera):
        columns = {"prior": {"abs_rel": 0.3}, "geometry": {"abs_rel": geometry}, "camera": {"abs_rel": camera}}
        section = score_section(columns | {"constant_plane": {"abs_rel": 0.0}})
        return re.findall(r'number best">([^<]*)', section)

    assert bold(0.1, 0.2) == ["0.100"]  # the baseline competes with nobody
    assert bold(0.1, 0.1000001) == []  # told apart by no digit shown
    assert bold(None, None) == []


def test_a_run_of_failures_only(tmp_path):
    write_run(tmp_path / "out", {}, {"x": "empty file"})
    page = write_report(tmp_path / "out").read_text()
    assert "empty file" in page and "0</b>complete" in page
    tags_of(page)


def test_a_torn_store_spoils_only_its_own_section(clip, tmp_path):
    write_run(tmp_path / "out", {"good": (clip, Flaws()), "torn": (clip, Flaws())}, {})
    RunPaths(tmp_path / "out").video("torn").write_bytes(b"not hdf5")
    page = write_report(tmp_path / "out").read_text()
    assert "cannot be shown" in page and "from above" in page
    tags_of(page)


def test_branches_that_are_absent_are_left_out(report):
    page = report(leave_out=("camera", "tracks", "prior"))
    assert page.count("<img ") == 4 and "from above" not in page and "<h3>Tracks" not in page
    tags_of(page)


def test_not_a_run_is_named(tmp_path):
    with pytest.raises(StoreError, match="not the output of a run"):
        write_report(tmp_path)


def test_masked_depth_is_grey_and_near_is_red():
    depth = np.array([[0, 1.0, 4.0]], np.float32)
    colours = colour_depth(depth, (0.25, 1.0))
    assert tuple(colours[0, 0]) == GREY
    assert colours[0, 1, 0] > 90 and colours[0, 1, 2] < 40  # turbo ends in dark red
    assert colours[0, 2, 2] > colours[0, 2, 1]  # and begins in dark blue
    low, high = inverse_range([np.zeros((2, 2), np.float32)])
    assert low < high
    low, high = inverse_range([np.full((2, 2), 3, np.float32)])
    assert low < high  # a single depth must not divide by zero


def test_pictures_are_bounded():
    assert len(data_uri(np.zeros((2000, 3000, 3), np.uint8))) < 20_000


def test_a_path_with_gaps_breaks_its_line():
    centers = np.column_stack([np.arange(6.0), np.zeros(6), np.arange(6.0)])
    centers[2:4] = np.nan
    figure = path_figure(centers, np.tile([0.0, 0, 1], (6, 1)), (0, 2), flip=False, unit="m", label="from above")
    assert figure.count("<polyline") == 2 and "nan" not in figure
    still = path_figure(np.zeros((3, 3)), np.ones((3, 3)), (0, 2), flip=False, unit="m", label="x")
    assert "nan" not in still and "inf" not in still


def test_trails_stop_where_a_track_was_hidden():
    uv = np.stack([np.column_stack([np.arange(5.0) + 10, np.full(5, 20.0)])] * 2, axis=1)
    visible = np.ones((5, 2), bool)
    visible[2, 0] = False  # seen in frames 3 and 4 again
    visible[4, 1] = False  # hidden now: not drawn
    figure = tracks_figure("data:,", (64, 48), uv, visible)
    assert figure.count("<polyline") == 1
    assert 'points="13.0,20.0 14.0,20.0"' in figure


def test_seconds_add_up_over_segments():
    rows = [{"start": 0, "seconds_prior": 1.5, "seconds_camera": None}, {"seconds_prior": 2.0, "seconds_camera": 4.0}]
    assert stage_seconds(rows) == {"prior": 3.5, "camera": 4.0}
