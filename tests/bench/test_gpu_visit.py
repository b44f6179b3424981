"""The visit to a GPU machine, rehearsed on a CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

VISIT = Path(__file__).parents[2] / "benchmarks" / "gpu" / "visit.py"


@pytest.mark.long
def test_each_step_leaves_a_json_whatever_becomes_of_it(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    steps = "determ-streaming-128x64,tests,prior-128x64,tracks-bfloat16-128x96,hands"
    command = [sys.executable, str(VISIT), str(tmp_path), "--device", "cpu", "--small", "--only", steps]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": "", "GEOFLOW_CACHE": "/dev/null"})
    found = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "cpu").glob("*.json")}
    assert set(found) == set(steps.split(",")), done.stderr
    assert found["tests"]["ended"] == "ok" and found["tests"]["rows"][-1]["totals"]["skipped"] >= 10
    streaming = found["determ-streaming-128x64"]
    assert streaming["device"] == "cpu"
    assert [row["stage"] for row in streaming["rows"][1:]] == ["all", "encode", "denoise", "decode"]
    tracks = found["tracks-bfloat16-128x96"]
    assert tracks["ended"] == "ok" and [row["stage"] for row in tracks["rows"][1:]] == ["encode", "all"]
    assert all(row["frames_per_s"] > 0 for row in tracks["rows"][1:])
    hands = found["hands"]
    assert hands["ended"] == "ok" and [row["batch"] for row in hands["rows"][1:]] == [1, 2]
    prior = found["prior-128x64"]  # its package is not installed, and there is no folder to keep it in
    assert prior["ended"].startswith("failed") and prior["errors"]
    assert done.returncode == 1
