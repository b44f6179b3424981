"""The plain pipeline of the benchmark: it has to be the same mathematics, or it would measure nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from small_crafter import make_video, small_crafter, small_networks  # noqa: E402

from geoflow.bench.geometry import gpu  # noqa: E402
from geoflow.bench.geometry.plain import PlainCrafter  # noqa: E402
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
    assert list(stages) == ["encode", "denoise", "decode", "all"]
    for work in stages.values():
        work(3)


@pytest.mark.long
@pytest.mark.env
def test_the_prior_that_a_gpu_is_measured_by_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOFLOW_CACHE", str(tmp_path))
    small = {"encoder": "dinov2_vits14", "num_tokens_range": [20, 40], "intermediate_layers": 1, "num_res_blocks": 1}
    monkeypatch.setattr(gpu, "_MOGE", {**gpu._MOGE, **small})
    stages = gpu._prior(gpu.published_moge().eval(), Options(height=64, width=64))
    assert list(stages) == ["prior"]
    stages["prior"](3)
