"""`geoflow bench hand-model`: both ways give the same hands, each in a process of its own."""

from __future__ import annotations

import io

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import made_up_mano  # noqa: E402
from rich.console import Console  # noqa: E402
from small_wilor import image, network  # noqa: E402

from geoflow.bench.hand_model.hand_model_bench import bench_hand_model  # noqa: E402
from geoflow.bench.hand_model.hand_model_gpu import measure_on_gpu  # noqa: E402
from geoflow.bench.hand_model.plain_hands import PlainHands  # noqa: E402
from geoflow.models.wilor.crops import cut, squares_of  # noqa: E402
from geoflow.models.wilor.hand_model import HandModel  # noqa: E402


@torch.inference_mode()
def test_the_plain_version_gives_the_same_hands() -> None:
    rgb = image(300, 400)
    boxes = np.array([[40.0, 60, 120, 150], [20, 20, 350, 280]])
    squares = squares_of(boxes, np.array([True, False]), (400, 300))
    made, body = network(), made_up_mano.body()
    ours, plain, crops = HandModel(made, body), PlainHands(made, body), cut(rgb, squares)
    assert squares.sigma[1] > 0, "one of them is blurred"
    for k in range(2):
        assert np.abs(plain.crop(rgb, squares, k)[0] - crops[k]).mean() < 0.5, "OpenCV 5 rounds in another way"
        one, other = ours.forward(crops[k : k + 1]), plain.forward(crops[k : k + 1])
        assert torch.allclose(one.vertices, other.vertices, atol=1e-6)
        assert torch.allclose(one.joints, other.joints, atol=1e-6)


@pytest.mark.long
def test_the_measurement_for_gpus_can_be_rehearsed() -> None:
    first, *rows = measure_on_gpu({"device": "cpu", "batches": [1, 2], "depth": 1})
    assert first["weights_mb"] > 100 and [row["batch"] for row in rows] == [1, 2]
    assert all(row["hands_per_s"] > 0 for row in rows)


@pytest.mark.slow
def test_both_ways_are_measured() -> None:
    found = bench_hand_model(hands=4, batch=4, depth=1, size=(640, 480), console=Console(file=io.StringIO()))
    assert [run["way"] for run in found["runs"]] == ["ours", "plain"]
    assert all(run["crop_seconds"] > 0 and run["peak_mb"] > run["loaded_mb"] > 100 for run in found["runs"])
    assert found["times_faster"]["both"] > 0 and found["per_hand"]["crop"]["plain"] > 0
