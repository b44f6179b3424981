"""Parts of the report: depth that is compared, flicker without truth, memory over time, the list of videos."""

from __future__ import annotations

import base64
import json
import re
import zlib

import h5py
import numpy as np
import pytest
from full_store import UNPOSED, write_full_store
from ledger_events import done, one_run, started

from geoflow.export.marks import BONES
from geoflow.report.consistency_section import seam_figure, steps
from geoflow.report.curve_figure import bar_figure
from geoflow.report.markup import embedded, page
from geoflow.report.memory_section import Memory, Series
from geoflow.report.overlays import skeleton
from geoflow.report.overview import totals, video_table
from geoflow.report.pictures import depth_legend, legend_ticks
from geoflow.report.samples import colour_range, prior_factor, read_samples
from geoflow.report.scene_section import packed_cloud
from geoflow.report.video_page import video_part
from geoflow.store.reader import open_video


@pytest.fixture(scope="module")
def video(small_clip, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "full.h5"
    write_full_store(path, small_clip, segments=((0, 4), (2, 6), (5, 8)))
    with open_video(path) as video:
        yield video


def test_the_prior_is_brought_to_the_scale_of_the_others(video):
    truth = video.camera_depth[0]
    depths = {"prior": truth / 3, "geometry": np.where(truth > 0, truth, 0), "camera": 9 * truth}
    assert prior_factor(depths) == pytest.approx(3, rel=1e-3)  # the geometry's, not the camera's
    assert prior_factor({"prior": truth}) is None and prior_factor({"camera": truth}) is None
    assert prior_factor({"prior": truth, "geometry": np.zeros_like(truth)}) is None
    samples = list(read_samples(video, np.array([0, 7])))
    assert [sample.i for sample in samples] == [0, 7] and samples[0].factor == pytest.approx(1)
    assert samples[1].rgb is not None and samples[1].rgb.shape == (48, 64, 3)


def test_flicker_is_what_the_poses_do_not_explain(video):
    """True depth does not flicker, up to what interpolation costs at 64x48; a factor on one frame is seen as it is."""
    pose = video.cameras.cam_from_world
    a, b = ({"geometry": video.camera_depth[i], "prior": video.camera_depth[i]} for i in (0, 1))
    b_from_a = pose[1] @ np.linalg.inv(pose[0])
    still = steps(a, b, video.cameras.intrinsics[0], b_from_a)
    assert 0 <= still["geometry"] < 0.01
    scaled = steps(a, b | {"prior": 1.1 * b["prior"]}, video.cameras.intrinsics[0], b_from_a)
    assert scaled["prior"] == pytest.approx(np.log(1.1), abs=0.01) and scaled["geometry"] == still["geometry"]
    unmoved = steps(a, b, video.cameras.intrinsics[0], np.eye(4))
    assert unmoved["geometry"] > 2 * still["geometry"]  # the camera's own motion is no flicker
    assert steps(a, b, video.cameras.intrinsics[0], np.full((4, 4), np.nan)) == {}
    assert steps({"prior": a["prior"]}, b, video.cameras.intrinsics[0], b_from_a) == {}


def test_everything_a_store_can_hold_is_on_its_page(video):
    part = video_part(video, {"name": "full"}, None, "", frames=24)
    html = part.html
    assert html.count('class="frame"') == 8 and len(part.thumbnails) == 2
    assert html.count('<g class="left">') == 4 and "left hand 90 %" in html and 'data-layer="hands"' in html
    assert "Seam residual" in html and html.count('class="line-key line-1" x=') >= 2  # two seams of three segments
    assert "1 of 8 frames have no pose" in html
    scene = json.loads(re.search(r'id="scene-data">(.*?)</script>', html)[1])
    assert [f["i"] for f in scene["frusta"]] == [i for i in range(8) if i != UNPOSED] and scene["posed"] == 7
    assert scene["path"][UNPOSED] is None
    assert len(zlib.decompress(base64.b64decode(scene["cloud"]["packed"]))) == 9 * scene["cloud"]["count"]
    assert scene["cloud"]["count"] > 0.7 * 7 * 64 * 48, "nearly all pixels of posed frames, if so few"
    assert len(np.frombuffer(base64.b64decode(scene["tracks"]["xyz"]), "<u2")) == 3 * scene["tracks"]["count"] > 0
    few = video_part(video, {"name": "full"}, None, "", frames=3).html
    assert re.findall(r'data-i="(\d+)"', few) == ["0", "4", "7"] and "3 of 8 frames" in few


def test_points_are_packed_without_loss_beyond_their_steps():
    """Unpacked by a running sum, as the page's script does; far jumps and colours of both ends are among them."""
    rng = np.random.default_rng(0)
    xyz = np.concatenate([rng.uniform(-1, 1, (500, 3)), [[-1, -1, -1], [1, 1, 1], [-1, 1, -1]]])
    rgb = np.concatenate([rng.integers(0, 256, (500, 3)), [[0, 0, 0], [255, 255, 255], [0, 255, 0]]]).astype(np.uint8)
    low, size = np.full(3, -1.0), 2.0
    found = packed_cloud(xyz, rgb, low, size)
    columns = np.frombuffer(zlib.decompress(base64.b64decode(found["packed"])), np.uint8).reshape(9, -1).astype(int)
    folded = columns[0:6:2] + 256 * columns[1:6:2]
    steps = np.cumsum(np.where(folded % 2, -(folded + 1) // 2, folded // 2), axis=1).T
    assert found["count"] == 503 and np.array_equal(np.cumsum(columns[6:], axis=1).T % 256, rgb)
    assert np.abs(steps / found["steps"] * size + low - xyz).max() <= 0.5001 * size / found["steps"]


def test_unknown_focal_lengths_leave_the_scene_without_points(small_clip, tmp_path):
    write_full_store(tmp_path / "blind.h5", small_clip)
    with h5py.File(tmp_path / "blind.h5", "a") as file:
        file["camera/intrinsics"][:] = file["geometry/intrinsics"][:] = np.nan
    with open_video(tmp_path / "blind.h5") as blind:
        html = video_part(blind, {"name": "blind"}, None, "", frames=4).html
    scene = json.loads(re.search(r'id="scene-data">(.*?)</script>', html)[1])
    assert scene["cloud"]["count"] == 0 and len(scene["frusta"]) == 4 and "Flicker is not measured" in html


def test_a_hand_is_drawn_as_far_as_it_is_known():
    uv = np.column_stack([np.arange(21.0), np.arange(21.0)])
    assert skeleton(uv).count("L") == 2 * len(BONES) == 2 * 21  # once as a dark rim
    uv[1] = np.nan  # the thumb's root: two bones less
    assert skeleton(uv).count("L") == 2 * (len(BONES) - 2) and "nan" not in skeleton(uv)


def test_the_legend_tells_range_and_unit():
    places = [place for _, place in legend_ticks((0.01, 2.0))]
    assert sorted(places, reverse=True) == places and min(-np.diff(places)) >= 0.09 and min(places) >= 0
    html = depth_legend((0.25, 2.0), "m")
    assert "depth z, m" in html and "≥ 4" in html and "≤ 0.5" in html and ">1<" in html
    assert "≥ ∞" in depth_legend((0.0, 1.0), "scene units")
    assert ">far<" in depth_legend(None, "m") and "≥" not in depth_legend(None, "m")


def test_a_prior_without_others_is_coloured_by_itself(small_clip, tmp_path):
    write_full_store(tmp_path / "prior.h5", small_clip, leave_out=("camera", "geometry", "tracks"))
    with open_video(tmp_path / "prior.h5") as alone:
        assert colour_range(alone, np.arange(8)) is None
        html = video_part(alone, {"name": "prior"}, None, "", frames=3).html
    assert ">far<" in html and "its own range" in html and html.count("<img ") == 3


def test_seams_are_bars_and_one_alone_is_left_to_the_table(video, small_clip, tmp_path):
    figure = seam_figure(video)
    assert figure.count("<rect") == 2 and "median 1 %" in figure
    write_full_store(tmp_path / "two.h5", small_clip, segments=((0, 5), (3, 8)))
    with open_video(tmp_path / "two.h5") as two:
        assert seam_figure(two) == ""
    assert "nan" not in bar_figure("x", np.array([0.0]), np.array([0.0]), (0.0, 0.0), unit="")


def memory_at(time: float, held: int) -> dict:
    row = {"promised_bytes": 2 * held, "store_bytes": held, "store_size": 10**9, "driver_bytes": 10**8}
    return {"time": time, "event": "memory", **row}


def test_memory_over_time_from_the_ledger():
    memory = Memory()
    for row in [
        started(100, "a"),
        memory_at(101, 10**6),
        done(101, "prior", 0, "a", 0, private_bytes=50_000_000),
        done(102, "prior", 1, "a", 1, private_bytes=70_000_000),
        memory_at(105, 3 * 10**6),
        {"time": 109.0, "event": "actor_died", "slot": "prior", "actor": 1},
        memory_at(110, 0),
    ]:
        memory.add(row)
    html = memory.html(["decode", "prior"])
    assert "held 0 to 3, median 2;" in html and "promised 0 to 6" in html and "1.0 GB at most" in html
    # One actor, both, and one again: a dead one holds nothing.
    assert re.search(r"prior 50 to 120, median 120; driver 100 to 100", html)
    without = Memory()
    for row in one_run():
        without.add(row)
    assert without.html(["decode", "prior"]) == ""


def test_a_series_of_days_stays_small_and_keeps_its_peak():
    series = Series()
    for second in range(200_000):
        series.add(second, 7.0 if second == 123_456 else 1.0)
    places, values = series.curve(200_000)
    assert len(places) <= 512 and values.max() == 7.0 and abs(places[values.argmax()] - 123_456) < 512
    assert np.isnan(Series().curve(3)[1]).all()


ROWS = [
    {"name": "b", "source": "/in/b", "status": "complete", "num_frames": 30, "fps": 10.0, "frames_posed": 15},
    {"name": "a & <b>", "source": "/in/a", "status": "failed", "reason": "not a <video>"},
]


def test_failures_come_first_with_their_reasons():
    html = video_table(ROWS, {"b": "report/b.html"}, {}, {})
    assert html.index("a &amp; &lt;b&gt;") < html.index("not a &lt;video&gt;") < html.index('href="report/b.html"')
    assert "/in/a" in html and "<input" not in html and 'data-key="50"' in html
    assert "cannot be shown: torn" in video_table(ROWS, {}, {}, {"b": "torn"})
    assert "<input" in video_table(ROWS * 5, {}, {}, {})
    facts = totals(ROWS, 75.0)
    assert re.findall("<dd>(.*?)</dd>", facts) == ["1", "1", "30", "3.0 s", "50 %", "0.0 s", "1 min 15 s"]


def test_a_thousand_videos_stay_a_small_page():
    rows = [ROWS[0] | {"name": f"video {k}"} for k in range(1000)]
    html = page(
        "x", video_table(rows, {row["name"]: f"report/{row['name']}.html" for row in rows}, {}, {}), ["table.js"]
    )
    assert len(html) < 700_000


def test_data_cannot_end_their_own_element():
    assert "</script" not in embedded("x", {"a": "</script><b>"})[:-9]
