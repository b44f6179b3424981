"""`geoflow bench streaming`: the plain way has the same numbers, and both are measured."""

from __future__ import annotations

import io

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import golden  # noqa: E402
import golden_lingbot as runners  # noqa: E402
from rich.console import Console  # noqa: E402

from geoflow.bench.streaming.plain_cache import plain_stream  # noqa: E402
from geoflow.bench.streaming.streaming_bench import bench_streaming  # noqa: E402
from geoflow.models.lingbot.network import Seen  # noqa: E402


@pytest.mark.long
def test_the_plain_way_has_the_originals_numbers() -> None:
    case = golden.Strict("lingbot", "stream_tiny")
    network = runners.network_of(case)
    for call, name in runners.named(case):
        if call["keyframe_interval"] != 3:
            continue
        images, first = runners.described(case, call["images"])[: call["frames"]], call["scale_frames"]
        stream = plain_stream(network)
        with torch.inference_mode():
            found = [stream.begin(images[:first])]
            for k in range(first, len(images)):
                found.append(stream.next(images[k : k + 1], keep=(k - first) % 3 == 0))
        case.check(f"{name}pose_enc", Seen.joined(found).encoding)
    assert case.compared


@pytest.mark.slow
def test_all_ways_are_measured() -> None:
    found = bench_streaming(frames=1, size=(56, 42), window=1, videos=2, console=Console(file=io.StringIO()))
    assert [run["way"] for run in found["runs"]] == ["ours", "plain", "abreast"]
    assert all(run["cpu_seconds"] > 0 and run["peak_mb"] > run["loaded_mb"] > 100 for run in found["runs"])
    assert set(found["ratios"]) == {"cpu_seconds", "peak_above_loaded", "abreast_cpu_seconds"}
