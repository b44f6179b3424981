"""An installed wheel finds its pipelines and environments, far from any checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.mark.env
def test_the_wheel_brings_what_the_command_line_needs(wheel: Path, tmp_path: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "actors/embedded/colmap.py" in names and "geoflow/report/style.css" in names
    assert all(f"geoflow/report/{script}.js" in names for script in ("viewer", "scene", "table"))
    assert not any(name.startswith(("tests/", "docs/", "benchmarks/")) for name in names)
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import geoflow.resources as r, geoflow\n"
        f"assert geoflow.__file__.startswith({str(tmp_path / 'site')!r}), geoflow.__file__\n"
        "assert geoflow.Pipeline.load('embedded').stages\n"
        "from geoflow.engine.environments import load_runtime_env\n"
        "assert load_runtime_env('mediapipe')['pip']\n"
        "from geoflow.registry import load_models\n"
        "assert load_models()"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, check=True)
