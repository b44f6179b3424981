"""`geoflow submit`: a run as a job of a Ray cluster's job server, from a checkout or an installed wheel.

What the job needs of GeoFlow itself is uploaded with it: the packages, pipelines and environments of this installation,
and a pipeline file or a camera file that the arguments name. Everything else that they name (videos, OUT, masks,
known cameras, weights) is of the cluster; relative paths are made absolute, as on a disk that both share.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import sys
import tempfile
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoflow.cluster import job_server
from geoflow.environments import distribution
from geoflow.errors import ConfigError
from geoflow.files import resources

_DEFAULT_ADDRESS = "http://127.0.0.1:8265"
_FILES = "submitted"  # folder of the job's working directory that holds files of the arguments
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc")


@dataclass(frozen=True)
class Submitted:
    """A job that was submitted, and its end if it was waited for."""

    job_id: str
    address: str
    status: str = "PENDING"  # Ray's words
    exit_status: int | None = None  # the run's exit status
    message: str = ""


def submit(
    arguments: Sequence[str],
    *,
    files: Sequence[str] = (),
    paths: Sequence[str] = (),
    modules: Sequence[str] = (),
    address: str | None = None,
    job_id: str | None = None,
    install: bool = False,
    wait: bool = True,
) -> Submitted:
    """Run `geoflow run ARGUMENTS` as a job; with `wait`, its output goes to stderr until it ends.

    Of the arguments, `files` are uploaded, and `paths` are on the cluster. `modules` are further files and folders that
    are uploaded and found under their own names: modules of backends, environments. With `install` the core's packages
    are installed for the job, for clusters whose image has only Ray. Ray's token ($RAY_AUTH_TOKEN or ~/.ray/auth_token)
    is sent along.

    Raises ConfigError if no job server answers, it refuses the token, or it has a job of this id already.
    """
    address = job_server.knock(address or os.environ.get("RAY_API_SERVER_ADDRESS") or _DEFAULT_ADDRESS)
    with tempfile.TemporaryDirectory(prefix="geoflow-job-") as folder:
        renamed = {path: _absolute(path) for path in paths} | _gather(Path(folder), files, modules)
        command = ["python", "-m", "geoflow", "run", *(_with_names(argument, renamed) for argument in arguments)]
        runtime_env: dict[str, Any] = {"working_dir": folder}
        if install:
            runtime_env["pip"] = core_requirements()
        client, job = _hand_in(address, shlex.join(command), runtime_env, job_id)
    if not wait:
        return Submitted(job, address)
    _run(_follow(client, job))
    info = client.get_job_info(job)
    status = str(info.status.value if hasattr(info.status, "value") else info.status)
    done = status == "SUCCEEDED"
    code = 0 if done else info.driver_exit_code
    return Submitted(job, address, status, 1 if code is None else code, "" if done else (info.message or ""))


def core_requirements() -> list[str]:
    """Return the core's requirements, without Ray, which the cluster has."""
    found = distribution.demands()
    if found is None:
        raise ConfigError("this checkout is not installed, so its requirements are unknown; run: pip install .")
    return [f"{row.name}{row.specifier}" for row in found.packages if row.name != "ray"]


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))


def _gather(folder: Path, files: Sequence[str], modules: Sequence[str] = ()) -> dict[str, str]:
    """Put the job's files into its working directory; return their names there.

    Raises ConfigError for modules that do not exist, or whose names GeoFlow itself needs.
    """
    import actors
    import geoflow

    for package in (geoflow, actors):
        home = Path(str(package.__file__)).parent
        shutil.copytree(home, folder / home.name, ignore=_LEFT_OUT)
    for kind in ("configs", "runtime_envs"):
        shutil.copytree(resources.folder(kind), folder / kind, ignore=_LEFT_OUT, dirs_exist_ok=True)
    for path in modules:
        _add(Path(path), folder)
    renamed = {}
    for k, path in enumerate(files):
        name = f"{_FILES}/{k}-{Path(path).name}"
        (folder / _FILES).mkdir(exist_ok=True)
        shutil.copy(path, folder / name)
        renamed[path] = name
    return renamed


def _add(path: Path, folder: Path) -> None:
    if not path.exists():
        raise ConfigError(f"--upload {path}: there is no such file or folder")
    target = folder / path.resolve().name
    if target.exists() or target.name == _FILES:
        raise ConfigError(f"--upload {path}: another {target.name} is uploaded already; rename it")
    if path.is_dir():
        shutil.copytree(path, target, ignore=_LEFT_OUT)
    else:
        shutil.copy(path, target)


def _with_names(argument: str, renamed: dict[str, str]) -> str:
    """Replace the file in an argument by its name in the job: PATH, or --option=PATH."""
    option, equals, value = argument.partition("=")
    if argument in renamed:
        return renamed[argument]
    return f"{option}={renamed[value]}" if equals and option.startswith("-") and value in renamed else argument


def _hand_in(address: str, entrypoint: str, runtime_env: dict[str, Any], job_id: str | None) -> tuple[Any, str]:
    from ray.job_submission import JobSubmissionClient

    try:
        client = JobSubmissionClient(address)
        return client, client.submit_job(entrypoint=entrypoint, runtime_env=runtime_env, submission_id=job_id)
    except Exception as error:  # Ray's client raises plain exceptions, recognised by their text
        text = str(error)
        if "already exists" in text:
            raise ConfigError(f"there is a job {job_id} at {address} already; choose another --job-id") from error
        raise ConfigError(f"{address} refused the job: {text}") from error


async def _follow(client: Any, job: str) -> None:
    async for lines in client.tail_job_logs(job):
        print(lines, end="", file=sys.stderr, flush=True)


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine also if a loop runs already, as below every cell of a notebook; Ctrl-C ends it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    loop = asyncio.new_event_loop()
    task = loop.create_task(work)
    thread = threading.Thread(target=_complete, args=(loop, task), name="geoflow-job-log", daemon=True)
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:
        loop.call_soon_threadsafe(task.cancel)
        raise
    task.result()


def _complete(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    with contextlib.suppress(Exception, asyncio.CancelledError):  # the task keeps the exception for its waiter
        loop.run_until_complete(task)
    loop.close()
