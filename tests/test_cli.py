"""The command line as a user meets it: one line for each mistake, the right exit status, JSON and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import clips
import pytest

from geoflow.cli import main


def geoflow(*args: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own; where only what it says matters, call `main` and save the imports."""
    command = [sys.executable, "-m", "geoflow", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["run", "absent.mp4", "-o", "out"], "absent.mp4"),
        (["run", "empty", "-o", "out"], "holds no video"),
        (["run", "clip.mp4", "-o", "file"], "should be a folder, but a file stands there"),
        (["run", "clip.mp4", "-o", "out", "--pipeline", "embeded"], "there are: embedded"),
        (["run", "clip.mp4", "-o", "out", "--set", "camera.windw=3"], "no such parameter"),
        (["run", "clip.mp4", "-o", "out", "--set", "camera"], "STAGE.PARAM=VALUE"),
        (["run", "clip.mp4", "-o", "out", "--size", "640"], "WIDTHxHEIGHT"),
        (["run", "clip.mp4", "-o", "out", "--fps", "-3"], "fps should be a positive number"),
        (["run", "clip.mp4", "-o", "out", "--intrinsics", "500,500"], "fx,fy,cx,cy"),
        (["run", "clip.mp4"], "Missing option"),
    ],
)
def test_wrong_usage_is_status_2_and_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    args: list[str],
    message: str,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "clip.mp4").write_bytes(b"not yet looked at")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["geoflow", *args])
    with pytest.raises(SystemExit) as ended:
        main()
    stdout, stderr = capfd.readouterr()
    assert ended.value.code == 2
    assert message in " ".join(stderr.split())
    assert "Traceback" not in stderr
    assert stdout == ""


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_text("hello")
    done = geoflow("info", tmp_path / "x.h5")
    assert done.returncode == 3
    assert "x.h5" in done.stderr and "Traceback" not in done.stderr


def test_plan_answers_without_ray(tmp_path: Path) -> None:
    clips.write(tmp_path / "a.mp4", 6)
    done = geoflow("plan", "a.mp4", "--json", cwd=tmp_path)
    plan = json.loads(done.stdout)
    assert plan["stages"][0]["slot"] == "decode"
    assert plan["videos"][0] | {"segment_bytes": 0} == {
        "name": "a",
        "frames": 6,
        "size": "64x48",
        "segments": 1,
        "segment_bytes": 0,
    }
