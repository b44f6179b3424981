"""A head of Ray's in processes of its own, as a user starts one with `ray start`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

_RAY = Path(sys.executable).with_name("ray")
_UP_S = 120.0  # until a head answers on a machine that does other things, too
_DOWN_S = 10.0  # then the processes are killed: a head waits longer for actors that are gone


@contextlib.contextmanager
def ray_head(*arguments: str, env: Mapping[str, str], log: Path, answers_at: int) -> Iterator[None]:
    """`ray start --head ARGUMENTS`, from when it answers at a port to the end of the block; its nodes end with it."""
    temp = Path("/tmp") / f"geoflow-head-{os.getpid()}"  # Ray's socket paths must stay short
    command = [str(_RAY), "start", "--head", "--block", "--disable-usage-stats", "--temp-dir", str(temp), *arguments]
    with log.open("w") as out:
        head = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        deadline = time.monotonic() + _UP_S
        while not answers(answers_at):
            assert head.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)
        yield
    finally:
        head.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            head.wait(_DOWN_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(head.pid, signal.SIGKILL)
        shutil.rmtree(temp, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
