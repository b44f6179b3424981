"""The tracker's own promises: streams, masks, lenses, settled keyframes, refused input, and checkpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import box_walk
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from geoflow.errors import ConfigError, InputError  # noqa: E402
from geoflow.models.vipe import lens, se3  # noqa: E402
from geoflow.models.vipe.adjustment import Adjustment, Scene, adjust  # noqa: E402
from geoflow.models.vipe.camera_start import camera_start  # noqa: E402
from geoflow.models.vipe.checkpoint import from_checkpoint, network_of, to_safetensors  # noqa: E402
from geoflow.models.vipe.correlation import lookup, pyramid  # noqa: E402
from geoflow.models.vipe.depth_align import fit_inverse_depth  # noqa: E402
from geoflow.models.vipe.network import SlamNetwork  # noqa: E402
from geoflow.models.vipe.network_flow import NetworkFlow  # noqa: E402
from geoflow.models.vipe.options import SlamOptions  # noqa: E402
from geoflow.models.vipe.preparing import fit_of  # noqa: E402
from geoflow.models.vipe.reprojection import Edges, reproject  # noqa: E402
from geoflow.models.vipe.scatter import mean_rows  # noqa: E402
from geoflow.models.vipe.slam import Slam, SlamResult  # noqa: E402

SMALL = {"filter_thresh": 0.0, "backend_iters": 1, "warmup": 3, "infill_chunk_size": 4}


def network(seed: int = 0) -> SlamNetwork:
    torch.manual_seed(seed)
    return SlamNetwork().eval().requires_grad_(False)


def frames(count: int, height: int = 64, width: int = 80) -> np.ndarray:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (height, width + 4 * count, 3), np.uint8)
    return np.stack([picture[:, 4 * k : 4 * k + width] for k in range(count)])


def same(one: SlamResult, other: SlamResult) -> bool:
    arrays = ("cam_from_world", "intrinsics", "valid", "keyframes", "keyframe_depth", "uncertainty")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)


def test_tangents_and_motions_agree_at_every_angle() -> None:
    torch.manual_seed(0)
    for angle in (0.0, 1e-7, 1e-3, 0.49, 0.51, 2.0, 3.1):
        turn = torch.nn.functional.normalize(torch.randn(5, 3, dtype=torch.float64), dim=1) * angle
        xi = torch.cat((torch.randn(5, 3, dtype=torch.float64), turn), 1)
        twist = torch.zeros(5, 4, 4, dtype=torch.float64)
        twist[:, :3, :3], twist[:, :3, 3] = se3.skew(turn), xi[:, :3]
        motion = se3.exp(xi)
        assert torch.allclose(se3.matrix(motion), torch.linalg.matrix_exp(twist), atol=1e-12)
        assert torch.allclose(se3.log(motion), xi, atol=1e-9)
        assert torch.allclose(se3.matrix(se3.from_matrix(se3.matrix(motion))), se3.matrix(motion), atol=1e-12)
        moved = se3.multiply(motion, se3.exp(xi.flip(0)))
        other = se3.multiply(se3.exp((se3.adjoint(motion) @ xi.flip(0)[..., None])[..., 0]), motion)
        assert torch.allclose(se3.matrix(moved), se3.matrix(other), atol=1e-11)


def test_small_pictures_have_levels_without_pixels() -> None:
    features = torch.randn(2, 8, 5, 6)
    levels = pyramid(features, features)
    assert [tuple(level.shape[2:]) for level in levels] == [(5, 6), (2, 3), (1, 1), (0, 0)]
    coords = torch.full((2, 2, 5, 6), 1e9)
    coords[0] = torch.inf
    assert not lookup(levels, coords).any()


def test_frames_without_edges_have_a_mean_of_zero() -> None:
    assert mean_rows(torch.tensor([[2.0], [4.0]]), torch.tensor([2, 2]), 4)[:, 0].tolist() == [0, 0, 3, 0]


def _problem() -> tuple[Scene, Edges, Any, Any, Any]:
    torch.manual_seed(1)
    poses = se3.exp(0.05 * torch.randn(12, 6))
    scene = Scene(poses, 0.3 + torch.rand(12, 8, 10), torch.tensor([[70.0, 70, 40, 32]]))
    pairs = torch.tensor([(i, j) for i in range(12) for j in range(12) if 0 < abs(i - j) < 4])
    edges = Edges.single(*pairs.unbind(1))
    coords, _ = reproject(scene.geometry, edges)
    return scene, edges, coords + torch.randn(coords.shape), torch.rand(coords.shape), torch.full((12, 8, 10), 0.004)


def test_edges_are_summed_in_chunks_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    from geoflow.models.vipe import adjustment_chunks

    chosen = Adjustment(1, 12, 2, free_focal=True)
    wanted = adjust(*_problem(), chosen)
    seven = 7 * adjustment_chunks._PER_PIXEL * 80
    monkeypatch.setattr(adjustment_chunks, "_NUMBERS", {"cpu": seven})
    found = adjust(*_problem(), chosen)
    assert torch.allclose(found.poses, wanted.poses, atol=2e-6)  # float32 sums in another order
    assert torch.allclose(found.disps, wanted.disps, atol=2e-5)
    assert torch.allclose(found.lenses, wanted.lenses, atol=1e-4)


def test_a_step_without_a_solution_moves_no_pose() -> None:
    scene, edges, target, weight, damping = _problem()
    found = adjust(scene, edges, target, weight, damping, Adjustment(1, 12, 1, pose_ep=-1e6))
    assert torch.equal(found.poses, scene.poses)


def test_what_cannot_be_adjusted_is_refused() -> None:
    with pytest.raises(ConfigError, match="rule should be one of generic, fused"):
        Adjustment(1, 2, 1, rule="best")
    with pytest.raises(ConfigError, match="needs a pose that is free"):
        Adjustment(2, 2, 1, rule="fused")


def test_a_wide_lens_projects_what_it_unprojects() -> None:
    camera = torch.tensor([[30.0, 30.0, 20.0, 15.0, 0.6]], dtype=torch.float64)
    pixels = lens.grid(30, 40, camera).flatten(1)[None]
    assert torch.allclose(lens.project(lens.unproject(pixels, camera), camera), pixels, atol=1e-9)


@pytest.mark.long
def test_a_run_gives_the_same_bits_again_from_a_list_or_a_stream() -> None:
    slam, clip = Slam(NetworkFlow(network())), frames(7)
    wanted = slam.run(clip, **SMALL)
    assert wanted.cam_from_world.shape == (7, 4, 4) and wanted.intrinsics.shape == (7, 3, 3)
    assert wanted.keyframes[0] == 0 and wanted.keyframes[-1] == 6
    assert wanted.keyframe_depth.shape == wanted.uncertainty.shape == (len(wanted.keyframes), 8, 10)
    assert np.isfinite(wanted.cam_from_world).all()
    assert same(slam.run(clip, **SMALL), wanted)
    assert same(slam.run((frame for frame in clip), **SMALL), wanted)
    read_only = clip.copy()
    read_only.setflags(write=False)
    assert same(slam.run(list(read_only), **SMALL), wanted)


@pytest.mark.long
def test_half_precision_sees_nearly_the_same() -> None:
    own, clip = network(), frames(3)
    flows = [NetworkFlow(own, dtype) for dtype in (None, torch.bfloat16)]
    pictures = torch.from_numpy(clip).movedim(-1, 1).float() / 255
    seen = []
    for flow in flows:
        keyframe = flow.enter(flow.look(pictures[0], 0), pictures[0])
        seen.append(flow.motion(keyframe, flow.look(pictures[2], 2)))
    assert seen[1].dtype == torch.float32 and (seen[0] - seen[1]).abs().max() < 0.02 * seen[0].abs().max()
    found = Slam(flows[1]).run(clip, **SMALL)
    assert np.isfinite(found.cam_from_world).all() and np.isfinite(found.keyframe_depth).all()


@pytest.mark.long
def test_few_frames_are_held_at_once() -> None:
    """The tracker holds the frame in work and the one after it."""
    alive: list[Any] = []

    class Watched(np.ndarray):
        pass

    def stream() -> Iterator[np.ndarray]:
        import weakref

        for frame in frames(12):
            made = frame.copy().view(Watched)
            alive.append(weakref.ref(made))
            assert sum(one() is not None for one in alive) <= 3
            yield made

    class Again:
        def __iter__(self) -> Iterator[np.ndarray]:
            alive.clear()
            return stream()

    Slam(NetworkFlow(network())).run(Again(), **{**SMALL, "filter_thresh": 1e9})
    assert len(alive) == 12


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 2, 4])
def test_clips_that_are_too_short_for_the_front_end_have_poses(count: int) -> None:
    found = Slam(NetworkFlow(network())).run(frames(count), **{**SMALL, "warmup": 8})
    assert found.cam_from_world.shape == (count, 4, 4) and np.isfinite(found.cam_from_world).all()
    assert np.allclose(found.cam_from_world[0], np.eye(4), atol=0.2)


@pytest.mark.long
def test_ignored_pixels_change_the_result_and_count_as_unknown() -> None:
    slam, clip = Slam(NetworkFlow(network())), frames(5)
    masks = np.zeros(clip.shape[:3], bool)
    masks[:, :, :40] = True
    found = slam.run(clip, masks=masks, **SMALL)
    assert not found.keyframe_depth[:, :, :5].any()
    assert not same(found, slam.run(clip, **SMALL))
    blind = slam.run(clip, masks=np.ones_like(masks), **SMALL)
    assert not blind.valid.any() and not blind.keyframe_depth.any()


@pytest.mark.long
def test_a_depth_prior_as_a_list_or_a_function_is_the_same() -> None:
    slam, clip = Slam(NetworkFlow(network())), frames(5)
    depth = np.full(clip.shape[:3], 3, np.float32)
    depth[:, 10:20] = np.nan
    one = slam.run(clip, depth_prior=depth, **SMALL)
    assert same(one, slam.run(clip, depth_prior=lambda number, rgb: depth[number], **SMALL))
    assert not same(one, slam.run(clip, **SMALL))


def test_frames_that_are_large_are_resized_and_small_ones_are_not() -> None:
    assert fit_of(360, 640).size == (328, 584)
    assert fit_of(128, 165).size == (128, 160)
    assert fit_of(128, 160, enlarge=True).size == (392, 488)


def test_a_known_lens_is_undone_before_tracking() -> None:
    k = np.array([[70.0, 0, 39.5], [0, 70, 31.5], [0, 0, 1]])
    start = camera_start(k, [-0.2, 0.05], (64, 80), 1.0)
    assert start.values.tolist() == [70, 70, 40, 32] and start.known
    grid = np.zeros((64, 80, 3), np.uint8)
    grid[:, 70] = 255
    straight = start.undistorted(grid)
    assert straight[32, 70].max() < 255 and straight.shape == grid.shape
    assert camera_start(k, 0.3, (64, 80), 1.0).values.tolist() == [70, 70, 40, 32, 0.3]
    wide = Slam(NetworkFlow(network())).run(frames(4), intrinsics=k, distortion=0.3, **SMALL)
    assert wide.distortion == pytest.approx(0.3) and np.allclose(wide.intrinsics[0], k, atol=1e-4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"frames": []}, "there are no frames"),
        ({"frames": np.zeros((2, 64, 80), np.uint8)}, "frame 0 should be"),
        ({"frames": np.zeros((2, 64, 80, 3), np.float32)}, "frame 0 should be"),
        ({"frames": [np.zeros((64, 80, 3), np.uint8), np.zeros((64, 96, 3), np.uint8)]}, "frame 1 has the size"),
        ({"frames": np.zeros((2, 8, 80, 3), np.uint8)}, "too small to be tracked"),
        ({"intrinsics": np.eye(2)}, "intrinsics should be"),
        ({"intrinsics": np.diag([-1.0, 1, 1])}, "focal lengths above 0"),
        ({"intrinsics": np.stack([np.diag([50.0, 50, 1]), np.diag([60.0, 60, 1])])}, "a lens that zooms"),
        ({"distortion": [0.1, 0.0]}, "distortion needs intrinsics"),
        ({"distortion": -1.0}, "wide-angle"),
        ({"distortion": 0.5, "rule": "fused"}, "the fused rule knows no wide-angle lens"),
        ({"rule": "other"}, "rule should be one of"),
        ({"masks": np.zeros((1, 64, 80), bool)}, "masks ends before frame 1"),
        ({"depth_prior": np.ones((1, 64, 80))}, "depth_prior ends before frame 1"),
        ({"depth_prior": np.ones((9, 32, 40))}, "depth_prior of frame 0 should be"),
        ({"warmup": 1}, "warmup should be at least 3"),
        ({"most_keyframes": 10}, "most_keyframes should be at least twice"),
        ({"beta": 2.0}, "beta should be in"),
    ],
)
def test_what_cannot_be_tracked_is_refused(given: dict[str, Any], message: str) -> None:
    clip = given.pop("frames", frames(4))
    with pytest.raises(ConfigError, match=message):
        Slam(NetworkFlow(network())).run(clip, **given)


def test_every_option_says_what_it_means() -> None:
    assert all(row.metadata["help"] for row in SlamOptions.__dataclass_fields__.values())


def test_depth_without_relief_cannot_be_aligned() -> None:
    with pytest.raises(InputError, match="no relief"):
        fit_inverse_depth(np.full((8, 8), 0.5), np.full((8, 8), 2.0))


@pytest.mark.long
def test_the_quality_says_how_far_poses_explain_what_is_seen() -> None:
    exact, rough = (box_walk.walk(30, noise=noise, backend_iters=2) for noise in (0.0, 0.25))
    assert exact.quality.shape == (30,) and exact.quality.min() > 0.99
    # Errors of 2 px in x and in y: 39 % of them are within 2 px.
    assert rough.valid.all() and 0.3 < np.median(rough.quality) < 0.5


@pytest.mark.long
@pytest.mark.slow
def test_settled_keyframes_stay_where_they_are_and_the_path_goes_on() -> None:
    """A camera turns once in a box, with an error of 0.1 px in what it sees; 24 keyframes are adjusted at once."""
    settled: list[object] = []
    whole = box_walk.walk(150, noise=0.1)
    found = box_walk.walk(
        150, noise=0.1, most_keyframes=20, kept_keyframes=8,
        watch=lambda name, value: settled.append(value) if name == "settled" else None,
    )  # fmt: skip
    assert len(settled) >= 1 and len(found.keyframes) == len(whole.keyframes) > 20
    assert found.cam_from_world.shape == (150, 4, 4) and found.valid.all()
    error, of_whole = (box_walk.path_error(one) for one in (found, whole))
    assert of_whole < 0.02 and error < 2.5 * of_whole + 0.005  # of a path of 10 m
    steps = np.linalg.norm(np.diff(box_walk.centres(found), axis=0), axis=1)
    assert steps.max() < 1.5 * np.median(steps)  # no jump where a part was settled


@pytest.mark.long
def test_the_fused_rule_tracks_as_well() -> None:
    found = box_walk.walk(40, rule="fused", backend_iters=2)
    assert found.valid.all() and box_walk.path_error(found) < 0.01


def checkpoint(path: Path, **changed: Any) -> Path:
    state = network(3).state_dict()
    for head in ("weight", "delta"):
        for part in ("weight", "bias"):
            value = state[f"update.{head}.2.{part}"]
            state[f"update.{head}.2.{part}"] = torch.cat((value, torch.full_like(value[:1], 9)))
    state |= changed
    torch.save({f"module.{key}": value for key, value in state.items() if value is not None}, path)
    return path


def test_a_checkpoint_becomes_safetensors_with_the_same_weights(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "droid.pth")
    to_safetensors(path, tmp_path / "droid.safetensors")
    wanted = network(3).state_dict()
    for file in (path, tmp_path / "droid.safetensors"):
        held = network_of(file).state_dict()
        assert all(torch.equal(held[key], value) for key, value in wanted.items())
    assert isinstance(from_checkpoint(path), Slam)


def test_files_that_hold_no_such_network_are_refused(tmp_path: Path) -> None:
    refused = [
        (checkpoint(tmp_path / "a.pth", extra=torch.zeros(1)), "unknown .*; download droid.pth"),
        (checkpoint(tmp_path / "b.pth", **{"fnet.conv1.bias": None}), "missing"),
        (
            checkpoint(tmp_path / "c.pth", **{"fnet.conv1.bias": torch.zeros(7)}),
            "should be a tensor of the shape .*; download",
        ),
    ]
    torch.save([1, 2], tmp_path / "d.pth")
    (tmp_path / "e.pth").write_bytes(b"nothing")
    (tmp_path / "f.safetensors").write_bytes(json.dumps({}).encode())
    refused += [
        (tmp_path / "d.pth", "should hold a dictionary .*; download droid.pth"),
        (tmp_path / "e.pth", "cannot be read"),
    ]
    for path, message in [*refused, (tmp_path / "f.safetensors", "cannot be read as safetensors")]:
        with pytest.raises(ConfigError, match=message) as error:
            from_checkpoint(path)
        assert path.name in str(error.value)
