"""The command line as a user meets it: one line for each mistake, the right exit status, JSON and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import clips
import pytest
from ledger_events import one_run, write
from synthetic_store import write_run

from geoflow.cli import main
from geoflow.results import RunResult, VideoResult


@dataclass
class Ended:
    status: int
    stdout: str
    stderr: str


@pytest.fixture
def geoflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """The command run in the folder of the test, without a process of its own: its imports would take most time."""

    def run(*args: str) -> Ended:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["geoflow", *args])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, *capfd.readouterr())

    return run


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
        (["run", "clip.mp4", "-o", "out", "--set", "segment.size=40"], "segment.overlap=20"),
        (["run", "clip.mp4", "-o", "out", "--without", "hnds"], "has no such stage"),
        (["run", "clip.mp4", "-o", "out", "--without", "write"], "no stage write, which writes stores"),
        (["run", "clip.mp4", "-o", "out", "--masks", "nosuch"], "--masks nosuch should be a folder"),
        (["run", "clip.mp4", "-o", "out", "--objects", "nosuch"], "--objects nosuch should be a folder"),
        (["plan", "absent.mp4"], "absent.mp4: does not exist"),
        (["plan", "clip.mp4", "--masks", "nosuch"], "--masks nosuch should be a folder"),
        (["submit", "clip.mp4", "-o", "out", "--without", "hnds"], "has no such stage"),
        (["params", "camra"], "no such stage or parameter"),
    ],
)
def test_wrong_usage_is_status_2_and_one_line(
    tmp_path: Path, geoflow: Callable[..., Ended], args: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "clip.mp4").write_bytes(b"not yet looked at")
    done = geoflow(*args)
    assert done.status == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "out").exists(), "nothing was started"


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    """By a process, as users start it; the other tests here do without."""
    (tmp_path / "x.h5").write_text("hello")
    command = [sys.executable, "-m", "geoflow", "info", str(tmp_path / "x.h5")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 3
    assert "x.h5" in done.stderr and "Traceback" not in done.stderr


def test_plan_answers_without_ray(
    tmp_path: Path, geoflow: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # importing it raises
    clips.write(tmp_path / "a.mp4", 6)
    done = geoflow("plan", "a.mp4", "--json")
    assert done.status == 0
    plan = json.loads(done.stdout)
    assert plan["stages"][0]["slot"] == "decode"
    shape = {"name": "a", "frames": 6, "size": "64x48", "segments": 1}
    assert shape.items() <= plan["videos"][0].items()
    assert plan["total"]["gpu_hours"] == 0 and plan["total"]["seconds"] is None, "nothing was measured yet"


def test_what_others_print_during_a_run_stays_out_of_its_json(
    tmp_path: Path, geoflow: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray prints some of its notices to stdout, whatever its options say."""
    from geoflow import runner

    def run(*_: object, **__: object) -> runner.RunResult:
        print("(raylet) WARNING: 8 PYTHON worker processes have been started")
        return runner.RunResult(str(tmp_path), "embedded", ())

    monkeypatch.setattr(runner, "run", run)
    ended = geoflow("run", "clip.mp4", "-o", "out", "--json")
    assert json.loads(ended.stdout)["videos"] == [] and "(raylet)" in ended.stderr


def test_settings_are_printed_as_a_file_that_gives_the_same(tmp_path: Path, geoflow: Callable[..., Ended]) -> None:
    """Without a run, and without looking at the inputs."""
    args = ["run", "clip.mp4", "-o", "out", "--print-config"]
    changes = ["--set", "camera.chapter=96", "--without", "hands,tracks", "--fps", "5"]
    ended = geoflow(*args, *changes)
    assert ended.status == 0 and ended.stderr == "" and not (tmp_path / "out").exists()
    (tmp_path / "mine.yaml").write_text(ended.stdout)
    assert geoflow(*args, "--pipeline", "mine.yaml").stdout == ended.stdout
    found = json.loads(geoflow(*args, "--pipeline", "mine.yaml", "--json").stdout)
    assert found["reading"] == {"fps": 5.0}
    left = ["decode", "camera", "prior", "geometry", "objects", "stitch", "write"]
    assert [row["slot"] for row in found["stages"]] == left
    assert found["stages"][1]["params"]["chapter"] == 96


def test_parameters_are_listed_as_json(geoflow: Callable[..., Ended]) -> None:
    found = json.loads(geoflow("params", "camera.chapter", "--json").stdout)
    (row,) = found["parameters"]
    assert (row["setting"], row["default"], found["pipeline"]) == ("camera.chapter", 288, "embedded") and row["meaning"]


def test_a_plan_with_an_input_that_cannot_be_used_ends_with_status_3(
    tmp_path: Path, geoflow: Callable[..., Ended]
) -> None:
    clips.write(tmp_path / "a.mp4", 6)
    ended = geoflow("plan", "a.mp4", "absent.mp4")
    assert ended.status == 3 and "absent.mp4" in ended.stdout


def result_of(*videos: VideoResult) -> RunResult:
    return RunResult("/my runs/out", "embedded", videos)


def ended(monkeypatch: pytest.MonkeyPatch, geoflow: Callable[..., Ended], result: RunResult) -> str:
    from geoflow import runner

    monkeypatch.setattr(runner, "run", lambda *_, **__: result)
    return geoflow("run", "clip.mp4", "-o", "out").stdout


def test_a_run_ends_with_what_was_recovered_and_what_to_do_next(
    geoflow: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = VideoResult("a", "a.mp4", "complete", path="/my runs/out/videos/a.h5", recovered="all 9 frames posed")
    still = replace(
        good, name="b", recovered="no frame posed, hands in 9 frames; the camera stood still", lacking="poses"
    )
    bad = VideoResult("c", "c.mp4", "failed", "not a video")
    said = ended(monkeypatch, geoflow, result_of(good, still, bad)).splitlines()
    assert said[0] == "2 complete, 1 failed: /my runs/out"
    assert said[1:3] == [f"  b: {still.recovered}", f"  a: {good.recovered}"], "what lacks something comes first"
    assert said[3] == "next: geoflow report '/my runs/out'"
    assert said[4].strip() in {f"geoflow {name} '/my runs/out/videos/a.h5'" for name in ("view", "info")}
    many = ended(monkeypatch, geoflow, result_of(*[replace(still, name=f"v{k}") for k in range(25)]))
    assert "  and 5 more, 5 of which lack something: the column `recovered` of index.parquet says what" in many


def test_a_run_without_a_store_names_no_next_step(
    geoflow: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "next" not in ended(monkeypatch, geoflow, result_of(VideoResult("c", "c.mp4", "failed", "not a video")))


def test_the_first_line_comes_before_anything_is_imported_that_takes_time(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['geoflow.runner'] = None  # importing it fails\n"
        "sys.argv = ['geoflow', 'run', 'a.mp4', 'b.mp4', '-o', 'out']\n"
        "from geoflow.cli import main; main()"
    )
    ours, terminal = os.openpty()
    try:
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, stderr=terminal)
        said = os.read(ours, 10_000).decode()
    finally:
        os.close(ours)
        os.close(terminal)
    assert said.startswith("geoflow: a.mp4 and 1 more into out") and "ModuleNotFoundError" in said
    assert done.returncode == 1


def test_status_can_be_watched(tmp_path: Path, geoflow: Callable[..., Ended]) -> None:
    write(tmp_path / "events.jsonl", one_run())
    watched, once = geoflow("status", str(tmp_path), "--watch"), geoflow("status", str(tmp_path))
    assert watched.status == 0 and watched.stdout == once.stdout and "finished" in watched.stdout


def test_a_report_can_be_opened(tmp_path: Path, geoflow: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "out", {}, {"bad": "no video"})
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda uri: opened.append(uri) or True)
    page = tmp_path / "out" / "report.html"
    assert geoflow("report", "out") == Ended(0, "out/report.html\n", "") and opened == []
    assert geoflow("report", "out", "--open") == Ended(0, "out/report.html\n", "") and opened == [page.as_uri()]
    monkeypatch.setattr("webbrowser.open", lambda uri: False)
    ended = geoflow("report", "out", "--open")
    assert ended.status == 0 and "no browser was found on this machine; open out/report.html in one" in ended.stderr
