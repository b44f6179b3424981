"""The report: self-contained, complete, safe against hostile names, and honest about what is missing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tracemalloc
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
from synthetic_store import Flaws, write_run, write_truth

from geoflow.errors import StoreError
from geoflow.evaluate import evaluate_store
from geoflow.report import write_report
from geoflow.report.curve_figure import curve_figure
from geoflow.report.figures import path_figure
from geoflow.report.overlays import trails
from geoflow.report.pictures import data_uri
from geoflow.report.score_section import current, score_section
from geoflow.report.video_page import stage_seconds
from geoflow.store.paths import RunPaths

HOSTILE = "a'b\"<script>alert(1)<|script>&"
BROKEN = "no video stream in <broken.mp4>"
VOID = {"meta", "img", "br", "link", "input", "image", "line", "rect", "circle", "polyline"}


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


def words_of(page: str) -> str:
    """What is to be read on it."""
    return re.sub(r"<[^>]*>", " ", re.sub(r"<(style|script).*?</\1>", "", page, flags=re.S))


@pytest.fixture(scope="module")
def clip(small_clip):
    return small_clip


@pytest.fixture
def report(clip, tmp_path):
    """The overview and the video's page of a run of one good video and one that failed."""

    def write(scores=None, **flaws):
        out = tmp_path / "out"
        write_run(out, {HOSTILE: (clip, Flaws(segments=((0, 5), (3, 8)), **flaws))}, {"broken.mp4": BROKEN})
        if scores is not None:
            RunPaths(out).scores.write_text(json.dumps(scores))
        overview = write_report(out).read_text(encoding="utf-8")
        return overview, RunPaths(out).report_page(HOSTILE).read_text(encoding="utf-8")

    return write


def test_every_page_is_self_contained(report, tmp_path):
    overview, page = report()
    for html in (overview, page):
        tags = tags_of(html)
        assert "alert(1)&lt;" in html and "<script>alert" not in html
        # Nothing is fetched: what is not a data URI or a place in the page is a link to the other page.
        references = re.findall(r'(?:src|href)="([^"]*)', html)
        others = [r for r in references if not r.startswith(("data:", "#"))]
        assert others and all(not r.startswith(("/", "http", "file")) and ":" not in r for r in others)
        assert tags.count("link") == 1 and not re.search(r"url\(|@import|https?://", html)
    # Links lead to files, whatever the names hold.
    (link,) = set(re.findall(r'href="(report/[^"]*)', overview))
    assert (tmp_path / "out" / unquote(link)).is_file()
    assert overview.index("no video stream in &lt;broken.mp4&gt;") < overview.index("alert(1)&lt;|", 2000)  # first
    for word in ("Work per stage", "Run record", "<dt>failed</dt><dd>1<"):
        assert word in overview
    for word in ("from above", "from the side", "Consistency", "Work per stage", "Parameters", "seam residual"):
        assert word in page
    # 8 frames by prior, geometry and camera; the source does not exist, so no colour.
    assert page.count("<img ") == 24 and "no longer there" in page
    assert (tmp_path / "out" / "report.html").stat().st_size < 60_000 and len(page) < 1_000_000


def test_scripts_are_named_by_their_digests(report):
    for html in report():
        allowed = re.findall(r"'sha256-([^']*)'", html)
        codes = re.findall(r"<script>(.*?)</script>", html, re.S)
        assert allowed == [base64.b64encode(hashlib.sha256(c.encode()).digest()).decode() for c in codes] and codes


def test_without_scripts_every_frame_and_figure_is_there(report):
    _, page = report()
    assert re.findall(r'data-label="([^"]*)', page)[:2] == ["frame 0 · 0.00 s", "frame 1 · 0.25 s"]
    assert page.count('class="frame"') == 8 and "hidden" not in re.sub(r"<(style|script).*?</\1>", "", page, flags=re.S)
    assert 'lang="en"' in page and page.count("<h1>") == 1
    assert page.count("<img ") == len(re.findall(r'<img [^>]*alt="[^"]+"', page))


def test_a_run_of_one_video_is_one_page(clip, tmp_path):
    write_run(tmp_path / "out", {"clip": (clip, Flaws())}, {})
    page = write_report(tmp_path / "out").read_text()
    assert "from above" in page and "Run record" in page and not (tmp_path / "out" / "report").exists()
    tags_of(page)


def test_frames_come_from_the_source_when_it_is_there(report, clip, tmp_path):
    import cv2

    folder = tmp_path / "source"
    folder.mkdir()
    for i, frame in enumerate(clip.frames):
        cv2.imwrite(str(folder / f"{i:03d}.png"), frame[..., ::-1])
    overview, page = report(source=str(folder))
    assert page.count("<image ") == 8 and "no longer there" not in page
    assert overview.count("<img ") == 2  # in little: colour and depth


def test_scores_are_shown_and_what_is_missing_is_a_dash(report, clip, tmp_path):
    write_truth(tmp_path / "gt.h5", clip)
    write_run(tmp_path / "first", {"clip": (clip, Flaws(depth_gain={0: 1.2}))}, {})
    scores = evaluate_store(RunPaths(tmp_path / "first").video("clip"), tmp_path / "gt.h5").to_dict()
    _, page = report(scores={HOSTILE: scores})
    assert "Scores against ground truth" in page and "AbsRel" in page and "identity pose" in page
    assert f"{scores['geometry']['abs_rel']:.3f}" in page and f"{scores['tracks']['error_percent']:.2f} %" in page
    points = scores["point_tracks"]
    assert "3D-AJ" in page and f"{100 * points['median']['within']:.1f} %" in page
    assert f"{points['queries']} queries: {points['by_query']} tracks made for them" in page
    assert "—" in page and not re.search(r"\bnan\b", words_of(page).lower())
    tags_of(page)


def test_scores_of_an_earlier_store_are_not_shown_beside_a_later_one():
    index = [{"name": "a", "key": "one"}, {"name": "b", "key": None}, {"name": "c", "key": "two"}]
    scores = {"a": {"key": "one"}, "b": {"key": "one"}, "c": {"key": "one"}, "d": {}, "e": {"key": ""}}
    assert list(current(scores, index)) == ["a", "b", "d", "e"]


def test_scores_of_every_frame_are_drawn(report, clip, tmp_path):
    write_truth(tmp_path / "gt.h5", clip)
    write_run(tmp_path / "first", {"clip": (clip, Flaws(depth_gain={0: 1.2}, segments=((0, 5), (3, 8))))}, {})
    scores = evaluate_store(RunPaths(tmp_path / "first").video("clip"), tmp_path / "gt.h5").to_dict()
    _, page = report(scores={HOSTILE: scores})
    tags_of(page)
    # AbsRel, coverage, order, scale and change of three branches; position and rotation of the camera.
    page = page[page.index("Scores of every frame") : page.index("<h2>Work")]
    assert page.count('class="curve line-') == 5 * 3 + 2
    assert page.count('class="lane" x=') == 7 and "two segments share" in page
    assert ">pixels with depth</text>" not in page  # coverage says it
    assert ">-15 %<" in page  # the scale of the frame that is 20 percent long
    write_truth(tmp_path / "gt.h5", clip, deep=(), posed=())
    scores = evaluate_store(RunPaths(tmp_path / "first").video("clip"), tmp_path / "gt.h5").to_dict()
    page = score_section(scores)
    assert page.count('class="curve line-') == 3 and "pixels with depth</text>" in page
    assert "curve" not in score_section({key: value for key, value in scores.items() if key != "curves"})


def test_a_curve_has_gaps_where_nothing_was_measured():
    """Frames 10 to 14 are 58 to 428 px; values 0 to 2 are 166 px up to 30."""
    frames, line = np.arange(10, 15), np.array([0, 1, np.nan, 2.0, np.nan])
    figure = curve_figure("AbsRel", frames, {"camera": line}, unit=" %")
    assert re.findall(r'points="([^"]*)"', figure) == ["58.0,166.0 150.5,98.0", "335.5,30.0 335.5,30.0"]
    assert "2 %" in figure and "frame 10" in figure and "frame 14" in figure and "nan" not in figure
    clipped = curve_figure("AbsRel", frames, {"camera": line}, top=1.0)
    assert "335.5,30.0" in clipped and "150.5,30.0" in clipped
    assert curve_figure("AbsRel", frames, {"camera": np.full(5, np.nan)}) == ""
    assert curve_figure("AbsRel", frames, {}) == ""


def test_a_long_curve_is_thinned_by_means():
    line = np.zeros(4000)
    line[1000:1010] = np.nan
    line[2000:2005] = 1.0
    (first, second) = re.findall(r'points="([^"]*)"', curve_figure("x", np.arange(4000), {"camera": line}))
    assert len(first.split()) == 100 and len(second.split()) == 299
    heights = [float(point.split(",")[1]) for point in second.split()]
    assert min(heights) == 30 and heights.count(166.0) == 298  # the mean of that bin, 0.5, is the highest


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
    assert "empty file" in page and "<dt>complete</dt><dd>0<" in page
    tags_of(page)


@pytest.mark.parametrize("names", [("torn",), ("good", "torn")])
def test_a_torn_store_spoils_only_its_own_page(clip, tmp_path, names):
    write_run(tmp_path / "out", {name: (clip, Flaws()) for name in names}, {})
    paths = RunPaths(tmp_path / "out")
    paths.video("torn").write_bytes(b"not hdf5")
    page = write_report(tmp_path / "out").read_text()
    assert "cannot be shown" in page and "table.videos" in page
    assert paths.report_page("good").is_file() == ("good" in names)
    assert "cannot be shown" in paths.report_page("torn").read_text()  # to which its neighbours link
    tags_of(page)


def test_branches_that_are_absent_are_left_out(report):
    _, page = report(leave_out=("camera", "tracks", "prior"))
    assert (
        page.count("<img ") == 8
        and "from above" not in page
        and "tracks" not in re.findall("data-layer=.(.*?)[\"']", page)
    )
    assert "Flicker is not measured" in page
    tags_of(page)


@pytest.mark.long
def test_one_video_is_held_at_a_time(clip, tmp_path):
    """What Python and numpy hold at the peak, for two videos and for six: a page of one is 0.3 MB."""
    peaks = []
    for count in (2, 6):
        out = tmp_path / str(count)
        write_run(out, {f"clip {k}": (clip, Flaws()) for k in range(count)}, {})
        tracemalloc.start()
        write_report(out)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 400_000  # four pages more would be 1.2 MB


def test_not_a_run_is_named(tmp_path):
    with pytest.raises(StoreError, match="not the output of a run"):
        write_report(tmp_path)


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
    seen = np.ones((5, 2), bool)
    seen[2, 0] = False  # seen in frames 3 and 4 again
    seen[4, 1] = False  # hidden now: not drawn
    figure = trails(uv, seen, np.array([0, 5]))
    assert re.findall(' d="([^"]*)"', figure) == ["M140 200l-10 0", "M140 200h0"]  # tenths of a pixel, the last first


def test_seconds_add_up_over_segments():
    rows = [{"start": 0, "seconds_prior": 1.5, "seconds_camera": None}, {"seconds_prior": 2.0, "seconds_camera": 4.0}]
    assert stage_seconds(rows) == {"prior": 3.5, "camera": 4.0}
