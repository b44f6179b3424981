"""The memory meter, the cap and the out-of-memory ladder on a real GPU. They need torch with CUDA, and no Ray."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch with CUDA")

from geoflow.engine.actor.splitting import rungs  # noqa: E402
from geoflow.engine.actor.wire import unpack  # noqa: E402
from geoflow.engine.actor.worker import StageWorker  # noqa: E402
from geoflow.engine.calls import Job, ask, read_answer  # noqa: E402
from geoflow.engine.gpu.meter import NvmlMeter  # noqa: E402
from geoflow.engine.schedule import Kind, Verdict, judge  # noqa: E402
from geoflow.segments import Segment, VideoInfo  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

GIB = 1 << 30
_CONTEXT = 2 * GIB  # more than CUDA's context and libraries take of a process beside its allocations


@pytest.fixture(autouse=True)
def whole_gpu() -> Any:
    yield
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.fixture
def total() -> int:
    return int(torch.cuda.get_device_properties(0).total_memory)


def test_the_meter_knows_the_gpu(total: int) -> None:
    assert total <= NvmlMeter().total() <= 1.1 * total  # NVML counts what the driver keeps, too


def test_nvml_is_asked_and_not_only_torch() -> None:
    meter = NvmlMeter()
    torch.zeros(1, device="cuda")
    assert meter._used() > torch.cuda.memory_reserved()


def test_the_meter_sees_a_peak_that_is_gone_again() -> None:
    meter = NvmlMeter()
    torch.zeros(1, device="cuda")
    torch.cuda.empty_cache()
    meter.start()
    torch.zeros(4 * GIB, dtype=torch.uint8, device="cuda")
    torch.cuda.empty_cache()
    assert 4 * GIB <= meter.stop() <= 4 * GIB + _CONTEXT
    meter.start()
    torch.zeros(GIB, dtype=torch.uint8, device="cuda")
    assert GIB <= meter.stop() <= GIB + _CONTEXT, "an earlier peak counts no more"


def test_a_cap_refuses_what_is_above_it_and_nothing_below(total: int) -> None:
    NvmlMeter().cap(0.25)
    torch.zeros(int(0.24 * total), dtype=torch.uint8, device="cuda")
    torch.cuda.empty_cache()
    with pytest.raises(torch.cuda.OutOfMemoryError):
        torch.zeros(int(0.26 * total), dtype=torch.uint8, device="cuda")


def test_capped_processes_fill_a_gpu_side_by_side(total: int) -> None:
    """Three of 0.3 each go to their limit and beyond; each is refused its own excess, none what is its share."""
    code = (
        "import torch, sys; from geoflow.engine.gpu.meter import NvmlMeter; NvmlMeter().cap(0.3)\n"
        f"share = torch.zeros(int(0.29 * {total}), dtype=torch.uint8, device='cuda'); print('has', flush=True)\n"
        "sys.stdin.readline()\n"
        f"try: torch.zeros(int(0.02 * {total}), dtype=torch.uint8, device='cuda'); print('more')\n"
        "except torch.cuda.OutOfMemoryError: print('refused')\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), os.getenv("PYTHONPATH", "")])}
    pipe = subprocess.PIPE
    started = [subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, env=env) for _ in range(3)]
    assert [process.stdout.readline() for process in started] == [b"has\n"] * 3  # type: ignore[union-attr]
    said = [process.communicate(b"\n", timeout=60)[0] for process in started]
    assert said == [b"refused\n"] * 3


@pytest.mark.parametrize(
    ("cap_gib", "verdicts"),
    [
        (24, []),  # 24 frames of 512 MiB are 12 GiB
        (8, [Verdict.CHEAPER]),  # 256 MiB each, 6 GiB
        (5, [Verdict.CHEAPER, Verdict.CHEAPER]),  # and in halves, 3 GiB
    ],
)
def test_the_ladder_is_gone_down_until_the_allocation_fits(total: int, cap_gib: int, verdicts: list[Verdict]) -> None:
    worker = StageWorker("hungry_gpu:Hungry", {}, threads=1, gpu_memory=cap_gib * GIB / total)
    assert worker.load().failure is None
    segment = Segment(VideoInfo("v", "v", "0", 24, 30.0, 4, 4, 4, 4), 0, 0, 24)
    mask = np.random.default_rng(0).random((24, 4, 4)) < 0.5
    level, seen = 0, []
    while True:
        job = Job(segment, ("prior.mask",), ((0, None),), level, measure=True)
        answer, found = worker.process(ask([job], None), mask)
        (outcome,) = read_answer(answer)
        if (failure := outcome.failure) is None:
            break
        assert failure.kind is Kind.MEMORY, failure.traceback
        stage = worker._stage
        seen.append(judge(failure.kind, attempts=1, max_attempts=3, level=level, rungs=rungs(stage), optional=False))
        assert seen[-1] is Verdict.CHEAPER
        level += 1
    assert seen == verdicts
    assert np.array_equal(unpack(found), mask)
    taken = 12 * GIB / 2 ** len(verdicts)
    assert taken <= outcome.gpu_peak <= min(taken, cap_gib * GIB) + _CONTEXT
