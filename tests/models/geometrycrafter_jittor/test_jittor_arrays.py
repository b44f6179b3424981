"""What the pipeline with Jittor computes in numpy, beside the same of the PyTorch pipeline; no Jittor is needed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from small_crafter import make_video  # noqa: E402

from geoflow.errors import InputError  # noqa: E402
from geoflow.models import half_range  # noqa: E402
from geoflow.models.geometrycrafter import clip_frames, maps, priors, resizing  # noqa: E402
from geoflow.models.geometrycrafter.options import Options  # noqa: E402
from geoflow.models.geometrycrafter.prior_statistics import statistics_of  # noqa: E402
from geoflow.models.geometrycrafter_jittor import array_priors, decoded_maps, resampling  # noqa: E402

RNG = np.random.default_rng(3)


def close(found: np.ndarray, wanted: torch.Tensor, atol: float = 5e-6) -> None:
    """Equal up to the rounding of float32, `atol` of the largest value: places of pixels are rounded, too."""
    expected = wanted.numpy()
    assert found.shape == expected.shape and found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol * max(1.0, float(np.abs(expected).max())))


@pytest.mark.parametrize("size", [(64, 96), (40, 100), (97, 31), (53, 75)])
@pytest.mark.parametrize("name", ["bilinear", "nearest", "log_bilinear", "bicubic"])
def test_resizing_is_that_of_the_pytorch_pipeline(name: str, size: tuple[int, int]) -> None:
    given = RNG.random((2, 3, 53, 75), np.float32)
    close(getattr(resampling, name)(given, size), getattr(resizing, name)(torch.from_numpy(given), size))


@pytest.mark.parametrize("size", [(54, 72), (224, 300), (300, 420), (576, 1024)])
def test_frames_for_clip_are_those_of_the_pytorch_pipeline(size: tuple[int, int]) -> None:
    given = RNG.random((1, 3, *size), np.float32) * 2 - 1
    found = resampling.normalise(resampling.resize_for_clip(given))
    close(found, clip_frames.normalise(clip_frames.resize_for_clip(torch.from_numpy(given))))


def test_a_few_nearest_pixels_are_those_of_torch_for_many_sizes() -> None:
    for old in (3, 54, 75, 540, 1080):
        for new in (1, 2, 33, 64, 96, 576, 1024):
            row = torch.arange(old, dtype=torch.float32).expand(1, 1, 1, old)
            wanted = torch.nn.functional.interpolate(row, (1, new), mode="nearest-exact")[0, 0, 0]
            np.testing.assert_array_equal(resampling.nearest_pixels(old, new), wanted.numpy(), err_msg=f"{old} {new}")


@pytest.mark.parametrize("odd", ["nothing", "no point where invalid", "behind where invalid", "no valid pixel"])
@pytest.mark.parametrize("size", [(54, 72), (53, 75)])
def test_priors_are_those_of_the_pytorch_pipeline(size: tuple[int, int], odd: str) -> None:
    _, points, mask = make_video(3, *size)
    mask[:, 5:9, 10:30] = False
    if odd == "no point where invalid":
        points[1, 5:9, 10:30] = np.nan
        points[2, 5:9, 10:30] = np.inf
    elif odd == "behind where invalid":
        points[1, 5:9, 10:30, 2] *= -1
    elif odd == "no valid pixel":
        mask[1] = False
    survey = priors.PriorSurvey()
    survey.add(torch.from_numpy(points), torch.from_numpy(mask))
    wanted = survey.finish()
    found = statistics_of(array_priors.survey_rows(points, mask), mask[0].size)
    for name in ("scale", "low", "high"):
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=1e-6)
    ours = array_priors.prior_maps(points, mask, wanted)
    theirs = priors.prior_maps(torch.from_numpy(points), torch.from_numpy(mask), wanted)
    for name in ("disparity", "mask", "log_depth", "intrinsics", "diagonal"):
        close(getattr(ours, name), getattr(theirs, name))
    close(ours.resized((64, 64)).log_depth, theirs.resized((64, 64)).log_depth)


def test_a_valid_pixel_that_is_no_point_is_refused() -> None:
    _, points, mask = make_video(2)
    points[1, 40, 40] = np.nan
    assert mask[1, 40, 40]
    with pytest.raises(InputError, match="the prior of frame 1 has 1 valid pixels"):
        statistics_of(array_priors.survey_rows(points, mask), mask[0].size)


@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize("size", [(64, 64), (53, 75)])
def test_decoded_maps_are_those_of_the_pytorch_pipeline(size: tuple[int, int], nearest: bool) -> None:
    decoded = [RNG.standard_normal((4, 1, 64, 64), np.float32) for _ in range(3)]
    options = Options(height=64, width=64, use_extract_interp=nearest)
    ours = decoded_maps.restore(tuple(decoded), size, options)
    theirs = maps.restore(tuple(torch.from_numpy(part) for part in decoded), size, options)
    sums = decoded_maps.FocalSum(), maps.FocalSum()
    for focal, part in zip(sums, (ours, theirs)):
        focal.add(part)
    assert sums[0].diagonal() == pytest.approx(sums[1].diagonal(), abs=1e-6)
    larger = decoded_maps.enlarge(ours, (108, 144)), maps.enlarge(theirs, (108, 144))
    for own, wanted in ((ours, theirs), larger):
        close(own.depth, wanted.depth)
        close(own.diagonal, wanted.diagonal)
        assert (own.mask != wanted.mask.numpy()).mean() < 1e-3
        close(own.frame_diagonal(), wanted.frame_diagonal(), atol=1e-3 if own is not ours else 5e-6)


def test_arrays_in_half_precision_are_the_tensors() -> None:
    points = RNG.standard_normal((2, 8, 9, 3), np.float32)
    points[0, 0, 0], points[0, 0, 1], points[0, 1, 1, 2], points[1, 2, 2] = np.nan, 7e4, 1e-9, np.inf
    mask = RNG.random((2, 8, 9)) > 0.2
    ours = half_range.arrays_in_half(points, mask)
    theirs = half_range.points_in_half(torch.from_numpy(points), torch.from_numpy(mask))
    for own, wanted in zip(ours, theirs):
        np.testing.assert_array_equal(own, wanted.numpy())


def test_what_both_pipelines_share_needs_no_torch() -> None:
    """The environment with Jittor has none, and the driver must not import Jittor."""
    code = """
import sys
sys.modules["torch"] = sys.modules["jittor"] = None  # an import of either fails
import actors.geometrycrafter, actors.geometrycrafter_jittor
import geoflow.models.geometrycrafter_jittor.array_priors, geoflow.models.geometrycrafter_jittor.decoded_maps
import geoflow.models.geometrycrafter_jittor.compiling
import geoflow.models.geometrycrafter.collecting, geoflow.models.geometrycrafter.reconstruction
import geoflow.models.geometrycrafter.scheduler, geoflow.models.geometrycrafter.start
import geoflow.models.diffusion.published
"""
    subprocess.run([sys.executable, "-c", code], check=True)
