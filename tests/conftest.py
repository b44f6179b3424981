"""Shared fixtures. The `ray` tier uses one local cluster per session, on its own ports and temporary folder."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from geoflow.synth import Clip

SUPPORT = Path(__file__).parent / "support"  # what the tests share; stages are loaded from there, by workers too
sys.path.insert(0, str(SUPPORT))
collect_ignore = ["support/stand_in_vipe"]  # a package for other Pythons: looking for doctests would put it on the path


def pytest_configure() -> None:
    """Have signals as in a terminal: what is started in the background has them ignored, and so do its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--abroad", action="store_true", help="check backends' contract in child processes of this Python")


@pytest.fixture(autouse=True)
def contract_abroad(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `--abroad`, run each backend whose contract a test checks as an environment with `interpreter` would."""
    if not request.config.getoption("--abroad"):
        return
    from geoflow.backends import contract
    from geoflow.environments.interpreter import Interpreter

    here = Interpreter(path=sys.executable)
    monkeypatch.setattr(contract, "problems", functools.partial(contract.problems, interpreter=here))


_caches = itertools.count()


@pytest.fixture(autouse=True)
def no_profile(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Isolate the tests' runs from each other, and from the runs of the person who runs the tests."""
    folder = tmp_path_factory.getbasetemp() / f"cache-{next(_caches)}"  # made by who needs it; most tests do not
    monkeypatch.setenv("GEOFLOW_CACHE", str(folder))


@pytest.fixture(scope="session")
def small_clip() -> Clip:
    """Eight frames of 64x48 at 4 per second: so low a rate that they hold real parallax. Not to be written to."""
    from geoflow.synth import render

    return render(num_frames=8, width=64, height=48, fps=4.0)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GeoFlow's wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder)]
    built = subprocess.run([*command, str(Path(__file__).parent.parent)], capture_output=True, text=True)
    if built.returncode and "No matching distribution" in built.stderr:
        pytest.skip("the build backend cannot be fetched: no package index")
    assert built.returncode == 0, built.stderr
    (found,) = folder.glob("geoflow_video-*.whl")
    return found


@pytest.fixture(scope="session")
def s3_settings() -> dict[str, str]:
    """What s3fs reads of the environment to reach the tests' S3 server; it need not run yet."""
    from ray_head import free_port

    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
    return {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{free_port()}", **keys}


@pytest.fixture(scope="module")
def refuse(s3_settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An S3 server, with an empty bucket `bucket`; as long as there is this file it refuses what it can refuse."""
    import fsspec

    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    mark = tmp_path_factory.mktemp("s3") / "refuse"
    port = urlsplit(s3_settings["AWS_ENDPOINT_URL_S3"]).port
    script = SUPPORT / "s3_server.py"
    command = [sys.executable, str(script), str(port), str(mark)]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_settings.items():
            patch.setenv(name, value)
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    fsspec.filesystem("s3").mkdir("bucket")
                    break
                except Exception:
                    assert server.poll() is None and time.monotonic() < deadline
                    time.sleep(0.2)
            yield mark
        finally:
            server.terminate()
            server.wait()


@pytest.fixture(scope="session")
def ray_session(tmp_path_factory: pytest.TempPathFactory, s3_settings: dict[str, str]) -> Iterator[None]:
    """A local Ray: 4 CPUs and 2 GPUs as it counts them, 1 GiB of store, workers that find the tests' own stages."""
    from geoflow.cluster.session import ray_cluster

    # Where workers find the tests' stages. Not as a `runtime_env`: processes that Ray keeps ready could not be used.
    known = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(SUPPORT), *filter(None, [known])])
    temp = Path("/tmp") / f"geoflow-test-{os.getpid()}"  # Ray's socket paths must stay short
    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:  # what workers find in their environment
            for name, value in s3_settings.items():
                patch.setenv(name, value)
            patch.setenv("GEOFLOW_CACHE", str(tmp_path_factory.mktemp("cache-of-workers")))
            stack.enter_context(
                ray_cluster(
                    num_cpus=4,
                    num_gpus=2,  # as Ray counts; there is none
                    object_store_memory=1 << 30,
                    _temp_dir=str(temp),
                    _system_config={"metrics_report_interval_ms": 2000},  # 10 s by default: too long for a test
                )
            )
        yield
    shutil.rmtree(temp, ignore_errors=True)
