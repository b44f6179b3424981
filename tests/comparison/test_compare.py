"""Two stores side by side: equal ones show no difference, known flaws show as the figures that evaluate gives them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import pytest
from synthetic_store import Flaws, write_run, write_store, write_truth
from typer.testing import CliRunner

import geoflow
from geoflow.cli import app
from geoflow.comparison import Comparison, RunComparison
from geoflow.comparison.side_by_side import score_tables
from geoflow.errors import InputError, StoreError
from geoflow.evaluate import evaluate_store
from geoflow.synth import Clip, render

HALF = 2.0**-11  # relative rounding of float16, the store's depth
STAGES = [{"slot": "camera", "backend": "embedded.colmap", "params": {"sources": 6}, "num_cpus": 1.0}]


@pytest.fixture
def stores(small_clip: Clip, tmp_path: Path) -> Any:
    """Write two stores with these flaws; the attributes are set on the second."""

    def write(first: Flaws, second: Flaws, **attributes: Any) -> tuple[Path, Path]:
        for name, flaws in (("a", first), ("b", second)):
            write_store(tmp_path / f"{name}.h5", small_clip, flaws)
        with h5py.File(tmp_path / "b.h5", "r+") as file:
            file.attrs.update(attributes)
        return tmp_path / "a.h5", tmp_path / "b.h5"

    return write


def compared(pair: tuple[Path, Path], **options: Any) -> Comparison:
    found = geoflow.compare(*pair, **options)
    assert isinstance(found, Comparison)
    return found


def test_equal_stores_do_not_differ(stores: Any) -> None:
    found = compared(stores(Flaws(), Flaws()))
    assert found.settings == {} and found.only_in_one == {} and found.notes == ()
    assert all(a == b for name, (a, b) in found.statistics.items() if not name.startswith("bytes"))
    held = found.between
    assert held is not None and held.frames == 8 and held.poses is not None
    assert list(held.depth) == ["prior", "geometry", "camera"]
    assert {(row.abs_rel, row.scale, row.coverage) for row in held.depth.values()} == {(0, 1, 1)}
    assert held.poses.ate_percent < 1e-4 and "no settings differ" in repr(found)


def test_another_scale_is_a_ratio_and_no_error(stores: Any) -> None:
    held = compared(stores(Flaws(), Flaws(scale=2.0))).between
    assert held is not None and held.poses is not None
    assert held.depth["geometry"].scale == pytest.approx(2, rel=HALF) and held.depth["geometry"].abs_rel < 2 * HALF
    assert held.poses.ate_percent < 1e-3  # float32 poses


def test_flaws_measure_the_same_against_a_perfect_store_as_against_the_truth(
    stores: Any, small_clip: Clip, tmp_path: Path
) -> None:
    flaws = Flaws(depth_gain={0: 1.2, 1: 1.2, 2: 1.2}, pose_noise=0.02, drop=16)
    a, b = stores(flaws, Flaws())
    write_truth(tmp_path / "gt.h5", small_clip)
    found, true = compared((a, b), gt=tmp_path / "gt.h5"), evaluate_store(a, tmp_path / "gt.h5")
    held = found.between
    assert held is not None and held.poses is not None and true.poses is not None and true.geometry is not None
    assert held.depth["geometry"].abs_rel == pytest.approx(true.geometry.abs_rel, abs=2 * HALF)
    assert held.depth["geometry"].coverage == pytest.approx(true.geometry.coverage)
    assert held.poses.ate_percent == pytest.approx(true.poses.ate_percent, rel=1e-3) and held.poses.ate_percent > 0.1
    assert found.scores is not None and found.scores[0].to_dict() == true.to_dict()
    assert found.scores[1].geometry is not None and found.scores[1].geometry.abs_rel < 2 * HALF
    shown = {title: columns for title, _, columns in score_tables(found)}["point tracks (TAPVid-3D), against the truth"]
    scalings = ("median scale", "scale per trajectory", "median scale, answered queries only")
    assert true.point_tracks is not None and set(shown) == {
        f"{side} {scaling}" for side in "AB" for scaling in scalings
    }
    assert shown["A median scale"]["jaccard"] == true.point_tracks.median.jaccard < shown["B median scale"]["jaccard"]


def test_frames_are_matched_by_their_number_in_the_source(stores: Any) -> None:
    a, b = stores(Flaws(), Flaws(depth_gain={6: 3.0, 7: 3.0}))
    with h5py.File(b, "r+") as file:
        file["frames/index"][:] = [4, 5, 6, 7, 8, 9, 10, 11]  # B begins four frames later: its 0 is A's 4
    held = compared((a, b)).between
    assert held is not None and held.frames == 4
    with h5py.File(a, "r") as first, h5py.File(b, "r+") as second:
        for name in ("geometry/depth", "geometry/mask"):
            second[name][:4] = first[name][4:]
    held = compared((a, b)).between
    assert held is not None and held.depth["geometry"].abs_rel == 0 and held.depth["camera"].abs_rel > 0.01


def test_settings_that_differ_are_named_and_what_only_schedules_is_not(stores: Any) -> None:
    other = json.dumps({"stages": [{**STAGES[0], "params": {"sources": 8, "wide": True}, "num_cpus": 2.0}]})
    a, b = stores(Flaws(), Flaws(leave_out=("tracks",)), pipeline=other)
    with h5py.File(a, "r+") as file:
        file.attrs["pipeline"] = json.dumps({"stages": STAGES, "segment": {"size": 96}})
    found = compared((a, b))
    assert found.settings == {"segment.size": (96, None), "camera.sources": (6, 8), "camera.wide": (None, True)}
    assert {name for name, forms in found.only_in_one.items() if forms[1] is None} == {
        "tracks/xyz", "tracks/visible", "tracks/uv", "tracks/query",
    }  # fmt: skip
    assert found.statistics["tracks"][0] > 0 and found.statistics["tracks"][1] is None


def test_what_may_not_be_one_film_is_said_or_not_held_against_each_other(stores: Any) -> None:
    a, b = stores(Flaws(), Flaws(), source_sha256="b" * 64)
    with h5py.File(a, "r+") as file:
        file.attrs["source_sha256"] = "a" * 64
    found = compared((a, b))
    assert found.between is not None and "different files" in found.notes[0]
    with h5py.File(b, "r+") as file:
        file["frames/index"][:] += 2
    found = compared((a, b))
    assert found.between is None and "other frames" in found.notes[0]
    with h5py.File(a, "r+") as file:
        file.attrs["source_sha256"] = "b" * 64
    assert compared((a, b)).between is not None
    with h5py.File(b, "r+") as file:
        file["frames/index"][:] += 100
    found = compared((a, b))
    assert found.between is None and "no source frame in common" in found.notes[0]


def test_a_store_of_another_size_is_compared_and_one_of_another_shape_is_not(
    stores: Any, small_clip: Clip, tmp_path: Path
) -> None:
    a, b = stores(Flaws(), Flaws())
    half = render(num_frames=8, width=32, height=24, fps=4.0)
    write_store(b, half, Flaws())
    held = compared((a, b)).between
    assert held is not None and held.depth["geometry"].scale == pytest.approx(1, abs=0.01)
    assert held.depth["geometry"].abs_rel < 0.05  # of 32x24 pixels, many lie at the edge of something
    assert held.depth["geometry"].focal_error < 1e-3
    write_store(b, render(num_frames=8, width=48, height=64, fps=4.0), Flaws())
    found = compared((a, b))
    assert found.between is None and "different shapes (64x48 and 48x64)" in found.notes[0]


def test_the_page_stands_alone_and_shows_both(stores: Any, tmp_path: Path) -> None:
    found = compared(stores(Flaws(), Flaws(scale=2.0, source="<b>x</b>.mp4")))
    page = found.write_html(tmp_path / "new" / "page.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 12  # depth of both at six frames; the source is gone
    assert 'alt="depth of A, frame 7"' in page and "A&#x27;s times 2 (the ratio" in page
    assert "http" not in page.replace("http-equiv", "") and "<b>x</b>.mp4" not in page


def test_runs_are_compared_video_by_video(small_clip: Clip, tmp_path: Path) -> None:
    perfect = (small_clip, Flaws())
    write_run(tmp_path / "one", {"x": perfect, "y": perfect}, {"z": "cannot be read"})
    write_run(tmp_path / "two", {"x": (small_clip, Flaws(scale=0.5)), "z": perfect}, {})
    (tmp_path / "truths").mkdir()
    write_truth(tmp_path / "truths" / "x.gt.h5", small_clip)
    found = geoflow.compare(tmp_path / "one", geoflow.load_run(tmp_path / "two"), gt=tmp_path / "truths")
    assert isinstance(found, RunComparison) and list(found.videos) == ["x"]
    assert (found.only_in_a, found.only_in_b) == (("y",), ("z",))
    assert found.failures == {"z": ("cannot be read", None)}
    held = found.videos["x"].between
    assert held is not None and held.depth["geometry"].scale == pytest.approx(0.5, rel=HALF)
    assert found.videos["x"].scores is not None
    page = found.write_html(tmp_path / "runs.html").read_text()
    assert "only A completed y" in page and "z failed in A: cannot be read" in page
    with pytest.raises(InputError, match=r"no ground truth.*<name>\.gt\.h5"):
        geoflow.compare(tmp_path / "one", tmp_path / "two", gt=tmp_path)


def test_on_the_command_line(stores: Any, tmp_path: Path) -> None:
    a, b = stores(Flaws(), Flaws(scale=2.0))
    shown = CliRunner().invoke(app, ["compare", str(a), str(b)])
    assert shown.exit_code == 0 and "depth ratio, B over A" in shown.output and "2.000" in shown.output
    page = tmp_path / "page.html"
    found = CliRunner().invoke(app, ["compare", str(a), str(b), "--json", "--html", str(page)])
    said = json.loads(found.stdout)
    assert said["html"] == str(page) and page.is_file() and said["between"]["poses"]["ate_m"] is None
    assert said["between"]["depth"]["camera"]["scale"] == pytest.approx(2, rel=HALF) and said["scores"] is None


def test_what_cannot_be_compared_is_named(stores: Any, small_clip: Clip, tmp_path: Path) -> None:
    a, _ = stores(Flaws(), Flaws())
    write_run(tmp_path / "run", {"x": (small_clip, Flaws())}, {})
    with pytest.raises(InputError, match="compare two stores, or two runs"):
        geoflow.compare(a, tmp_path / "run")
    with pytest.raises(StoreError, match=r"gone\.h5 does not exist"):
        geoflow.compare(a, tmp_path / "gone.h5")
    with pytest.raises(InputError, match="no ground truth at"):
        geoflow.compare(a, a, gt=tmp_path / "gone.gt.h5")
