"""Runs as jobs of a real job server: `ray job submit` from a checkout, `geoflow submit` from a wheel; token and all."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ray_head import free_port, ray_head

from geoflow.cli.running import arguments_of_run
from geoflow.errors import ConfigError
from geoflow.pipeline import Pipeline
from geoflow.store.verify import verify_run
from geoflow.submission import _gather, _run, _with_names, core_requirements
from geoflow.synth import render_clip

ROOT = Path(__file__).parent.parent
RAY = Path(sys.executable).with_name("ray")
Done = subprocess.CompletedProcess[str]
OWN = """
from geoflow.stages.decode import Decode

class Own(Decode):
    'A backend of a user, in a module that only the user has.'
"""


def test_arguments_are_those_of_run_and_find_their_files() -> None:
    given = arguments_of_run(["a.mp4", "-o", "out", "--pipeline=p.yaml", "--set", "camera.actors=2"])
    assert given["inputs"] == ["a.mp4"] and given["pipeline"] == "p.yaml" and given["set_"] == ["camera.actors=2"]
    names = {"p.yaml": "submitted/0-p.yaml", "a.mp4": "/disk/a.mp4"}
    assert _with_names("--pipeline=p.yaml", names) == "--pipeline=submitted/0-p.yaml"
    assert _with_names("a.mp4", names) == "/disk/a.mp4"
    assert _with_names("camera.mode=a.mp4", names) == "camera.mode=a.mp4"


def test_what_is_uploaded_is_what_a_run_needs(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("name: x")
    (job := tmp_path / "job").mkdir()
    assert _gather(job, [str(tmp_path / "p.yaml")]) == {str(tmp_path / "p.yaml"): "submitted/0-p.yaml"}
    assert {path.name for path in job.iterdir()} == {"geoflow", "actors", "configs", "runtime_envs", "submitted"}
    assert not list(job.rglob("*.pyc"))
    assert sum(path.stat().st_size for path in job.rglob("*") if path.is_file()) < 5 << 20
    (tmp_path / "own.py").write_text("A = 1\n")
    _gather(tmp_path / "more", [], [str(tmp_path / "own.py")])
    assert (tmp_path / "more" / "own.py").is_file()
    for wrong, said in (("absent.py", "no such file"), ("job/geoflow", "rename it")):
        with pytest.raises(ConfigError, match=said):
            _gather(tmp_path / "jobs" / said, [], [str(tmp_path / wrong)])
    rows = core_requirements()
    assert any(row.startswith("h5py") for row in rows) and not any(
        "torch" in row or row.startswith("ray") for row in rows
    )


def test_a_log_is_followed_inside_a_running_event_loop() -> None:
    """As below a cell of a notebook, where asyncio.run refuses."""
    lines: list[str] = []

    async def follow(fails: bool) -> None:
        await asyncio.sleep(0.01)
        lines.append("a line")
        if fails:
            raise ConnectionError("the head is gone")

    async def cell() -> None:
        _run(follow(False))
        with pytest.raises(ConnectionError, match="the head is gone"):
            _run(follow(True))

    asyncio.run(cell())
    _run(follow(False))
    assert len(lines) == 3


@pytest.fixture(scope="module")
def head_port() -> int:
    """Where the head's control service listens."""
    return free_port()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, head_port: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Start a head as a user does; return its job server and the environment of a user who has its token."""
    dashboard = free_port()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH"))}
    env = clean | {
        "PATH": f"{RAY.parent}{os.pathsep}{os.environ['PATH']}",  # as activated, for jobs
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "120",
        "GEOFLOW_CACHE": str(tmp_path_factory.mktemp("cache")),
        "OMP_NUM_THREADS": "1",
    }
    names = ("ray-client-server-port", "dashboard-agent-listen-port", "metrics-export-port")
    arguments = [f"--{name}={free_port()}" for name in names] + [f"--dashboard-port={dashboard}", f"--port={head_port}"]
    arguments += ["--num-cpus=4", f"--object-store-memory={512 << 20}"]
    with ray_head(*arguments, env=env, log=tmp_path_factory.mktemp("head") / "log", answers_at=dashboard):
        yield f"http://127.0.0.1:{dashboard}", env


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips, and a pipeline of the user's: the embedded one without what needs an environment."""
    folder = tmp_path_factory.mktemp("work")
    for name in "ab":
        render_clip(folder / f"{name}.mp4", folder / f"{name}.gt.h5", num_frames=12, width=64, height=48)
    pipe = Pipeline.load("embedded").without(["hands", "camera", "tracks"])
    stages = [spec.model_dump(exclude_defaults=True) for spec in pipe.stages]
    stages = [{**stage, "params": {}} if stage["slot"] == "geometry" else stage for stage in stages]
    (folder / "mine.yaml").write_text(yaml.safe_dump({"name": "mine", "stages": stages}))
    (folder / "own_decode.py").write_text(OWN)
    own = [{**stage, "backend": "own_decode:Own"} if stage["slot"] == "decode" else stage for stage in stages]
    (folder / "own.yaml").write_text(yaml.safe_dump({"name": "own", "stages": own}))
    return folder


def submit(env: dict[str, str], *arguments: str, cwd: Path, geoflow: Path | None = None) -> Done:
    command = [str(geoflow or RAY.with_name("geoflow")), "submit", *arguments]
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `geoflow` of a virtual environment in which the wheel is installed; other packages it finds around it."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", symlinks=True, with_pip=True)
    pip = [folder / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, wheel], check=True)
    (inside,) = (folder / "venv").glob("lib/python*/site-packages")
    (inside / "around.pth").write_text(sysconfig.get_paths()["purelib"])
    return folder / "venv" / "bin" / "geoflow"


@pytest.mark.ray
def test_ray_job_submit_from_a_checkout(cluster: tuple[str, dict[str, str]], work: Path) -> None:
    address, env = cluster
    job = ["python", "jobs/run.py", str(work / "a.mp4"), str(work / "b.mp4"), "-o", str(work / "out1")]
    command = [str(RAY), "job", "submit", "--address", address, "--working-dir", str(ROOT), "--", *job]
    command += ["--pipeline", str(work / "mine.yaml")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert verify_run(work / "out1") == []
    assert {path.stem for path in (work / "out1" / "videos").glob("*.h5")} == {"a", "b"}


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.env
def test_geoflow_submit_from_a_wheel(cluster: tuple[str, dict[str, str]], work: Path, installed: Path) -> None:
    address, env = cluster
    env = env | {"RAY_API_SERVER_ADDRESS": address}
    (work / "broken.mp4").write_bytes(b"no video")
    upload = ["--upload", "own_decode.py"]
    run = ["a.mp4", "broken.mp4", "-o", "out2", "--pipeline", "own.yaml"]
    done = submit(env, "--job-id", "mine-1", "--json", *upload, *run, cwd=work, geoflow=installed)
    assert done.returncode == 3, "one input failed, as `run` says it\n" + done.stdout + done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert (found["job_id"], found["status"], found["exit_status"]) == ("mine-1", "FAILED", 3)
    assert "1 complete, 1 failed" in done.stderr
    assert (work / "out2" / "videos" / "a.h5").is_file()

    again = submit(env, "--job-id", "mine-1", *upload, *run, cwd=work, geoflow=installed)
    assert again.returncode == 2 and "choose another --job-id" in again.stderr
    resumed = submit(env, *upload, "a.mp4", "-o", "out2", "--pipeline", "own.yaml", cwd=work, geoflow=installed)
    assert resumed.returncode == 0 and "SUCCEEDED" in resumed.stdout
    events = [json.loads(line) for line in (work / "out2" / "events.jsonl").read_text().splitlines()]
    last = max(k for k, event in enumerate(events) if event["event"] == "run_started")
    assert not any(event["event"] == "stage_done" for event in events[last:])


@pytest.mark.ray
def test_a_wrong_token_and_no_server_are_told(cluster: tuple[str, dict[str, str]], work: Path) -> None:
    address, env = cluster
    run = ["a.mp4", "-o", "out3", "--pipeline", "mine.yaml"]
    done = submit(env | {"RAY_AUTH_TOKEN": "f" * 64}, "--address", address, *run, cwd=work)
    assert done.returncode == 2 and "refused the token" in done.stderr and "Traceback" not in done.stderr
    done = submit(env, "--address", "http://127.0.0.1:9", *run, cwd=work)
    assert done.returncode == 2 and "no job server answers" in done.stderr
    done = submit(env, "--address", address, "a.mp4", "-o", "out3", "--pipeline", "none", cwd=work)
    assert done.returncode == 2 and "no 'none' in configs/pipelines" in done.stderr
    done = submit(env, "--address", address, "--no-wait", "--job-id", "later", *run, cwd=work)
    assert done.returncode == 0 and done.stdout.startswith("later at ")


@pytest.mark.ray
def test_a_run_joins_a_head_that_wants_the_token(
    cluster: tuple[str, dict[str, str]], head_port: int, work: Path, tmp_path: Path
) -> None:
    """Nothing is set but the token's file, where `ray start` leaves it."""
    _, env = cluster
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(env["RAY_AUTH_TOKEN"])
    plain = {name: value for name, value in env.items() if not name.startswith("RAY_")} | {"HOME": str(tmp_path)}
    run = [str(RAY.with_name("geoflow")), "run", "a.mp4", "-o", "out4", "--pipeline", "mine.yaml"]

    def start(home: Path, port: int) -> Done:
        command = [*run, "--address", f"127.0.0.1:{port}"]
        options = {"cwd": work, "capture_output": True, "text": True, "timeout": 240}
        return subprocess.run(command, env=plain | {"HOME": str(home)}, **options)  # type: ignore[call-overload, no-any-return]

    done = start(tmp_path, head_port)
    assert done.returncode == 0 and "1 complete" in done.stdout, done.stderr[-3000:]
    assert verify_run(work / "out4") == []
    for home, port, said in ((work, head_port, "asks for a token"), (tmp_path, free_port(), "nothing listens there")):
        done = start(home, port)
        assert done.returncode == 2 and done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert said in line
