"""`geoflow.run` below a cell of a real kernel: inside its event loop, with live progress, and interrupted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from counting_stages import calls, events
from kernels import OwnKernel, place_for_kernels

from geoflow.store.verify import verify_run
from geoflow.synth import render_clip

pytestmark = pytest.mark.ray

SEGMENTS = 5
VIEW = "application/vnd.jupyter.widget-view+json"


class Kernel:
    """A kernel, and what its cells publish."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.manager = OwnKernel()
        self.manager.start_kernel(env=env, cwd=str(folder))
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def start(self, code: str) -> str:
        return self.client.execute(code, store_history=False)

    def end(self, cell: str) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
        """The reply to a cell, and (type, content) of the messages before it fell idle."""
        reply = self.client.get_shell_msg(timeout=120)
        while reply["parent_header"].get("msg_id") != cell:
            reply = self.client.get_shell_msg(timeout=120)
        said = []
        while True:
            message = self.client.get_iopub_msg(timeout=30)
            said.append((message["msg_type"], message["content"]))
            mine = message["parent_header"].get("msg_id") == cell
            if mine and message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return reply["content"], said

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel()


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    with place_for_kernels(tmp_path) as (folder, env):
        kernel = Kernel(folder, env | {"PYTHONPATH": str(Path(__file__).parents[1] / "support")})
        try:
            yield kernel
        finally:
            kernel.close()


@pytest.mark.slow
def test_an_interrupted_cell_leaves_a_run_that_goes_on(kernel: Kernel, tmp_path: Path) -> None:
    render_clip(tmp_path / "a.mp4", tmp_path / "a.gt.h5", num_frames=30, width=64, height=48)
    code = (
        "import asyncio, sys, counting_stages, geoflow\n"
        "loop = asyncio.get_running_loop()  # raises where none runs\n"
        f"pipe = geoflow.Pipeline.from_dict(counting_stages.pipeline({str(tmp_path)!r}, prior__seconds=0.5))\n"
        "geoflow.run('a.mp4', 'out', pipe)\n"
    )
    cell = kernel.start(code)
    deadline = time.monotonic() + 120
    while len(calls(tmp_path)) < 3:
        assert time.monotonic() < deadline and kernel.manager.is_alive()
        time.sleep(0.05)
    kernel.manager.interrupt_kernel()  # to every process of the group, as a terminal does
    reply, said = kernel.end(cell)
    assert reply["status"] == "error" and reply["ename"] == "KeyboardInterrupt"
    assert events(tmp_path / "out")[-1]["event"] == "run_stopped"
    assert sorted(calls(tmp_path)) == sorted(calls(tmp_path, "ended")) and len(calls(tmp_path)) < 2 * SEGMENTS
    assert_widgets(said)

    reply, said = kernel.end(kernel.start("sys.modules['ipywidgets'] = None  # as if it were not installed\n" + code))
    assert reply["status"] == "ok", reply
    assert max(Counter(calls(tmp_path)).values()) == 1 and len(calls(tmp_path)) == 2 * SEGMENTS
    assert verify_run(tmp_path / "out") == []
    shown = [content["data"] for kind, content in said if kind in ("display_data", "update_display_data")]
    assert len(shown) > 2 and all({"text/html", "text/plain"} <= set(data) for data in shown)
    assert shown[0]["text/plain"].startswith("reading the inputs: 0 of 1 video")
    assert shown[-1]["text/plain"].startswith("finished: 1 of 1 video")


def assert_widgets(said: list[tuple[str, dict[str, Any]]]) -> None:
    """Bars were shown and moved, and plain HTML took their place at the end."""
    shown = [content["data"] for kind, content in said if kind in ("display_data", "update_display_data")]
    assert VIEW in shown[0] and VIEW not in shown[-1]
    assert "stopped (interrupted): 0 of 1 video" in shown[-1]["text/html"]
    states = [content["data"].get("state", {}) for kind, content in said if kind in ("comm_open", "comm_msg")]
    assert sum(state.get("_model_name") == "FloatProgressModel" for state in states) == 6  # the run and its five stages
    assert max(state.get("value", 0) for state in states if not isinstance(state.get("value"), str)) > 0.2
    assert sum(kind == "comm_close" for kind, _ in said) >= 5
