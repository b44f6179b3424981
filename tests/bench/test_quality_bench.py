"""The calibration of quality: its clips, their truth, and the correlations that are stated."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from geoflow.bench.quality.calibration_figure import draw_calibration
from geoflow.bench.quality.made_clips import MADE, MadeClip, dark, make
from geoflow.bench.quality.quality_bench import correlations
from geoflow.bench.quality.real_clips import RealPart, cut
from geoflow.errors import InputError
from geoflow.synth.groundtruth import load_ground_truth


def row(clip: str, quality: float | None, abs_rel: float | None, *, real: bool = False) -> dict:
    return {"clip": clip, "quality": quality, "abs_rel": abs_rel, "ate_percent": None, "real": real}


def test_segments_without_an_error_count_as_the_worst_or_not_at_all() -> None:
    rows = [row(f"c{k}", 0.9 - 0.1 * k, 0.01 * (k + 1)) for k in range(6)]
    found = correlations([*rows, row("lost", 0.0, None), row("unknown", None, 0.5)])["everything"]["abs_rel"]
    assert found == {"segments": 7, "with_error": 6, "known": 1.0, "all": 1.0}
    found = correlations([*rows, row("lost", 1.0, None)])["everything"]["abs_rel"]
    assert found["known"] == 1.0 and found["all"] < 0.5, "a lost clip of high quality is held against it"


def test_clips_are_halved_as_wholes_and_real_ones_stand_apart() -> None:
    rows = [row(f"c{k // 2}", 0.1 * k, 1 / (k + 1), real=k >= 4) for k in range(8)]
    found = correlations(rows)
    halves = [found[name]["abs_rel"]["segments"] for name in ("one half of the clips", "the other half")]
    assert halves == [4, 4] and found["real"]["abs_rel"]["segments"] == 4 == found["made"]["abs_rel"]["segments"]
    assert found["everything"]["ate_percent"]["known"] is None, "none is known"


def test_a_made_clip_is_spoilt_and_its_truth_is_not(tmp_path: Path) -> None:
    assert len({clip.seed for clip in MADE}) == len(MADE) >= 30, "no two clips show one scene"
    pairs = [make(MadeClip(name, 3, spoil), tmp_path, frames=2, width=64, height=48) for name, spoil in
             (("plain", MADE[0].spoil), ("dark", dark(0.1)))]  # fmt: skip
    plain, spoilt = (cv2.imread(str(source / "00001.png")).mean() for source, _ in pairs)
    assert spoilt < 0.2 * plain
    with load_ground_truth(pairs[0][1]) as one, load_ground_truth(pairs[1][1]) as other:
        assert np.array_equal(one.depth[1], other.depth[1]) and (one.depth[1] > 0).all()


def test_a_lens_bends_depth_with_the_picture(tmp_path: Path) -> None:
    _, truth = make(MadeClip("barrel", 3, barrel=-0.2), tmp_path, frames=1, width=64, height=48)
    _, straight = make(MadeClip("straight", 3), tmp_path, frames=1, width=64, height=48)
    with load_ground_truth(truth) as bent, load_ground_truth(straight) as plain:
        assert bent.depth[0][24, 32] == pytest.approx(plain.depth[0][24, 32], rel=0.05), "the middle stays"
        assert not np.array_equal(bent.depth[0], plain.depth[0]) and (bent.depth[0] > 0).all()


def test_a_part_of_a_real_clip_keeps_its_own_poses_and_depth(tmp_path: Path) -> None:
    folder = tmp_path / "clips" / "room"
    for name in ("frames", "depth"):
        (folder / name).mkdir(parents=True)
    poses = np.tile(np.eye(4), (20, 1, 1))
    poses[:, 0, 3] = np.arange(20)
    for k in range(20):
        cv2.imwrite(str(folder / "frames" / f"{k:05d}.png"), np.full((24, 32, 3), 10 * k, np.uint8))
        cv2.imwrite(str(folder / "depth" / f"{k:05d}.png"), np.full((24, 32), 1000 + k, np.uint16))
    np.savez(folder / "gt.npz", cam_from_world=poses, intrinsics=np.diag([30.0, 30, 1]), time=np.arange(20) / 10)
    done = cut(RealPart("room", 4, 3), tmp_path / "clips", tmp_path / "out", frames=5, max_size=64)
    assert done.frames == 5 and cv2.imread(str(sorted(done.source.iterdir())[1]))[0, 0, 0] == 70
    with load_ground_truth(done.truth) as truth:
        assert truth.cam_from_world[:, 0, 3].tolist() == [4, 7, 10, 13, 16]
        assert truth.depth[2][0, 0] == pytest.approx(1.010)
    with pytest.raises(InputError, match="too few for those from 18 on"):
        cut(RealPart("room", 18, 3), tmp_path / "clips", tmp_path / "out", frames=5, max_size=64)


def test_the_figure_is_drawn_also_where_errors_are_missing(tmp_path: Path) -> None:
    rows = [row("a", 0.4, 0.2), row("b", 0.0, None, real=True), row("c", 0.8, 0.02), row("d", None, 0.1)]
    draw_calibration(rows, correlations(rows), tmp_path / "quality.png")
    assert cv2.imread(str(tmp_path / "quality.png")).shape == (440, 1120, 3)
