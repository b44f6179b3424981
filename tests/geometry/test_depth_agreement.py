"""How well depth agrees with itself: exact depth of a rendered walk, then depth and poses that are wrong."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from geoflow.geometry.depth.depth_agreement import DepthAgreement, depth_agreement
from geoflow.geometry.picture_measures import small_picture
from geoflow.synth import Clip, render

COUNT = 14


@pytest.fixture(scope="module")
def clip() -> Clip:
    return render(num_frames=COUNT, width=96, height=72, fps=12, moving=0)


def agreement(clip: Clip, depth: np.ndarray | None = None, poses: np.ndarray | None = None) -> DepthAgreement:
    depth = clip.depth if depth is None else depth
    poses = clip.cam_from_world if poses is None else poses
    small = np.stack([small_picture(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)) for frame in clip.frames])
    return depth_agreement(lambda i: depth[i], clip.intrinsics, poses, np.isfinite(poses).all((1, 2)), small)


def test_exact_depth_agrees(clip: Clip) -> None:
    found = agreement(clip)
    # Of pixels rounded to the nearest: half a pixel of a slanted surface at 96 px is about a percent of its depth.
    assert found.gap.max() < 0.01 and np.nanmax(found.flicker) < 0.002
    assert found.photometric.min() > 0.9
    assert np.isnan(found.flicker[0]) and np.isfinite(found.flicker[1:]).all()
    assert found.parallax.min() > 0.005 and found.parallax.max() < 0.2


def test_depth_that_is_wrong_disagrees(clip: Clip) -> None:
    wrong = clip.depth * np.linspace(0.8, 1.2, COUNT)[:, None, None]  # the scale drifts
    found = agreement(clip, wrong)
    assert np.median(found.gap) > 0.05, "by 3 % a frame, to frames 3 and 8 away"
    assert found.flicker[1:] == pytest.approx(np.diff(np.log(np.linspace(0.8, 1.2, COUNT))), abs=0.003)
    bent = clip.depth * (1 + 0.4 * np.sin(np.arange(96) / 9 + np.arange(COUNT)[:, None])[:, None])
    assert np.median(agreement(clip, bent).gap) > 0.05
    assert agreement(clip, bent).photometric.mean() < agreement(clip).photometric.mean() - 0.01


def test_wrong_poses_disagree(clip: Clip) -> None:
    poses = clip.cam_from_world.copy()
    poses[:, 0, 3] += np.where(np.arange(COUNT) % 2, 0.15, -0.15)  # m
    right, wrong = agreement(clip), agreement(clip, poses=poses)
    assert np.median(wrong.gap) > 2 * np.median(right.gap)
    assert wrong.photometric.mean() < right.photometric.mean() - 0.05


def test_what_cannot_be_compared_is_unknown(clip: Clip) -> None:
    poses, depth = clip.cam_from_world.copy(), clip.depth.copy()
    poses[5], depth[7] = np.nan, 0
    found = agreement(clip, depth, poses)
    for values in (found.gap, found.photometric, found.parallax, found.flicker):
        assert np.isnan(values[[5, 7]]).all()
    assert np.isfinite(found.gap[[4, 6, 8]]).all(), "other neighbours are left"
    assert np.isnan(found.flicker[[6, 8]]).all(), "the frame before is not known"


def test_a_picture_that_shows_nothing_has_no_correlation(clip: Clip) -> None:
    flat = Clip(**{**vars(clip), "frames": np.full_like(clip.frames, 128)})
    found = agreement(flat)
    assert np.isnan(found.photometric).all() and np.isfinite(found.gap).all()
