"""GPUs shared by tokens, tiny calls together, and what happens when workers hang or nodes go: on real Ray clusters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray

HERE = Path(__file__).parent


def run_scenario(name: str, tmp_path: Path) -> str:
    """Run a scenario in a process and a cluster of its own: it takes nodes down."""
    env = {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}"}
    command = [sys.executable, str(HERE / "fault_scenarios.py"), name, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=env)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.parametrize(
    "name",
    [
        "tokens_never_exceed_a_gpu",
        "tiny_calls_go_together",
        "a_poison_item_is_split_from_its_batch",
        "a_hung_call_is_ended_and_done_again",
        "a_lost_node_costs_nothing_but_time",
    ],
)
def test_scenario(name: str, tmp_path: Path) -> None:
    assert f"{name}: ok" in run_scenario(name, tmp_path)
