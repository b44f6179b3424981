"""Quality in a store as `write` makes it: per frame, in the table of segments and in the tables of the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from segment_fields import fields_of, make_truth

from geoflow.geometry.picture_measures import SMALL, measure_pictures
from geoflow.quality.quality_columns import QUALITY_COLUMNS
from geoflow.segments import plan_segments
from geoflow.stage import SegmentRecord
from geoflow.stages.stitch import Stitch
from geoflow.stages.write import Write
from geoflow.store.finished import row_of
from geoflow.store.index import read_rows, write_index, write_segments
from geoflow.store.paths import RunPaths
from geoflow.store.schema import SEGMENTS
from geoflow.store.verify import verify_store
from geoflow.synth import Clip, render

STORED = ("score", "coverage", "depth_gap", "photometric", "flicker", "parallax", "track_residual", "hand_jitter")
COUNT, SIZE, OVERLAP = 30, 16, 4


@pytest.fixture(scope="module")
def clip() -> Clip:
    return render(num_frames=COUNT, width=64, height=48, fps=8, moving=0)


def written(out: Path, clip: Clip, spoil: dict[str, float], *, cameras: bool = True) -> tuple[Path, dict]:
    """A store of a rendered clip; in its second segment depth is noisy by `depth`, and `pose` m shake the poses."""
    base = make_truth(COUNT, size=SIZE, overlap=OVERLAP)
    video = replace(base.video, height=48, width=64, num_frames=COUNT)
    rng, stitch, write = np.random.default_rng(0), Stitch(), Write(Write.Params(out=str(out)))
    segments = list(plan_segments(video, SIZE, OVERLAP))
    depth, poses = clip.depth.copy(), clip.cam_from_world.copy()
    bad = slice(segments[1].start, COUNT)
    depth[bad] *= np.exp(spoil.get("depth", 0) * rng.standard_normal(depth[bad].shape)).astype(np.float32)
    poses[bad, 0, 3] += spoil.get("pose", 0) * rng.standard_normal(len(poses[bad]))
    u, v = np.meshgrid(np.arange(64), np.arange(48))
    for segment in segments:
        part = slice(segment.start, segment.stop)
        k = clip.intrinsics[part]
        points = np.stack([(u - k[0, 0, 2]) / k[0, 0, 0] * depth[part], (v - k[0, 1, 2]) / k[0, 1, 1] * depth[part],
                           depth[part]], axis=-1)  # fmt: skip
        fields = {
            "frames.index": np.arange(segment.start, segment.stop),
            "frames.time": np.arange(segment.start, segment.stop) / 8,
            "geometry.points": points.astype(np.float16),
            "geometry.mask": np.ones(points.shape[:3], bool),
            "geometry.intrinsics": k,
            **measure_pictures(clip.frames[part]),
        }
        if cameras:
            fields |= {
                "camera.intrinsics": k,
                "camera.cam_from_world": poses[part],
                "camera.valid": np.ones(len(segment), bool),
                "camera.depth": depth[part].astype(np.float16),
                "camera.motion": np.ones(len(segment), np.uint8),
            }
        small = fields.pop("frames.small")
        write.process(segment, stitch.process(segment, fields) | {"frames.small": small})
    done = write.finish(video, [SegmentRecord(s.index, s.start, s.stop, "complete", {}, {}) for s in segments])
    return RunPaths(out).video(video.name), done


def test_every_frame_has_its_figures_and_the_tables_their_summary(clip: Clip, tmp_path: Path) -> None:
    path, done = written(tmp_path, clip, {})
    assert verify_store(path) == []
    with h5py.File(path) as file:
        held = {name: file[f"quality/{name}"][()] for name in file["quality"]}
        blur, table = file["frames/blur"][()], file[SEGMENTS][()]
        row = {"name": "clip", "path": "videos/clip.h5", **row_of(file)}
    assert set(held) == set(STORED) - {"track_residual", "hand_jitter"}, "there are neither tracks nor hands"
    starts = table["start"].tolist()
    assert np.flatnonzero(np.isnan(held.pop("flicker"))).tolist() == starts, "nothing is kept from segment to segment"
    assert all(len(values) == COUNT and np.isfinite(values).all() for values in held.values())
    assert (held["coverage"] == 1).all() and held["score"].min() > 0.6 and blur.min() > 0
    for k, (start, stop) in enumerate(zip(starts, [*starts[1:], COUNT])):
        assert table["quality"][k] == pytest.approx(held["score"][start:stop].mean())
        assert table["depth_gap"][k] == pytest.approx(np.median(held["depth_gap"][start:stop]))
        assert table["blur"][k] == pytest.approx(np.median(blur[start:stop]))
    assert done["quality"] == pytest.approx(held["score"].mean()) and done["moving"] == 1 == done["posed"]
    assert done["quality_from"] == "coverage, depth_gap, photometric, seam_residual" and done["hands_visible"] is None
    paths = RunPaths(tmp_path)
    write_index(paths, [row])
    write_segments(paths, {"clip": table})
    (found,) = read_rows(paths.index)
    assert {name: found[name] for name in QUALITY_COLUMNS} == pytest.approx({n: done[n] for n in QUALITY_COLUMNS})
    assert [r["track_residual"] for r in read_rows(paths.segments)] == [None] * len(table), "null, not NaN"


@pytest.mark.parametrize("spoil", [{"depth": 0.1}, {"pose": 0.1}])
def test_the_spoilt_segment_has_the_lower_quality(clip: Clip, tmp_path: Path, spoil: dict[str, float]) -> None:
    with (
        h5py.File(written(tmp_path / "good", clip, {})[0]) as good,
        h5py.File(written(tmp_path / "bad", clip, spoil)[0]) as bad,
    ):
        before, after = good[SEGMENTS]["quality"], bad[SEGMENTS]["quality"]
    assert after[1] < before[1] - 0.1
    assert after[0] == pytest.approx(before[0], abs=0.08), "only its last frames meet none of the spoilt"


def test_without_poses_nothing_was_held_against_neighbours(clip: Clip, tmp_path: Path) -> None:
    path, done = written(tmp_path, clip, {}, cameras=False)
    with h5py.File(path) as file:
        assert np.isnan(file["quality/score"][()]).all() and (file["quality/coverage"][()] == 1).all()
        assert np.isnan(file[SEGMENTS]["quality"]).all()
    assert done["quality"] is None and done["posed"] is None and done["coverage"] == 1
    assert done["quality_from"] == ""


def test_frames_without_a_pose_have_no_quality_left(tmp_path: Path) -> None:
    truth = make_truth()
    stitch, write = Stitch(), Write(Write.Params(out=str(tmp_path)))
    for segment in truth.segments:
        fields = fields_of(truth, segment)
        lost = np.arange(segment.start, segment.stop) % 5 == 2
        fields["camera.valid"] = ~lost
        fields["camera.cam_from_world"] = np.where(lost[:, None, None], np.nan, fields["camera.cam_from_world"])
        write.process(segment, stitch.process(segment, fields))
    records = [SegmentRecord(s.index, s.start, s.stop, "complete", {}, {}) for s in truth.segments]
    assert write.finish(truth.video, records)["posed"] == pytest.approx(0.8)
    with h5py.File(RunPaths(tmp_path).video("clip")) as file:
        score = file["quality/score"][()]
    assert (score[2::5] == 0).all() and (np.delete(score, slice(2, None, 5)) > 0).all()


def test_the_small_picture_has_the_form_that_its_field_states() -> None:
    from geoflow.fields import field

    assert field("frames.small").shape == f"T {SMALL[0]} {SMALL[1]}"
