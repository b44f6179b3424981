"""A store's tracks against true trajectories: which track answers which query, and what is said when none does."""

from __future__ import annotations

import inspect
import json

import h5py
import numpy as np
import pytest
from synthetic_store import Flaws, write_store, write_truth
from tapvid3d_file import tapvid3d_arrays, write_tapvid3d
from typer.testing import CliRunner

from geoflow.cli import app, main
from geoflow.cli.scoring import evaluate
from geoflow.errors import InputError
from geoflow.evaluate import evaluate_store, evaluate_tracks
from geoflow.evaluate.queried_tracks import RADIUS_PX
from geoflow.export import export_store

PIXEL = 256 / 48  # px of measurement in a pixel of the 64x48 clip


@pytest.fixture
def score(small_clip, tmp_path):
    """Write the store and a TAPVid-3D file of the clip, change them, and score one against the other."""

    def run(change=None, flaws=None, truth=None, **options):
        write_store(tmp_path / "store.h5", small_clip, flaws)
        if change:
            with h5py.File(tmp_path / "store.h5", "a") as file:
                change(file)
        write_tapvid3d(tmp_path / "truth.npz", small_clip, **(truth or {}))
        return evaluate_tracks(tmp_path / "store.h5", tmp_path / "truth.npz", **options)

    return run


def only_first(clip) -> dict:
    """The points that are seen in the first frame: the store has a track for each of them."""
    arrays = tapvid3d_arrays(clip)
    first = arrays["queries_xyt"][:, 2] == 0
    return {
        "tracks_XYZ": arrays["tracks_XYZ"][:, first],
        "visibility": arrays["visibility"][:, first],
        "queries_xyt": arrays["queries_xyt"][first],
    }


def replace(file, **arrays):
    for name, array in arrays.items():
        del file[f"tracks/{name}"]
        file[f"tracks/{name}"] = array


def shift(file, pixels):
    replace(file, uv=file["tracks/uv"][:] + np.float32([pixels, 0]))


def started_later(file):
    """The tracks are of queries elsewhere: what they say of the first frame was found backwards."""
    query = file["tracks/query"][:]
    query[:, 0] = 5
    replace(file, query=query)


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_tracks_of_the_queries_themselves_are_perfect_at_any_scale(score, small_clip, scale):
    found = score(flaws=Flaws(scale=scale), truth=only_first(small_clip)).point_tracks
    assert found.queries == found.by_query > 20 and found.missed == found.nearest == 0
    for row in (found.median, found.per_trajectory):
        assert row.jaccard == row.within == row.occlusion_accuracy == 1
        assert row.scale == pytest.approx(1 / scale, rel=1e-4)  # float32
    assert found.unscaled is None


def test_another_world_frame_changes_nothing(score, small_clip):
    def turned(file):
        turn = np.array([[0, 1, 0, 3], [-1, 0, 0, 1], [0, 0, 1, 2], [0, 0, 0, 1.0]])
        world = file["tracks/xyz"][:] @ turn[:3, :3].T + turn[:3, 3]
        replace(file, xyz=world.astype(np.float32))
        file["camera/cam_from_world"][:] = file["camera/cam_from_world"][:] @ np.linalg.inv(turn)

    assert score(turned, truth=only_first(small_clip)).point_tracks.median.jaccard == 1


def test_points_that_no_track_starts_from_are_missed_and_count(score, small_clip):
    arrays = tapvid3d_arrays(small_clip)
    late = arrays["queries_xyt"][:, 2] > 0
    found = score().point_tracks
    # A later point may have a track beside it, which answers for it; the store has none of its own for it.
    assert found.by_query == (~late).sum() and found.nearest + found.missed == late.sum() > 0
    strict = score(radius_px=0.0).point_tracks
    assert strict.missed == late.sum()
    seen = arrays["visibility"]
    assert strict.median.within == pytest.approx(seen[:, ~late].sum() / seen.sum())
    assert strict.median.jaccard == strict.median.within  # no claim is false
    assert strict.median.occlusion_accuracy == pytest.approx((~late).mean())
    assert strict.answered.jaccard == strict.answered.within == strict.answered.occlusion_accuracy == 1


def test_the_nearest_track_answers_within_the_radius_only(score, small_clip):
    def beside(file):
        started_later(file)
        shift(file, 0.5)  # 2.7 px of measurement

    truth = only_first(small_clip)
    near = score(beside, truth=truth, radius_px=0.5 * PIXEL + 0.01).point_tracks
    assert near.nearest == near.queries and near.by_query == near.missed == 0
    assert score(beside, truth=truth, radius_px=0.5 * PIXEL - 0.01).point_tracks.missed > 0
    assert near.radius_px == pytest.approx(2.68, abs=0.01)
    assert near.answered == near.median


def test_without_any_answer_all_is_missed_and_the_figures_of_answers_have_a_reason(score, small_clip):
    found = score(lambda file: shift(file, 1000), truth=only_first(small_clip))
    points = found.point_tracks
    assert points.missed == points.queries and points.answered is None
    assert points.median.jaccard == points.median.within == points.median.occlusion_accuracy == 0
    assert found.unscored["point_tracks.answered"] == "no query has a track"


def test_a_track_made_for_the_query_comes_before_a_nearer_one(score, small_clip):
    truth = only_first(small_clip)

    def twice(file):
        """Every track has a double that lies just on the query and is of another point; the first is 0.05 px off."""
        tracks = {name: file[f"tracks/{name}"][:] for name in ("query", "uv", "xyz", "visible")}
        other = {**tracks, "query": tracks["query"] + [5, 0, 0, 0], "xyz": tracks["xyz"] + np.float32(1)}
        own = {**tracks, "uv": tracks["uv"] + np.float32(0.05)}
        axes = {"query": 0, "uv": 1, "xyz": 1, "visible": 1}
        replace(file, **{name: np.concatenate([own[name], other[name]], axis) for name, axis in axes.items()})

    found = score(twice, truth=truth).point_tracks
    assert found.by_query == found.queries and found.median.jaccard == 1


def test_a_hidden_track_answers_no_query_of_another(score, small_clip):
    def hidden(file):
        started_later(file)
        file["tracks/visible"][0] = False

    assert score(hidden, truth=only_first(small_clip)).point_tracks.missed == score().point_tracks.by_query


def test_a_store_of_another_size_is_matched_in_the_truths_pixels(score, small_clip):
    def halved(file):
        file.attrs.update(height=24, width=32)
        replace(file, uv=(file["tracks/uv"][:] + 0.5) / 2 - 0.5)

    found = score(halved, truth=only_first(small_clip)).point_tracks
    assert found.by_query == found.queries and found.median.jaccard == 1


def test_a_store_of_some_frames_is_scored_in_these_and_says_so(score, small_clip):
    def even(file):
        """Frames 0, 2, 4 and 6 of the clip; frame 1 of the store is frame 2."""
        for name in ("frames/index", "tracks/xyz", "tracks/uv", "tracks/visible", "camera/cam_from_world"):
            array = file[name][::2]
            del file[name]
            file[name] = array
        valid = file["camera/valid"][::2]
        del file["camera/valid"]
        file["camera/valid"] = valid

    everywhere = score(even, truth=only_first(small_clip))
    assert everywhere.point_tracks.median.jaccard == everywhere.point_tracks.median.occlusion_accuracy == 1
    assert any("in the 4 frames of the store, of 8" in note for note in everywhere.notes)
    arrays = tapvid3d_arrays(small_clip)
    odd = int((arrays["queries_xyt"][:, 2] % 2).sum())
    assert odd > 0
    said = score(even)
    assert any(note.startswith(f"{odd} of ") and "count as missed" in note for note in said.notes)
    assert said.point_tracks.missed >= odd


def test_frames_without_a_pose_place_no_track(score, small_clip):
    def lost(file):
        file["camera/valid"][4:] = False

    found = score(lost, truth=only_first(small_clip))
    seen = only_first(small_clip)["visibility"]
    assert found.point_tracks.median.within == pytest.approx(seen[:4].sum() / seen.sum())
    assert any("4 of 8 frames of the store have a camera pose" in note for note in found.notes)


def test_a_store_without_cameras_scores_nothing_and_says_why(score, small_clip):
    found = score(flaws=Flaws(leave_out=("camera",)), truth=only_first(small_clip))
    assert found.point_tracks.median.jaccard == 0 and found.point_tracks.median.within == 0
    assert np.isnan(found.point_tracks.median.scale) and "point_tracks.median.scale" in found.unscored
    assert any("0 of 8 frames of the store have a camera pose" in note for note in found.notes)


def test_a_ground_truth_gives_the_same_as_its_tapvid3d_file(score, small_clip, tmp_path):
    from_file = score().point_tracks
    write_truth(tmp_path / "gt.h5", small_clip)
    with_queries = evaluate_store(tmp_path / "store.h5", tmp_path / "gt.h5")
    alone = evaluate_tracks(tmp_path / "store.h5", tmp_path / "gt.h5").point_tracks
    assert with_queries.point_tracks == alone and alone.median == from_file.median
    assert any("the truth states no queries" in note for note in with_queries.notes)
    other = evaluate_store(tmp_path / "store.h5", tmp_path / "gt.h5", tracks=tmp_path / "truth.npz")
    assert other.point_tracks == from_file and other.tracks == with_queries.tracks


def test_without_scaling_only_metres_are_held_against_metres(score, small_clip, tmp_path):
    def metres(file):
        file.attrs["metric"] = True

    found = score(metres, flaws=Flaws(scale=1.02), truth=only_first(small_clip)).point_tracks
    assert found.median.jaccard == 1 and found.unscaled.scale == 1
    assert 0 < found.unscaled.jaccard < 1  # 2 % of the depth is some pixels
    write_truth(tmp_path / "gt.h5", small_clip, metric=False)
    unknown = evaluate_tracks(tmp_path / "store.h5", tmp_path / "gt.h5")
    assert unknown.point_tracks.unscaled is None
    assert unknown.unscored["point_tracks.unscaled"] == "the truth is not in metres"


def test_thresholds_are_pixels_at_a_shorter_side_of_256(score, small_clip):
    def aside(file):
        """Every point lies half a pixel to the right in the picture of 64x48, at its own depth: 2.67 px at 256."""
        file.attrs["metric"] = True
        poses = file["camera/cam_from_world"][:].astype(np.float64)
        xyz, focal = file["tracks/xyz"][:].astype(np.float64), file["camera/intrinsics"][0, 0, 0]
        for t, pose in enumerate(poses):
            in_camera = xyz[t] @ pose[:3, :3].T + pose[:3, 3]
            in_camera[:, 0] += 0.5 * in_camera[:, 2] / focal
            xyz[t] = (in_camera - pose[:3, 3]) @ pose[:3, :3]
        replace(file, xyz=xyz.astype(np.float32))

    found = score(aside, truth=only_first(small_clip)).point_tracks.unscaled
    assert found.within_at == found.jaccard_at == (0, 0, 1, 1, 1)


def test_true_frames_without_a_pose_are_left_out(small_clip, tmp_path):
    write_store(tmp_path / "store.h5", small_clip)
    with h5py.File(tmp_path / "store.h5", "a") as file:
        file["tracks/visible"][5:] = ~file["tracks/visible"][5:]  # wrong there, and nowhere else
    write_truth(tmp_path / "gt.h5", small_clip, posed=range(5))
    found = evaluate_tracks(tmp_path / "store.h5", tmp_path / "gt.h5", radius_px=0)
    write_truth(tmp_path / "whole.h5", small_clip)
    whole = evaluate_tracks(tmp_path / "store.h5", tmp_path / "whole.h5", radius_px=0)
    assert found.point_tracks.answered.jaccard == found.point_tracks.answered.occlusion_accuracy == 1
    assert whole.point_tracks.answered.jaccard < 1 and whole.point_tracks.answered.occlusion_accuracy < 1
    assert any("true positions are unknown" in note for note in found.notes)


def test_an_export_is_a_perfect_truth_of_its_own_store(small_clip, tmp_path):
    write_store(tmp_path / "store.h5", small_clip)
    with h5py.File(tmp_path / "store.h5", "a") as file:
        file["frames/rgb"] = small_clip.frames
    export_store(tmp_path / "store.h5", "tapvid3d", tmp_path / "clip.npz")
    found = evaluate_tracks(tmp_path / "store.h5", tmp_path / "clip.npz").point_tracks
    assert found.by_query == found.queries and found.median.jaccard == found.median.occlusion_accuracy == 1
    export_store(tmp_path / "store.h5", "tapvid3d", tmp_path / "strided.npz", stride=2)
    with pytest.raises(InputError, match=r"strided.npz holds some frames of a clip only.*stride=1"):
        evaluate_tracks(tmp_path / "store.h5", tmp_path / "strided.npz")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"queries_xyt": None, "visibility": None},
            r"truth.npz lacks visibility, queries_xyt; give a file of the TAPV",
        ),
        ({"tracks_XYZ": np.zeros((8, 3, 3))}, r"tracks_XYZ is \(8, 3, 3\), expected \(8, \d+, 3\)"),
        ({"visibility": np.zeros((8, 0), bool)}, "has no points"),
        ({"fx_fy_cx_cy": np.array([0, 1, 2, 3])}, "expected positive focal lengths"),
        ({"images_jpeg_bytes": np.array([b"jpeg"] * 8)}, "is not a JPEG"),
        ({"images_jpeg_bytes": np.array([b"jpeg"] * 8, object)}, "images_jpeg_bytes cannot be read.*without a dtype"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(score, change, said):
    with pytest.raises(InputError, match=said):
        score(truth=change)


def test_queries_outside_the_clip_are_refused(score, small_clip):
    queries = tapvid3d_arrays(small_clip)["queries_xyt"]
    queries[3, 2] = 8
    with pytest.raises(InputError, match="queries_xyt must be pixels and frames 0 to 7"):
        score(truth={"queries_xyt": queries})


def test_a_truth_of_another_clip_is_refused(score, small_clip):
    longer = {name: np.concatenate([array, array]) for name, array in tapvid3d_arrays(small_clip).items()}
    longer = {name: longer[name] for name in ("tracks_XYZ", "visibility", "images_jpeg_bytes")}

    def whole(file):
        reading = {"fps": None, "limit": None, "pattern": None}
        file.attrs["work"] = json.dumps({"reading": reading})

    with pytest.raises(InputError, match=r"holds all 8 frames of its clip, but .*truth\.npz covers 16"):
        score(whole, truth=longer)
    with pytest.raises(InputError, match="the shapes differ"):
        score(lambda file: file.attrs.update(width=40))


def test_missing_files_and_missing_tracks(score, small_clip, tmp_path):
    found = score(flaws=Flaws(leave_out=("tracks",)))
    assert found.point_tracks is None and found.unscored == {"point_tracks": "the store holds no tracks"}
    with pytest.raises(InputError, match="no ground truth at"):
        evaluate_tracks(tmp_path / "store.h5", tmp_path / "absent.npz")
    write_truth(tmp_path / "gt.h5", small_clip)
    with h5py.File(tmp_path / "gt.h5", "a") as file:
        del file["tracks"]
    with pytest.raises(InputError, match=r"gt.h5 holds no tracks; give a file of the TAPVid-3D benchmark"):
        evaluate_tracks(tmp_path / "store.h5", tmp_path / "gt.h5")
    assert (
        evaluate_store(tmp_path / "store.h5", tmp_path / "gt.h5").unscored["point_tracks"]
        == "the store holds no tracks"
    )


def test_the_command_scores_tracks_alone_and_names_what_it_needs(score, tmp_path, monkeypatch, capsys):
    expected = score()
    store, truth = str(tmp_path / "store.h5"), str(tmp_path / "truth.npz")
    done = CliRunner().invoke(app, ["evaluate", store, "--tracks", truth, "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == json.loads(json.dumps(expected.to_dict(), allow_nan=False))
    shown = CliRunner().invoke(app, ["evaluate", store, "--tracks", truth, "--radius", "0"]).stdout
    assert "3D-AJ" in shown and "no scaling" not in shown and "0 nearest within 0 px" in shown
    assert "no figures without scaling (point tracks): the store's lengths are not in metres" in " ".join(shown.split())
    monkeypatch.setattr("sys.argv", ["geoflow", "evaluate", store])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2 and "--gt, or that of its tracks with --tracks" in capsys.readouterr().err
    assert inspect.signature(evaluate).parameters["radius"].default == RADIUS_PX
