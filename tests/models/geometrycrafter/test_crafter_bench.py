"""The plain pipeline of the benchmark: it has to be the same mathematics, or it would measure nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from small_crafter import make_video, small_crafter, small_networks  # noqa: E402

from geoflow.bench.geometry import gpu  # noqa: E402
from geoflow.bench.geometry.plain_pipeline import PlainCrafter  # noqa: E402
from geoflow.models.geometrycrafter import Options  # noqa: E402


@pytest.mark.long
@pytest.mark.parametrize("model_type", ["diff", "determ"])
def test_streaming_equals_the_whole_video_at_once(model_type: str) -> None:
    crafter = small_crafter(model_type, num_inference_steps=2)
    video = make_video(9, 72, 80)
    streamed, mask = crafter.reconstruct(*video).collect()
    plain = PlainCrafter(small_networks(model_type), crafter.options, "cpu", torch.float32)
    whole, whole_mask = (found.numpy() for found in plain.reconstruct(*video))
    error = np.abs(np.log(streamed[..., 2] / whole[..., 2]))
    # Sums in another order, and norms over few values, which make more of it here and there.
    assert np.median(error) < 1e-4 and error.max() < 1e-2
    assert (mask != whole_mask).mean() < 1e-3
    assert np.median(np.abs(streamed - whole)) < 1e-4


@pytest.mark.long
@pytest.mark.parametrize("way", [gpu._streaming, gpu._plain], ids=["streaming", "plain"])
def test_stages_that_a_gpu_is_measured_by_run_alone(way: Any) -> None:
    options = Options("diff", 64, 64, window_size=4, overlap=1, num_inference_steps=1)
    stages = way(small_networks("diff"), options, torch.device("cpu"))
    assert list(stages) == ["all", "encode", "denoise", "decode"]
    for work in stages.values():
        work(3)


@pytest.mark.long
def test_every_rung_of_the_ladder_is_measured_and_rows_come_one_by_one() -> None:
    options = {"model_type": "determ", "height": 64, "width": 64, "window_size": 70}
    job = {"way": "ladder", "frames": 3, "options": options, "device": "cpu", "small": True}
    head, *rows = gpu.measure_on_gpu(job)
    assert head["device"] == "cpu" and head["weights_mb"] > 1
    levels = range(1 + len(Options(**options).cheaper()))
    assert [row["stage"] for row in rows] == [f"level {level}" for level in levels]
    assert all(row["frames_per_s"] > 0 for row in rows)


@pytest.mark.long
@pytest.mark.env
def test_the_prior_that_a_gpu_is_measured_by_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOFLOW_CACHE", str(tmp_path))
    stages = gpu._prior(gpu.made_up_moge(small=True).eval(), Options(height=64, width=64))
    assert list(stages) == ["prior"]
    stages["prior"](3)
