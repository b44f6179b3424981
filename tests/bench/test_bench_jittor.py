"""`geoflow bench jittor`: each phase finds what those before it have compiled; with a stand-in for Jittor."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from geoflow.bench import jittor_bench
from geoflow.environments.pythons import FoundPython
from geoflow.errors import StageError

CHILD = """
import json, os, sys
from pathlib import Path
cache = Path(os.environ["GEOFLOW_CACHE"])
cache.mkdir(parents=True, exist_ok=True)
(cache / f"{len(list(cache.iterdir()))}-{'-'.join(sys.argv[1:])}").touch()
print(json.dumps({"import_seconds": 0.5, "found": sorted(path.name for path in cache.iterdir())}))
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    here = FoundPython(sys.executable, (3, 11, 0), "1", sys.prefix, "")
    monkeypatch.setattr(jittor_bench.interpreter, "prepare", lambda wanted, env: here)
    monkeypatch.setattr(jittor_bench, "_CHILD", script)
    return script


def test_phases_follow_each_other_in_a_new_cache(child: Path, tmp_path: Path) -> None:
    found = jittor_bench.bench_jittor(tmp_path / "out", Console(file=io.StringIO()))
    assert [row["phase"] for row in found["phases"]] == [
        *("core, cold", "kernels, cold", "another process, all compiled"),
    ]
    assert found["phases"][-1]["found"] == ["0-import", "1-networks-1", "2-networks-2"]
    assert all(row["seconds"] > 0 and row["cpu_seconds"] > 0 and row["peak_mb"] > 1 for row in found["phases"])


def test_a_jittor_that_does_not_start_gives_no_figures(child: Path, tmp_path: Path) -> None:
    child.write_text("raise SystemExit(3)")
    with pytest.raises(StageError, match="exit status 3"):
        jittor_bench.bench_jittor(tmp_path / "out", Console(file=io.StringIO()))
