"""The depth prior in the tracking: what is taken of it, the unit that it gives, and what its errors do to the path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import box_prior  # noqa: E402
import box_walk  # noqa: E402

from geoflow import fields  # noqa: E402
from geoflow.backends import loading  # noqa: E402
from geoflow.engine.actor.condensed import with_condensed  # noqa: E402
from geoflow.errors import ConfigError  # noqa: E402
from geoflow.fields import (  # noqa: E402
    DEPTH_ALIGNED,
    LENS_FROM_GUESS,
    LENS_FROM_PRIOR,
    LENS_FROM_STATED,
    LENS_GIVEN,
    UNIT_PRIOR,
    UNIT_TOO_FEW,
)
from geoflow.geometry.cameras import unproject  # noqa: E402
from geoflow.geometry.depth.coarse_prior import CoarsePrior, focal_of  # noqa: E402
from geoflow.geometry.depth.prior_unit import unit_of_prior  # noqa: E402
from geoflow.models.vipe.camera_start import camera_start, disparity_at_grid  # noqa: E402
from geoflow.models.vipe.keyframes import Keyframes  # noqa: E402
from geoflow.models.vipe.preparing import fit_of  # noqa: E402
from geoflow.models.vipe.prior_scale import with_one_scale  # noqa: E402
from geoflow.models.vipe.slam import Slam  # noqa: E402
from geoflow.pipeline import Pipeline  # noqa: E402
from geoflow.segments import Segment, Span, VideoInfo  # noqa: E402
from geoflow.stage import Fields, condensed_fields, shared_fields  # noqa: E402

HEIGHT, WIDTH = box_walk.SIZE

# What is taken of a prior


def test_the_grid_has_the_depth_of_the_pixels_that_it_stands_for() -> None:
    fit, start = fit_of(97, 203, 64 * 128), camera_start(None, None, (97, 203), 1.0)
    v, u = np.mgrid[:97, :203].astype(float)
    depth = 2 + u / 100 + v / 50
    uv = fit.grid_pixels()
    found = 1 / disparity_at_grid(depth, start, fit).astype(float)
    wanted = 2 + uv[..., 0].clip(0) / 100 + uv[..., 1].clip(0) / 50
    assert np.abs(found / wanted - 1).max() < 0.01  # half a pixel, and float16
    depth[:20], depth[40] = 0, np.nan
    found = disparity_at_grid(depth, start, fit)
    assert not found[uv[:, 0, 1] < 19].any() and np.isfinite(found).all() and (found[-1] > 0).all()


def test_a_prior_at_another_grid_is_brought_to_the_trackers() -> None:
    start, fine, coarse = camera_start(None, None, (120, 160), 1.0), fit_of(120, 160), fit_of(120, 160, 60 * 80)
    v, u = np.mgrid[:120, :160].astype(float)
    depth = 2 + u / 100 + v / 50
    prior = CoarsePrior(coarse.grid_pixels())
    prior.add(3, disparity_at_grid(depth, start, fine), 100.0, fine.grid_pixels())
    found, direct = prior.of(3, 100.0), disparity_at_grid(depth, start, coarse)
    assert found is not None and found.shape == direct.shape
    assert np.abs(found / direct - 1).max() < 0.05  # half of eight pixels
    with pytest.raises(ConfigError, match="frame 4"):
        prior.add(4, np.ones((2, 2), np.float16), 100.0)


def test_depth_goes_with_the_focal_length_that_it_was_judged_by() -> None:
    prior = CoarsePrior(fit_of(16, 16).grid_pixels())
    prior.add(0, np.full((2, 2), 0.5, np.float16), 100.0)
    prior.add(1, np.zeros((2, 2), np.float16), 100.0)
    twice = prior.of(0, 200.0)
    assert twice is not None and np.allclose(twice, 0.25), "a lens of twice the length sees the same twice as far away"
    assert prior.of(1, 100.0) is None and prior.of(2, 100.0) is None and len(prior) == 1


def test_frames_agree_on_a_focal_length_or_none_is_taken() -> None:
    assert focal_of(np.array([0, 90.0, 100, 110, np.nan, 900])) == 105
    assert focal_of(np.array([0, 90.0, 100])) is None


# The unit


def unit_of(factors: np.ndarray, *, shape: tuple[int, int] = (10, 10)) -> Any:
    depth = np.random.default_rng(1).uniform(1, 3, (len(factors), *shape))
    maps = [None if np.isnan(f) else 1 / (f * one) for f, one in zip(factors, depth)]
    return unit_of_prior(depth, np.arange(len(factors)) * 3, lambda frame: maps[frame // 3])


def test_the_unit_is_that_of_most_keyframes() -> None:
    found = unit_of(np.array([2.0, 2.02, 1.98, 2.0, 9.0]))
    assert found.reason == "" and found.factor == pytest.approx(2, rel=1e-6) and found.frames == 5
    assert 0 < found.error < 0.02


def test_no_unit_is_claimed_from_too_few_keyframes_or_where_they_differ() -> None:
    few = unit_of(np.array([2.0, 2.0] + [np.nan] * 8))
    assert (few.reason, few.factor, few.frames) == ("no prior", 1.0, 2)
    wild = unit_of(np.exp(np.linspace(-2, 2, 9)))
    assert (wild.reason, wild.factor) == ("unsteady", 1.0)
    assert unit_of(np.full(5, 2.0), shape=(5, 5)).reason == "no prior", "hardly any pixels"


def test_priors_of_other_scales_are_brought_to_that_of_most() -> None:
    keyframes = Keyframes((10, 10), torch.tensor([10.0, 10, 5, 5]))
    maps = 0.5 + torch.rand(4, 10, 10, generator=torch.Generator().manual_seed(0))
    own = [maps[0] * 3, maps[1] * 3, maps[2] * 6, None]
    for number, prior in enumerate(own):
        keyframes.add(10 * number, None, prior=prior)  # type: ignore[arg-type]
    keyframes.disps = maps
    given = {10 * number: prior for number, prior in enumerate(own) if prior is not None}
    for _ in range(2):  # the scale of most stays, however often it is done
        with_one_scale(keyframes, given)
        assert torch.allclose(keyframes.priors[:3], 3 * maps[:3], rtol=1e-5) and not keyframes.priors[3].any()


def test_a_stage_whose_prior_states_metres_states_them_too() -> None:
    assert Pipeline.load("vipe").metric_branches() == ("camera",)
    with_v1 = Pipeline.load("vipe").with_settings({"prior.model_version": "v1"})
    assert with_v1.metric_branches() == () == Pipeline.load("vipe").without(["prior"]).metric_branches()


# The path


@pytest.mark.long
def test_the_path_is_in_metres_whatever_single_frames_say_of_their_scale() -> None:
    """Flow is exact here, and so only the prior can bend the path."""
    depth = box_prior.wrong_depth(40, factors=0.3)
    found, unit = box_prior.metric_walk(depth, 0.0)
    path, scale = box_prior.metric_error(found, unit)
    assert unit.reason == "" and abs(scale) < 0.14, "the factor's own deviation; 0.034 measured"
    assert path < 0.08, "m, with the scale as found; 0.016 measured, of a path of 1.6 m"
    bent, _ = box_prior.metric_walk(depth, 0.0, prior_scale_free=False)
    assert box_walk.path_error(found) < 0.2 * box_walk.path_error(bent), "0.39 and 5.9 mm measured"


@pytest.mark.long
def test_a_prior_that_half_of_the_frames_lack_gives_the_unit_all_the_same() -> None:
    found, unit = box_prior.metric_walk(box_prior.wrong_depth(40, pixels=0.1, missing=0.5))
    path, scale = box_prior.metric_error(found, unit)
    assert unit.reason == "" and unit.frames < len(found.keyframes)
    assert abs(scale) < 0.03 and path < 0.06


# The stage

Vipe = loading.load("vipe")
KNOWN = tuple(box_prior.K[[0, 1, 0, 1], [0, 1, 2, 2]].tolist())


def video(count: int, **known: Any) -> VideoInfo:
    return VideoInfo("v", "v.mp4", "", count, 30.0, HEIGHT, WIDTH, HEIGHT, WIDTH, **known)


def prior_fields(depth: np.ndarray, focal: float) -> Fields:
    lens = np.array([[focal, 0, KNOWN[2]], [0, focal, KNOWN[3]], [0, 0, 1]])
    points = unproject(depth, np.tile(lens, (len(depth), 1, 1))).astype(np.float16)
    intrinsics = np.tile(lens, (len(depth), 1, 1)).astype(np.float32)
    return {"prior.points": points, "prior.mask": depth > 0, "prior.intrinsics": intrinsics}


def on(info: VideoInfo, given: Fields, areas: tuple[int, int] = (2 << 16, 2 << 16)) -> Fields:
    """What the stage says of a video of two segments; `areas` are those of condensing and of the survey."""
    count = info.num_frames
    stage, survey = (Vipe(Vipe.Params(backend_iters=2, area=area)) for area in areas)
    run = (model := Slam(box_prior.box_flow(count))).run
    model.run = lambda frames, **options: run(frames, **{**options, **box_walk.OPTIONS})  # type: ignore[method-assign]
    survey.use(model, "cpu")
    segments = [Segment(info, 0, 0, count // 2 + 4), Segment(info, 1, count // 2, count)]
    condensed: Fields = {}
    for segment in segments:
        own = {name: array[segment.start : segment.stop] for name, array in given.items()}
        condensed |= condensed_fields(stage.condense(segment, own), segment, "vipe")
    rgb = np.zeros((count, HEIGHT, WIDTH, 3), np.uint8)

    def read() -> Iterator[Fields]:
        pieces = (
            {"frames.rgb": rgb[t : t + 7], "frames.index": np.arange(count)[t : t + 7]} for t in range(0, count, 7)
        )
        return with_condensed(pieces, 0, condensed)

    span = Span(info, "chapter", 0, 0, count, 0, 1)
    shared = shared_fields(survey.survey(span, read), span, "vipe")
    found = survey.process(Segment(info, 0, 0, count), {"frames.rgb": rgb, **given, **shared})
    fields.check(found, (*Vipe.outputs, *Vipe.optional_outputs), who="vipe", num_frames=count)
    return found


@pytest.mark.long
def test_poses_and_depth_are_in_the_priors_unit() -> None:
    depth = box_prior.wrong_depth(40, factors=0.1)
    found = on(video(40, intrinsics=KNOWN), prior_fields(depth, box_prior.FX))
    assert (found["camera.unit"] == UNIT_PRIOR).all() and (found["camera.lens"] == LENS_GIVEN).all()
    assert (found["camera.depth_source"][1:] == DEPTH_ALIGNED).all(), "the first frame sees one wall"
    centres = np.linalg.inv(found["camera.cam_from_world"].astype(np.float64))[:, :3, 3]
    steps = [np.linalg.norm(np.diff(path, axis=0), axis=1).sum() for path in (centres, box_walk.path(40)[:, :3, 3])]
    scale = steps[0] / steps[1]
    assert abs(scale - 1) < 0.1, "the deviation of one keyframe is 0.1"
    error = found["camera.depth"].astype(float) / (scale * box_prior.true_depth(40)) - 1
    assert np.median(np.abs(error)) < 0.005, "depth and poses have one unit, whatever the prior's frames have"


@pytest.mark.long
def test_a_stage_whose_prior_is_missing_says_so() -> None:
    depth = box_prior.true_depth(30)
    depth[1:] = 0
    found = on(video(30, intrinsics=KNOWN), prior_fields(depth, box_prior.FX))
    assert found["camera.valid"].all() and (found["camera.unit"] == UNIT_TOO_FEW).all()


def test_the_search_for_the_focal_length_begins_with_what_is_known_best() -> None:
    stage, focals = Vipe(), np.full(9, 150.0)
    span = {
        name: Span(video(9, **known), "chapter", 0, 0, 9, 0, 0)
        for name, known in {"given": {"intrinsics": KNOWN}, "stated": {"stated_focal": 140.0}, "neither": {}}.items()
    }
    assert stage._start_focal(span["given"], focals) == (pytest.approx(box_prior.FX), LENS_GIVEN)
    assert stage._start_focal(span["stated"], focals) == (140, LENS_FROM_STATED)
    assert stage._start_focal(span["neither"], focals) == (150, LENS_FROM_PRIOR)
    assert stage._start_focal(span["neither"], np.zeros(9)) == (WIDTH, LENS_FROM_GUESS)


def test_nothing_is_condensed_without_a_whole_prior() -> None:
    segment = Segment(video(2), 0, 0, 2)
    given = prior_fields(np.ones((2, HEIGHT, WIDTH)), 100.0)
    assert Vipe().condense(segment, {"prior.points": given["prior.points"]}) == {}
    given["prior.mask"][1] = False
    found = Vipe().condense(segment, given)
    assert found["disparity"].dtype == np.float16 and found["disparity"].shape == (2, HEIGHT // 8, WIDTH // 8)
    assert found["focal"].tolist() == [100, 0] and found["disparity"][0].all() and not found["disparity"][1].any()
