"""`geoflow view` with the real viewer: a page is served, the store's data arrives, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from full_store import write_full_store
from ray_head import answers

from geoflow.errors import ConfigError
from geoflow.export.viewer import has_display, view
from geoflow.synth import Clip

pytest.importorskip("rerun")


@pytest.fixture(scope="module")
def store(small_clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "a.h5"
    write_full_store(path, small_clip)
    return path


def two_free_ports() -> int:
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                two.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def left_behind(port: int) -> list[str]:
    """Processes that still run and have this port in their command."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if str(port) in command:
            found.append(" ".join(command))
    return found


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_page_is_served_and_the_data_arrives(store: Path, tmp_path: Path, number: int) -> None:
    port = two_free_ports()
    command = [sys.executable, "-m", "geoflow", "view", str(store), "--web", "--port", str(port), "--set", "stride=2"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None and process.stderr is not None
    address = process.stdout.readline().strip()
    assert address.startswith(f"http://127.0.0.1:{port}?url="), process.stderr.read()
    assert "4 of 8 frames" in process.stderr.readline()
    with urllib.request.urlopen(address) as page:
        assert page.status == 200 and b"<html" in page.read().lower()
    if number == signal.SIGINT:  # once is enough
        assert "world/camera/depth" in received(f"rerun+http://127.0.0.1:{port + 1}/proxy", tmp_path / "got.rrd")
    process.send_signal(number)
    assert process.wait(20) == 0 and process.stderr.read() == ""
    assert not left_behind(port) and not answers(port) and not answers(port + 1)


def received(address: str, path: Path) -> str:
    """What a client of the data's address gets, as Rerun's own reader prints it."""
    rerun = [sys.executable, "-m", "rerun"]
    client = subprocess.Popen(
        [*rerun, address, "--save", str(path), "--port", "auto"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline, said = time.monotonic() + 60, ""
        while "world/camera/depth" not in said and time.monotonic() < deadline:
            time.sleep(1)
            said = subprocess.run([*rerun, "rrd", "print", str(path)], capture_output=True, text=True).stdout
    finally:
        os.killpg(client.pid, signal.SIGTERM)  # the command starts the client as a child of its own
        client.wait()
    return said


def test_where_nothing_can_be_shown_the_remedy_is_named(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert has_display({"DISPLAY": ":0"}, "linux") and has_display({}, "darwin") and not has_display({}, "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="--web"):
        view(store)
    with pytest.raises(ConfigError, match="no such option"):
        view(store, web=True, colour="red")
    (viewer := tmp_path / "viewer").write_text("#!/bin/sh\necho it found no display >&2\nexit 1\n")
    viewer.chmod(0o755)
    with monkeypatch.context() as patch, pytest.raises(ConfigError, match=r"it found no display; .*--web"):
        patch.setenv("DISPLAY", ":4711")
        patch.setattr(sys, "executable", str(viewer))  # in place of Rerun's
        view(store)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        with pytest.raises(ConfigError, match="is in use; choose another with --port"):
            view(store, web=True, port=sock.getsockname()[1])
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(ConfigError, match=r"geoflow-video\[export\]"):
        view(store, web=True)
    assert os.environ.get("DISPLAY") is None
