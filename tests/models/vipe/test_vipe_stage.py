"""The backend `vipe` without Ray: fields in, fields out, with made-up weights, and with flow that knows the truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import box_walk
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from box_flow import BoxFlow  # noqa: E402

from geoflow import fields  # noqa: E402
from geoflow.backends import contract, loading  # noqa: E402
from geoflow.fields import (  # noqa: E402
    DEPTH_ALIGNED,
    DEPTH_CONTRARY,
    DEPTH_FLAT,
    DEPTH_SCALED,
    DEPTH_UNSEEN,
    MOTION_MOVING,
    MOTION_ROTATING,
    MOTION_STILL,
    UNIT_OWN,
)
from geoflow.geometry.cameras import unproject  # noqa: E402
from geoflow.models.vipe.dense_depth import PriorDepth, seen_depth  # noqa: E402
from geoflow.models.vipe.network import SlamNetwork  # noqa: E402
from geoflow.models.vipe.slam import Slam  # noqa: E402
from geoflow.segments import Segment, Span, VideoInfo  # noqa: E402
from geoflow.stage import Fields, shared_fields  # noqa: E402

pytestmark = pytest.mark.long

Vipe = loading.load("vipe")
HEIGHT, WIDTH = box_walk.SIZE
FX, FY, CX, CY = box_walk.CAMERA.tolist()
KNOWN = (FX, FY, CX - 0.5, CY - 0.5)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    torch.save({f"module.{key}": value for key, value in SlamNetwork().state_dict().items()}, folder / "droid.pth")
    return str(folder)


def video(frames: int, **known: Any) -> VideoInfo:
    return VideoInfo("v", "v.mp4", "", frames, 30.0, HEIGHT, WIDTH, HEIGHT, WIDTH, **known)


def true_depth(flow: BoxFlow, count: int) -> np.ndarray:
    """Depth (T, H, W) of whole pixels, m."""
    camera = flow.camera - torch.tensor([0, 0, 0.5, 0.5])
    y, x = torch.meshgrid(torch.arange(HEIGHT).double(), torch.arange(WIDTH).double(), indexing="ij")
    return np.stack([flow.depth(t, torch.stack((x, y)), camera).numpy() for t in range(count)])


def tracked(poses: np.ndarray, given: Fields | None = None, rgb: np.ndarray | None = None, **params: Any) -> Fields:
    """What the stage says of a segment that is the whole chapter, with flow that knows the truth."""
    count = len(poses)
    stage = Vipe(Vipe.Params(**params))
    flow = BoxFlow(torch.from_numpy(poses), box_walk.CAMERA, box_walk.ROOM, box_walk.SIZE)
    model = Slam(flow)
    run = model.run
    model.run = lambda frames, **options: run(frames, **{**options, **box_walk.OPTIONS})  # type: ignore[method-assign]
    stage.use(model, "cpu")
    rows = {"frames.rgb": np.zeros((count, HEIGHT, WIDTH, 3), np.uint8) if rgb is None else rgb}
    span = Span(video(count, intrinsics=KNOWN), "chapter", 0, 0, count, 0, 0)

    def read() -> Iterator[Fields]:
        for start in range(0, count, 7):
            part = slice(start, start + 7)
            yield {"frames.rgb": rows["frames.rgb"][part], "frames.index": np.arange(count)[part]}

    shared = shared_fields(stage.survey(span, read), span, "vipe")
    found = stage.process(Segment(span.video, 0, 0, count), {**rows, **shared, **(given or {})})
    fields.check(found, (*Vipe.outputs, *Vipe.optional_outputs), who="vipe", num_frames=count)
    return found


def test_the_contract_is_kept(weights: str) -> None:
    assert contract.problems("vipe", {"weights": weights, "backend_iters": 1}) == []


def test_poses_are_found_and_the_priors_depth_takes_their_unit() -> None:
    poses = box_walk.path(40)
    flow = BoxFlow(torch.from_numpy(poses), box_walk.CAMERA, box_walk.ROOM, box_walk.SIZE)
    depth, k = true_depth(flow, 40), np.array([[FX, 0, CX - 0.5], [0, FY, CY - 0.5], [0, 0, 1]])
    inverse = np.random.default_rng(0).uniform(0.3, 3, 40)[:, None, None] * (1 / depth + 0.05)  # scale and shift differ
    points = unproject(1 / inverse, np.tile(k, (40, 1, 1)))
    mask = np.ones(depth.shape, bool)
    mask[:, :9] = False
    given = {"prior.points": points.astype(np.float16), "prior.mask": mask}
    found = tracked(poses, given, backend_iters=4)
    assert found["camera.valid"].all() and (found["camera.motion"] == MOTION_MOVING).all()
    assert found["camera.quality"].min() > 0.9
    centres = np.linalg.inv(found["camera.cam_from_world"].astype(np.float64))[:, :3, 3]
    scale = (
        np.linalg.norm(np.diff(centres, axis=0), axis=1).sum()
        / np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).sum()
    )
    own = found["camera.depth"].astype(np.float64)
    assert not own[:, :9].any() and (own[:, 9:] > 0).mean() > 0.99
    error = np.abs(own[:, 9:] / (scale * depth[:, 9:]) - 1)
    assert np.median(error) < 0.002 and np.quantile(error, 0.9) < 0.005  # 0.0004 and 0.0012 measured


def test_a_prior_without_relief_gives_no_depth_and_poses_stay() -> None:
    poses = box_walk.path(54)[30:]  # towards a corner
    flat = np.ones((24, HEIGHT, WIDTH, 3), np.float16)
    found = tracked(poses, {"prior.points": flat, "prior.mask": np.ones(flat.shape[:3], bool)}, backend_iters=2)
    assert found["camera.valid"].all() and not found["camera.depth"].any()
    assert (found["camera.depth_source"] == DEPTH_FLAT).all(), "every frame says why it has no depth"
    assert (found["camera.unit"] == UNIT_OWN).all(), "no segment condensed a prior"


@pytest.mark.parametrize("code", [MOTION_STILL, MOTION_ROTATING])
def test_of_a_camera_that_does_not_move_nothing_is_claimed(code: int) -> None:
    poses = np.tile(np.eye(4), (24, 1, 1))
    if code == MOTION_ROTATING:
        for t, pose in enumerate(poses):
            c, s = np.cos(0.02 * t), np.sin(0.02 * t)
            pose[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    found = tracked(poses, backend_iters=2)
    assert (found["camera.motion"] == code).all()
    assert not found["camera.valid"].any() and not found["camera.depth"].any()
    assert np.isnan(found["camera.cam_from_world"]).all()


def test_masks_reach_the_tracker(weights: str) -> None:
    stage = Vipe(Vipe.Params(weights=weights, backend_iters=1))
    stage.setup()
    rng, span = np.random.default_rng(0), Span(video(5), "chapter", 0, 0, 5, 0, 0)
    rgb = rng.integers(0, 256, (5, HEIGHT, WIDTH, 3), np.uint8)

    def read(mask: np.ndarray | None) -> Any:
        def pieces() -> Iterator[Fields]:
            for start in (0, 2, 4):
                piece = {"frames.rgb": rgb[start : start + 2], "frames.index": np.arange(5)[start : start + 2]}
                yield piece if mask is None else {**piece, "frames.mask": mask[start : start + 2]}

        return pieces

    assert stage.survey(span, read(None))["valid"].any()
    assert not stage.survey(span, read(np.ones((5, HEIGHT, WIDTH), bool)))["valid"].any()


def test_a_prior_that_is_the_wrong_way_round_or_hardly_there_is_not_used() -> None:
    known = np.linspace(1, 3, 4000).reshape(40, 100)
    assert PriorDepth(0.0).aligned(1 / known, known) == (None, DEPTH_CONTRARY)
    sparse = np.zeros_like(known)
    sparse[0, :40] = known[0, :40]
    assert PriorDepth(0.0).aligned(known, sparse) == (None, DEPTH_UNSEEN)
    assert PriorDepth(0.0).aligned(np.ones_like(known), known) == (None, DEPTH_FLAT)
    found, source = PriorDepth(0.0).aligned(known / 2, known)
    assert source == DEPTH_ALIGNED and found is not None and np.allclose(found, known, rtol=1e-6)


def test_a_prior_of_a_wall_is_scaled_and_its_shift_left_alone() -> None:
    wall = np.full((40, 100), 2.0)
    noise = np.random.default_rng(0).normal(0, 1e-3, wall.shape)
    found, source = PriorDepth(0.0).aligned(3 * wall, wall + noise)
    assert source == DEPTH_SCALED and found is not None and np.allclose(found, wall, atol=1e-3)


def test_the_nearest_point_of_a_pixel_is_seen() -> None:
    points = np.array([[0, 0, 2.0], [0, 0, 1.0], [0, 0, -1], [1, 0, 2.0], [9, 0, 1.0]])
    found = seen_depth(points, np.array([[4.0, 0, 5], [0, 4, 3], [0, 0, 1]]), np.eye(4), (7, 11))
    assert found[3, 5] == 1 and found[3, 7] == 2 and (found > 0).sum() == 2


def test_the_weights_are_found_in_either_form(weights: str, tmp_path: Path) -> None:
    from geoflow.models.vipe.checkpoint import to_safetensors

    to_safetensors(Path(weights) / "droid.pth", tmp_path / "droid.safetensors")
    for folder in (weights, str(tmp_path)):
        stage = Vipe(Vipe.Params(weights=folder))
        stage.setup()
        assert isinstance(stage.model, Slam)
