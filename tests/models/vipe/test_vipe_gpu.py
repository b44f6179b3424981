"""The tracker on a real GPU: the CPU's numbers, the same bits again, and what it takes at 512x384."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from geoflow.models.vipe import se3  # noqa: E402
from geoflow.models.vipe.adjustment import Adjustment, Scene, adjust  # noqa: E402
from geoflow.models.vipe.network import SlamNetwork  # noqa: E402
from geoflow.models.vipe.network_flow import NetworkFlow  # noqa: E402
from geoflow.models.vipe.reprojection import Edges, reproject  # noqa: E402
from geoflow.models.vipe.slam import Slam, SlamResult  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

DEVICE = "cuda"
HEIGHT, WIDTH, FRAMES = 384, 512, 40


@pytest.fixture(autouse=True)
def reproducible() -> Iterator[None]:
    """As `TorchStage` has it; TF32 would have 10 bits where the CPU has 24."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = before


def moving(every_frame: bool) -> SlamNetwork:
    """A network with made-up weights that sees motion in every frame, or in none."""
    torch.manual_seed(0)
    network = SlamNetwork().eval().requires_grad_(False)
    network.update.delta[2].bias += 4.0 if every_frame else 0.0  # type: ignore[operator]
    return network


def adjusted(device: str) -> Scene:
    torch.manual_seed(1)
    poses, disps = se3.exp(0.05 * torch.randn(24, 6)), 0.3 + torch.rand(24, 24, 32)
    scene = Scene(poses.to(device), disps.to(device), torch.tensor([[220.0, 220, 128, 96]], device=device))
    pairs = torch.tensor([(i, j) for i in range(24) for j in range(24) if 0 < abs(i - j) < 4])
    edges = Edges.single(*pairs.unbind(1))
    coords, _ = reproject(Scene(poses, disps, scene.lenses.cpu()).geometry, edges)
    target, weight = coords + torch.randn(coords.shape), torch.rand(coords.shape)
    given = (part.to(device) for part in (target, weight, torch.full_like(disps, 0.004)))
    return adjust(scene, edges.to(torch.device(device)), *given, Adjustment(1, 24, 3, free_focal=True))


def test_an_adjustment_has_the_cpus_numbers_and_the_same_bits_again() -> None:
    own, found, again = adjusted("cpu"), adjusted(DEVICE), adjusted(DEVICE)
    assert torch.equal(found.poses, again.poses) and torch.equal(found.disps, again.disps)
    for name in ("poses", "disps", "lenses"):
        error = (getattr(found, name).cpu() - getattr(own, name)).abs().max()
        print(f"{name}: off by {error:.2e}")
    assert torch.allclose(found.poses.cpu(), own.poses, atol=1e-5)
    assert torch.allclose(found.disps.cpu(), own.disps, atol=1e-4)


def run(frames: int, dtype: Any, *, every_frame: bool, height: int = HEIGHT, width: int = WIDTH) -> SlamResult:
    picture = np.random.default_rng(0).integers(0, 256, (height, width + frames, 3), np.uint8)
    clip = (np.ascontiguousarray(picture[:, k : k + width]) for k in range(frames))
    flow = NetworkFlow(moving(every_frame).to(DEVICE), dtype)
    return Slam(flow).run(clip, backend_iters=2, warmup=8)


@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_a_run_gives_the_same_bits_again(dtype: Any) -> None:
    one, other = (run(10, dtype, every_frame=True, height=96, width=128) for _ in range(2))
    assert np.array_equal(one.cam_from_world, other.cam_from_world)
    assert np.array_equal(one.keyframe_depth, other.keyframe_depth) and np.isfinite(one.cam_from_world).all()


@pytest.mark.parametrize("every_frame", [True, False])
def test_what_a_clip_takes(every_frame: bool) -> None:
    """Keyframes per second where every frame is one, and infilled frames per second where only two are."""
    run(10, torch.float16, every_frame=every_frame)  # kernels are loaded and chosen
    torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    found = run(FRAMES, torch.float16, every_frame=every_frame)
    took, peak = time.perf_counter() - began, torch.cuda.max_memory_allocated() / 1e9
    kind = "keyframes" if every_frame else "frames between keyframes"
    print(f"{WIDTH}x{HEIGHT}: {FRAMES / took:.1f} {kind} per second, {len(found.keyframes)} keyframes, {peak:.2f} GB")
    assert found.cam_from_world.shape == (FRAMES, 4, 4)
    assert (len(found.keyframes) > FRAMES // 4) == every_frame
