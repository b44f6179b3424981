"""The types that users see: mypy and pyright accept a typed script, and find mistakes in it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GOOD = ROOT / "tests" / "support" / "typed_script.py"
# A mistake in each of the lines 4 to 7.
WRONG = """import geoflow

with geoflow.open("clip.h5") as video:
    size: str = video.num_frames
    video.cameras.centers
geoflow.run("clip.mp4", "out", fsp=10)
geoflow.opne("clip.h5")
"""

pytestmark = pytest.mark.long


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A folder far from the checkout, so that the checkers find `geoflow` only where it is installed."""
    (tmp_path / "good.py").write_text(GOOD.read_text())
    (tmp_path / "wrong.py").write_text(WRONG)
    return tmp_path


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "geoflow" / "py.typed").is_file()


@pytest.mark.slow
def test_mypy_accepts_a_users_script_and_finds_its_mistakes(scripts: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-color-output", "--hide-error-context", "--no-pretty"]
    command += ["--cache-dir", str(scripts / "cache"), "--config-file", "", "good.py", "wrong.py"]
    done = subprocess.run(command, cwd=scripts, capture_output=True, text=True)
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert [line.split(":")[:2] for line in errors] == [["wrong.py", str(n)] for n in (4, 5, 6, 7)], done.stdout


def test_pyright_accepts_a_users_script_and_finds_its_mistakes(scripts: Path) -> None:
    pyright = shutil.which("basedpyright", path=str(Path(sys.executable).parent))
    if pyright is None:
        pytest.skip("pyright is not installed: pip install basedpyright")
    (scripts / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "standard", "include": ["*.py"]}))
    command = [pyright, "--pythonpath", sys.executable, "--outputjson"]
    found = json.loads(subprocess.run(command, cwd=scripts, capture_output=True, text=True).stdout)
    assert found["summary"]["filesAnalyzed"] == 2
    errors = [(Path(row["file"]).name, row["range"]["start"]["line"] + 1) for row in found["generalDiagnostics"]]
    assert errors == [("wrong.py", line) for line in (4, 5, 6, 7)], found["generalDiagnostics"]
