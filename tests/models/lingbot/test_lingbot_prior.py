"""What the backend `lingbot` takes of a depth prior, of masks and of labelled objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch", reason="torch is not installed")

from small_lingbot import SIDE, moving_frames, publish  # noqa: E402

from geoflow import fields  # noqa: E402
from geoflow.backends import loading  # noqa: E402
from geoflow.engine.actor.condensed import with_condensed  # noqa: E402
from geoflow.fields import MOTION_STILL, UNIT_OWN, UNIT_PRIOR, UNIT_TOO_FEW, UNIT_UNSTEADY  # noqa: E402
from geoflow.files import resources  # noqa: E402
from geoflow.geometry.cameras import unproject  # noqa: E402
from geoflow.geometry.depth.coarse_prior import disparity_at  # noqa: E402
from geoflow.geometry.motion.camera_motion import Chains  # noqa: E402
from geoflow.models.lingbot.chapter import ViewResult, follow_view  # noqa: E402
from geoflow.models.lingbot.chapter_hints import ChapterHints  # noqa: E402
from geoflow.models.lingbot.chapter_unit import in_unit_of_prior  # noqa: E402
from geoflow.models.lingbot.frame_grid import FrameGrid  # noqa: E402
from geoflow.models.lingbot.streamer import FrameResult  # noqa: E402
from geoflow.pipeline import Pipeline  # noqa: E402
from geoflow.segments import Segment, Span, VideoInfo  # noqa: E402
from geoflow.stage import Fields, condensed_fields, shared_fields  # noqa: E402

Lingbot = loading.load("lingbot")
COUNT, HEIGHT, WIDTH = 12, 84, 112
HALF = 2e-3  # relative, of a few roundings to float16


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = publish(tmp_path_factory.mktemp("weights") / "lingbot-map-long.pt").parent
    made = Lingbot(Lingbot.Params(weights=str(folder), side=SIDE, scale_frames=2, geometry=True))
    made.setup()
    return made


def through(stage: Any, frames: np.ndarray, given: Fields, *, surveyed: bool = True) -> Fields:
    """What the stage says of a video of two segments, as the engine calls it."""
    count, height, width = frames.shape[:3]
    info = VideoInfo("v", "v.mp4", "", count, 30.0, height, width, height, width)
    condensed: Fields = {}
    for index, part in enumerate((slice(0, count // 2 + 2), slice(count // 2, count))):
        own = {name: array[part] for name, array in given.items() if name in stage.surveyed}
        if own and surveyed:
            segment = Segment(info, index, part.start, part.stop)
            condensed |= condensed_fields(stage.condense(segment, own), segment, "lingbot")

    def read() -> Iterator[Fields]:
        pictures = {"frames.rgb": frames, "frames.index": np.arange(count)}
        pictures |= {name: array for name, array in given.items() if name == "frames.mask"}
        pieces = ({name: array[t : t + 5] for name, array in pictures.items()} for t in range(0, count, 5))
        return with_condensed(pieces, 0, condensed)

    span = Span(info, "chapter", 0, 0, count, 0, 1)
    shared = shared_fields(stage.survey(span, read), span, "lingbot")
    found = stage.process(Segment(info, 0, 0, count), {"frames.rgb": frames, **given, **shared})
    fields.check(found, stage.outputs, optional=stage.optional_outputs, who="lingbot", num_frames=count)
    return found


def prior_of(depth: np.ndarray, intrinsics: np.ndarray) -> Fields:
    points = unproject(depth.astype(np.float32), intrinsics).astype(np.float16)
    return {"prior.points": points, "prior.mask": depth > 0, "prior.intrinsics": intrinsics.astype(np.float32)}


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    return moving_frames(COUNT, HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def free(stage: Any, clip: np.ndarray) -> Fields:
    found = through(stage, clip, {})
    assert found["camera.valid"].all() and (found["camera.unit"] == UNIT_OWN).all()
    return found


def ratio(found: Fields, free: Fields, name: str = "camera.depth") -> float:
    return float(np.median(found[name].astype(float)[free[name] > 0] / free[name].astype(float)[free[name] > 0]))


@pytest.mark.long
@pytest.mark.parametrize("longer", [1.0, 1.25])
def test_lengths_have_the_unit_of_the_prior(stage: Any, clip: np.ndarray, free: Fields, longer: float) -> None:
    """`longer` is the prior's focal length over the network's: its depth goes with it."""
    factors = np.full(COUNT, 3.0)
    factors[[2, 7]] = 20, 0.2  # single frames may say anything
    lens = free["camera.intrinsics"].copy()
    lens[:, [0, 1], [0, 1]] *= longer
    found = through(stage, clip, prior_of(factors[:, None, None] * free["camera.depth"], lens))
    assert (found["camera.unit"] == UNIT_PRIOR).all()
    np.testing.assert_allclose(ratio(found, free), 3 / longer, rtol=HALF)
    centres = [poses["camera.cam_from_world"][:, :3, 3] for poses in (found, free)]
    assert np.ptp(centres[1], axis=0).max() > 0
    np.testing.assert_allclose(centres[0], 3 / longer * centres[1], rtol=HALF, atol=1e-6)
    assert np.array_equal(found["camera.intrinsics"], free["camera.intrinsics"]), "used for nothing else"
    assert np.array_equal(found["geometry.points"][..., 2], found["camera.depth"])


@pytest.mark.long
def test_a_unit_that_is_not_earned_is_not_claimed(stage: Any, clip: np.ndarray, free: Fields) -> None:
    wild = np.exp(np.linspace(-2, 2, COUNT))[:, None, None]
    few = (np.arange(COUNT) < 2)[:, None, None]
    for factors, code in ((wild, UNIT_UNSTEADY), (few, UNIT_TOO_FEW)):
        found = through(stage, clip, prior_of(factors * free["camera.depth"], free["camera.intrinsics"]))
        assert (found["camera.unit"] == code).all()
        assert np.array_equal(found["camera.depth"], free["camera.depth"])
        assert np.array_equal(found["camera.cam_from_world"], free["camera.cam_from_world"])


@pytest.mark.long
def test_what_is_masked_or_labelled_has_no_say_in_the_unit(stage: Any, clip: np.ndarray, free: Fields) -> None:
    person = np.zeros((COUNT, HEIGHT, WIDTH), bool)
    person[:, :, 30:] = True
    prior = prior_of(np.where(person, 9, 3) * free["camera.depth"], free["camera.intrinsics"])
    label = {"objects.label": np.where(person, 2, 0).astype(np.uint8)}
    np.testing.assert_allclose(ratio(through(stage, clip, prior), free), 9, rtol=HALF)
    masked = through(stage, clip, {**prior, "frames.mask": person})
    outside = {"camera.depth": np.where(person, 0, free["camera.depth"])}
    np.testing.assert_allclose(ratio(masked, outside), 3, rtol=HALF)
    labelled = through(stage, clip, {**prior, **label})
    np.testing.assert_allclose(ratio(labelled, free), 3, rtol=HALF)
    assert ((labelled["camera.depth"] > 0) == (free["camera.depth"] > 0)).all(), "an object keeps its depth"


def test_many_frames_that_differ_are_no_surer_than_a_few() -> None:
    """Neighbours err alike: counted one by one, 240 of them would make any prior look steady."""
    count, grid = 240, FrameGrid(48, 64)
    depth = np.random.default_rng(0).uniform(1, 3, (count, 24, 32)).astype(np.float16)
    lens = np.array([[50, 0, 31.5], [0, 50, 23.5], [0, 0, 1]], np.float32)
    poses = np.tile(np.eye(4, dtype=np.float32), (count, 1, 1))
    view = ViewResult(poses, lens, depth, np.ones(count, bool), 1.0, 0.0)

    def judged(spread: float) -> ViewResult:
        hints = ChapterHints(grid)
        factors = 2 * np.exp(spread * np.sin(np.arange(count) / 9))
        large = np.repeat(np.repeat(depth, 2, 1), 2, 2)
        maps = np.stack([disparity_at(f * one.astype(np.float32), grid.pixels) for f, one in zip(factors, large)])
        hints.take_prior(5, maps, np.full(count, 50.0))
        return in_unit_of_prior(view, hints, 5, np.ones(count, bool))

    assert judged(0.1).unit == UNIT_PRIOR and judged(1.0).unit == UNIT_UNSTEADY
    nobody = replace(view, valid=np.zeros(count, bool))
    assert in_unit_of_prior(nobody, ChapterHints(grid), 0, np.ones(count, bool)).unit == UNIT_OWN


class _Unsure:
    """A network that believes in the left half of its pictures only."""

    def run(self, frames: Any, **_: Any) -> Iterator[FrameResult]:
        for _ in frames:
            confidence = np.full((28, 56), 1.0, np.float32)
            confidence[:, :28] = 2.0
            lens = np.array([[50, 0, 27.5], [0, 50, 13.5], [0, 0, 1]], np.float32)
            yield FrameResult(np.eye(4, dtype=np.float32), lens, np.ones((28, 56), np.float32), confidence)


def test_what_is_ignored_does_not_count_in_a_frames_confidence() -> None:
    hints = ChapterHints(FrameGrid(56, 112))
    mask = np.zeros((3, 56, 112), bool)
    mask[0, :, 56:], mask[2] = True, True
    hints.take_mask(4, mask)
    run: Any = _Unsure()
    found = follow_view(run, iter(range(3)), least_confidence=1.8, hints=hints, start=4)  # type: ignore[arg-type]
    assert found.valid.tolist() == [True, False, False], "nothing is left of the last frame"
    later = follow_view(run, iter(range(3)), least_confidence=1.8, hints=hints, start=9)  # type: ignore[arg-type]
    assert not later.valid.any(), "masks of other frames"


def test_masks_of_two_kinds_count_together() -> None:
    hints = ChapterHints(FrameGrid(4, 4))
    for row in (0, 3):
        mask = np.zeros((1, 4, 4), bool)
        mask[0, row] = True
        hints.take_mask(1, mask)
    both = hints.ignored(1)
    assert both is not None and both[:, 0].tolist() == [True, False, False, True] and hints.ignored(0) is None


def test_chains_outside_a_mask() -> None:
    uv = np.array([[[1, 1], [5, 5]], [[2, 1], [5, 5]], [[np.nan, np.nan], [5, 5]]], np.float32)
    mask = np.zeros((3, 8, 8), bool)
    mask[:, 5, 5], mask[1, 1, 2] = True, True
    found = Chains(uv, [0, 2], 8, 8).outside(mask)
    assert found.uv.shape == (3, 1, 2) and np.isfinite(found.uv[:, 0, 0]).tolist() == [True, False, False]
    assert np.array_equal(Chains(uv, [0, 2], 8, 8).outside(mask & False).uv, uv, equal_nan=True)


@pytest.mark.long
def test_labelled_objects_that_move_are_no_motion_of_the_camera(stage: Any) -> None:
    """Most of the picture is taken by something that passes a camera that stands still."""
    height, width, count = 120, 160, 14
    rng = np.random.default_rng(3)
    behind, passing = (moving_frames(1, height, width + 80, seed=seed)[0] for seed in (1, 2))
    frames = np.stack([behind[:, :width].copy() for _ in range(count)])
    label = np.zeros((count, height, width), np.uint8)
    for t in range(count):
        frames[t, :, 40:] = passing[:, 3 * t : 3 * t + 120]
        label[t, :, 40:] = 1
    frames = np.clip(frames.astype(int) + rng.integers(-2, 3, frames.shape), 0, 255).astype(np.uint8)
    told = through(stage, frames, {"objects.label": label}, surveyed=False)
    assert (told["camera.motion"] == MOTION_STILL).all()
    assert (told["camera.cam_from_world"] == told["camera.cam_from_world"][0]).all()
    assert (through(stage, frames, {})["camera.motion"] != MOTION_STILL).all()


def with_prior(**params: str) -> Pipeline:
    """The pipeline with the line that the documentation names."""
    raw = yaml.safe_load(Path(resources.folder("configs") / "pipelines" / "lingbot.yaml").read_text())
    raw["stages"].insert(1, {"slot": "prior", "backend": "moge", "env": "moge", "num_gpus": "auto", "params": params})
    return Pipeline.from_dict(raw)


def test_metres_are_stated_where_the_prior_states_them() -> None:
    pipe = with_prior(model_version="v2")
    assert set(pipe.metric_branches()) == {"camera", "geometry"} == set(pipe.camera_unit_branches())
    assert with_prior(model_version="v1").metric_branches() == () == Pipeline.load("lingbot").metric_branches()
    stitch = pipe.bound({}).spec("stitch").make_stage()
    assert set(stitch.params.camera_unit) == {"camera", "geometry"}
    claimed = {"camera.valid": np.ones(2, bool), "camera.unit": np.array([UNIT_PRIOR, UNIT_UNSTEADY], np.uint8)}
    made = {"camera.depth": np.ones((2, 2, 2), np.float16), "geometry.mask": np.ones((2, 2, 2), bool)}
    segment = Segment(VideoInfo("v", "v.mp4", "", 2, 30.0, 2, 2, 2, 2), 0, 0, 2)
    assert stitch._metric(segment, {**claimed, **made}) == set(), "the geometry has the cameras' unit, too"
    claimed["camera.unit"][1] = UNIT_PRIOR
    assert stitch._metric(segment, {**claimed, **made}) == {"camera", "geometry"}
    assert Pipeline.load("vipe").camera_unit_branches() == ("camera",)
