"""`geoflow view`: a store in the Rerun viewer, in a window or a browser, streamed while it is read.

The viewer is a process of its own, which listens only on this machine.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import IO, Any
from urllib.parse import quote

from geoflow.environments.extras import library
from geoflow.errors import ConfigError
from geoflow.export.formats import check_options
from geoflow.export.frames import pictures
from geoflow.export.rerun_log import log_video, open_recording
from geoflow.store.reader import open_video

_HOST = "127.0.0.1"
_UP_S = 30.0  # for a viewer to start
_DOWN_S = 5.0
_LOOK_S = 0.2
_REMEDY = "if no window can be opened, serve it for a browser: --web"
_MEMORY = "50%"  # of this machine's memory, to keep data for pages that are opened later


def view(file: str | os.PathLike[str], *, web: bool = False, port: int = 9090, **options: Any) -> None:
    """Show a store until its viewer is closed, or Ctrl-C or SIGTERM comes; `options` are those of the export `rerun`.

    With `web`, the viewer is served at `port` for browsers on this machine, its data at the next port, and the address
    is printed.

    Raises ConfigError if there is no display, no rerun-sdk, a port is in use or the viewer does not start, and
    StoreError if the file is not a store or has nothing to show.
    """
    check_options("rerun", options)
    library("rerun", "export", "`geoflow view`")
    if not web and not has_display(os.environ):
        raise ConfigError("there is no display to open a window on; serve the viewer for a browser instead: --web")
    ports = (port, port + 1) if web else (_free_port(),)
    data = f"rerun+http://{_HOST}:{ports[-1]}/proxy"
    page = f"http://{_HOST}:{port}?url={quote(data, safe='')}" if web else ""
    with open_video(file) as video, _stoppable():
        if options.get("images", True):
            next(pictures(video, [0]))  # errors are reported before a window opens
        recording = open_recording(video, images=options.get("images", True))
        with _viewer(web, ports) as viewer, _connected(recording, data):
            if page:
                print(page, flush=True)
            frames = 0
            for _ in log_video(recording, video, **options):
                frames += 1
                if viewer.poll() is not None:
                    return
            print(f"{frames} of {len(video)} frames are in the viewer; Ctrl-C ends it", file=sys.stderr)
            while viewer.poll() is None:
                time.sleep(_LOOK_S)


def has_display(environ: Mapping[str, str], platform: str = sys.platform) -> bool:
    """Return whether a window can be opened, judged by the environment."""
    return not platform.startswith("linux") or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM close the viewer: neither is an error, and nothing is left behind."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    # SIGINT is set, too: it is ignored in programs that a script starts in the background.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _connected(recording: Any, address: str) -> Iterator[None]:
    """Connect to the viewer, and disconnect before it is ended, or the library would complain."""
    recording.connect_grpc(address)
    try:
        yield
    finally:
        recording.disconnect()


@contextlib.contextmanager
def _viewer(web: bool, ports: tuple[int, ...]) -> Iterator[subprocess.Popen[bytes]]:
    for port in ports:
        _check_free(port)
    command = [sys.executable, "-m", "rerun", "--bind", _HOST, "--port", str(ports[-1])]
    if web:
        command += ["--serve-web", "--web-viewer-port", str(ports[0]), "--server-memory-limit", _MEMORY]
    with tempfile.TemporaryFile() as log:
        # The command starts the viewer as its own child: both are ended together, as a group.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        try:
            _await(process, ports, log)
            yield process
            if process.poll():
                raise ConfigError(f"Rerun's viewer ended: {_last_words(log)}; {_REMEDY}")
        finally:
            _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_DOWN_S)


def _await(process: subprocess.Popen[bytes], ports: tuple[int, ...], log: IO[bytes]) -> None:
    deadline = time.monotonic() + _UP_S
    while not all(_answers(port) for port in ports):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ConfigError(f"Rerun's viewer does not start: {_last_words(log)}; {_REMEDY}")
        time.sleep(_LOOK_S)


def _last_words(log: IO[bytes]) -> str:
    log.seek(0)
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.read().decode("utf-8", "replace"))
    return " / ".join(text.strip().splitlines()[-3:]) or "it printed nothing"


def _answers(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((_HOST, port)) == 0


def _check_free(port: int) -> None:
    if _answers(port):
        raise ConfigError(f"port {port} is in use; choose another with --port")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind((_HOST, 0))
        return int(sock.getsockname()[1])
