"""TAPIP3D on a real GPU: the original's numbers, the same bits again, and bfloat16 that runs."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("cv2", reason="OpenCV is not installed")
pytest.importorskip("scipy", reason="SciPy is not installed")

import golden  # noqa: E402
import golden_tapip3d as runners  # noqa: E402

from geoflow.models.tapip3d.windows import track_windows  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.usefixtures("single_precision"),
]


def tracked(case: golden.Case) -> tuple[np.ndarray, np.ndarray]:
    network, iterations = runners.network_of(case).to("cuda"), case.spec["options"]["num_iters"]
    return track_windows(network, runners.clip_of(case), case.given("queries"), iterations=iterations)


@pytest.mark.parametrize("name", ["tracker_small", "tracker_full"])
def test_the_tracker_has_the_originals_numbers(name: str) -> None:
    case = golden.Strict("tapip3d", name)
    xyz, logits = tracked(case)
    case.check("coords", xyz)
    case.check("visib_logits", logits)


def test_the_same_points_have_the_same_bits_again_and_bfloat16_stays_near() -> None:
    case = golden.Strict("tapip3d", "tracker_small")
    first, second = tracked(case), tracked(case)
    assert all(np.array_equal(one, other) for one, other in zip(first, second))
    with torch.autocast("cuda", torch.bfloat16):
        half = tracked(case)
    off = np.linalg.norm(half[0] - first[0], axis=-1)
    print(f"bfloat16: median {np.median(off):.4f}, largest {off.max():.4f} of a scene's units")
    assert np.isfinite(half[0]).all() and np.median(off) < 0.05 * np.ptp(first[0])
