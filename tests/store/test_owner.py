"""One run at a time has a folder: on a disk, on one that machines share, elsewhere; who is killed has it no longer."""

from __future__ import annotations

import dataclasses
import datetime
import fcntl
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from geoflow.errors import ConfigError, StoreError
from geoflow.files import locations
from geoflow.store import kernel_lock
from geoflow.store import owner as owning
from geoflow.store.kernel_lock import is_local
from geoflow.store.lease import Disk, Elsewhere, numbers, record_name
from geoflow.store.mirror import run_paths
from geoflow.store.owner import LEASE_S, Owner, Ownership, current_owner, describe_owner, require_owner
from geoflow.store.paths import RunPaths

FAR = Owner("far", 4711, time.time() - 500, "another boot", "another space", "f" * 32, "")


@pytest.fixture(params=["disk", "shared disk", "elsewhere"])
def out(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder to write to. A shared disk is one whose locks other machines do not see."""
    monkeypatch.setattr(Elsewhere, "settle_s", 0.0)
    if request.param == "elsewhere":
        yield "memory://place/out"
        fsspec.filesystem("memory").store.clear()
        return
    (tmp_path / "out").mkdir()
    if request.param == "shared disk":
        monkeypatch.setattr(owning, "is_local", lambda path: False)
    yield str(tmp_path / "out")


def shelf(out: str) -> Disk | Elsewhere:
    return owning._shelf(run_paths(out))


def put_record(out: str, owner: Owner, *, untouched_s: float = 0.0, number: int = 1) -> None:
    """Leave a record as another machine would."""
    owner = dataclasses.replace(owner, home=owning._home(run_paths(out)))
    shelf(out).create(record_name(number), json.dumps(dataclasses.asdict(owner)).encode())
    if out.startswith("memory"):
        file = fsspec.filesystem("memory").store[f"/place/out/.owner/{record_name(number)}"]
        file.created = file.modified = file.modified - datetime.timedelta(seconds=untouched_s)
    else:
        then = time.time() - untouched_s
        os.utime(Path(out) / ".owner" / record_name(number), (then, then))


def left(out: str) -> list[str]:
    """What is there of an owner, here and elsewhere."""
    paths = run_paths(out)
    here = owning._lock_path(paths).parent
    return sorted({*shelf(out).names(), *(os.listdir(here) if here.is_dir() else ())})


def test_the_second_is_refused_and_told_by_whom(out: str) -> None:
    paths = run_paths(out)
    with Ownership(paths) as first:
        began = time.monotonic()
        with pytest.raises(ConfigError) as refused, Ownership(paths):
            pass
        assert time.monotonic() - began < 1
        words = str(refused.value)
        assert words.startswith(
            f"{paths.home} is being written by process {os.getpid()} on {os.uname().nodename} since"
        )
        assert time.strftime("%Y-%m-%d") in words and "name another -o" in words
        owner = current_owner(paths)
        assert owner is not None and owner.token == first.token
        assert (describe_owner(paths) or {})["pid"] == os.getpid()
        require_owner(paths, first.token)
        with pytest.raises(StoreError, match=f"taken over by process {os.getpid()}"):
            require_owner(paths, "another run's")
    assert left(out) == [] and describe_owner(paths) is None
    require_owner(paths, "another run's")  # nobody has it
    for _ in range(2):
        with Ownership(paths):
            pass
    assert left(out) == []


def test_an_error_in_the_run_frees_it(out: str) -> None:
    with pytest.raises(KeyboardInterrupt), Ownership(run_paths(out)):
        raise KeyboardInterrupt
    assert left(out) == []
    with Ownership(run_paths(out)):
        pass


def test_of_many_that_start_at_once_one_gets_it(out: str) -> None:
    for _ in range(5):
        start, end = threading.Barrier(6, timeout=30), threading.Barrier(6, timeout=30)
        got: list[str] = []

        def try_it(start: threading.Barrier = start, end: threading.Barrier = end, got: list[str] = got) -> None:
            start.wait()
            try:
                with Ownership(run_paths(out)):
                    got.append("owner")
                    end.wait()
            except ConfigError as error:
                if f"process {os.getpid()} on" not in str(error):
                    got.append(str(error))
                end.wait()

        threads = [threading.Thread(target=try_it) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert got == ["owner"] and left(out) == []


def test_without_any_lock_the_record_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has no locks, and two machines: the lock refuses neither."""

    def no_locks(handle: int, what: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    test_of_many_that_start_at_once_one_gets_it(str(tmp_path))


# Whoever had it is gone

HOLD = """
import sys, time
from geoflow.store.mirror import run_paths
from geoflow.store.owner import Ownership
with Ownership(run_paths(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(60)
"""


def hold(out: str, code: str = HOLD) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", code, out], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "mine\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_frees_it_at_once(tmp_path: Path, number: int) -> None:
    process = hold(str(tmp_path))
    try:
        with pytest.raises(ConfigError, match=f"process {process.pid} on"), Ownership(RunPaths(tmp_path)):
            pass
        assert (describe_owner(RunPaths(tmp_path)) or {})["pid"] == process.pid
    finally:
        process.send_signal(number)
        process.wait()
    assert describe_owner(RunPaths(tmp_path)) is None
    with Ownership(RunPaths(tmp_path)):
        assert numbers(Disk(RunPaths(tmp_path).owner)) == [2]
    assert left(str(tmp_path)) == []


def test_a_child_that_lives_on_does_not_keep_it(tmp_path: Path) -> None:
    forked = HOLD.replace(
        'print("mine"', "import os\n    if os.fork() == 0: time.sleep(60); os._exit(0)\n    print(" + '"mine"'
    )
    process = hold(str(tmp_path), textwrap.dedent(forked))
    child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
    try:
        process.kill()
        process.wait()
        assert Path(f"/proc/{child}").exists()
        with Ownership(RunPaths(tmp_path)):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_killed_here_a_run_to_elsewhere_goes_on_here(monkeypatch: pytest.MonkeyPatch) -> None:
    out, paths = "memory://place/out", run_paths("memory://place/out")
    monkeypatch.setattr(Elsewhere, "settle_s", 0.0)
    with Ownership(paths) as killed:  # its process is gone: its lock is free and says who had it, its record is there
        data = json.dumps(dataclasses.asdict(killed._me))
    shelf(out).create(record_name(3), data.encode())
    lock = owning._lock_path(paths)
    lock.parent.mkdir(parents=True)
    lock.write_text(data)
    with Ownership(paths):
        assert numbers(shelf(out)) == [4]
    assert left(out) == []
    shelf(out).create(record_name(3), data.encode())  # one with another cache: nothing shows that it has ended
    with pytest.raises(ConfigError, match=f"process {os.getpid()}"), Ownership(paths):
        pass
    fsspec.filesystem("memory").store.clear()


def test_another_machine_has_it_as_long_as_it_gives_signs_of_life(out: str, request: pytest.FixtureRequest) -> None:
    put_record(out, FAR, untouched_s=LEASE_S - 20)
    if request.node.callspec.params["out"] != "disk":
        words = r"process 4711 on far since .*last sign of life was 4\d s ago.*60 s after"
        with pytest.raises(ConfigError, match=words), Ownership(run_paths(out)):
            pass
        assert numbers(shelf(out)) == [1]
        shelf(out).remove(record_name(1))
        put_record(out, FAR, untouched_s=LEASE_S + 1)
    # On a disk of this machine alone nobody is far: it is the record of a container that is gone.
    with Ownership(run_paths(out)):
        assert numbers(shelf(out)) == [2]
    assert left(out) == []


def test_a_copy_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Elsewhere, "settle_s", 0.0)
    memory = fsspec.filesystem("memory")
    with Ownership(run_paths("memory://place/out")):
        memory.copy("/place/out", "/place/copy", recursive=True)
        assert numbers(shelf("memory://place/copy")) == [1]
        assert describe_owner(run_paths("memory://place/copy")) is None
        with Ownership(run_paths("memory://place/copy")):
            pass
        with pytest.raises(ConfigError, match="is being written by"), Ownership(run_paths("memory:///place/out/")):
            pass  # the same folder by another name
    memory.store.clear()


def test_a_record_cut_short_by_a_power_cut_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / ".owner").mkdir()
    (tmp_path / ".owner" / record_name(1)).touch()
    if not is_local(tmp_path):
        pytest.skip("the temporary folder is not on a disk of this machine alone")
    with Ownership(RunPaths(tmp_path)):
        pass


def test_who_slept_too_long_sees_it_and_lets_go(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owning, "BEAT_S", 0.02)
    told = threading.Event()
    with Ownership(run_paths(out)) as owner:
        owner.when_lost(told.set)
        time.sleep(0.1)
        assert owner.lost_to is None
        owner.check()
        put_record(out, FAR, number=2)
        assert told.wait(5)
        with pytest.raises(StoreError, match=r"taken over by process 4711 on far .*Finished work is kept"):
            owner.check()
        with pytest.raises(StoreError, match="taken over by process 4711"):
            require_owner(run_paths(out), owner.token)
    assert [name for name in left(out) if name.endswith("json")] == [record_name(2)]  # the other's is not touched


def test_signs_of_life_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owning, "BEAT_S", 0.02)
    with Ownership(RunPaths(tmp_path)):
        record = RunPaths(tmp_path).owner / record_name(1)
        os.utime(record, (1, 1))
        deadline = time.monotonic() + 5
        while record.stat().st_mtime < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        record.unlink()  # somebody tidied up
        while not record.is_file():
            assert time.monotonic() < deadline
            time.sleep(0.01)


# What it stands on


def test_a_file_elsewhere_is_made_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for uri in ("memory://place/x", f"local://{tmp_path}/deep/x"):
        assert locations.content(uri) is None
        assert locations.create(uri, b"first") and not locations.create(uri, b"second")
        assert locations.content(uri) == b"first"

    def unknown(self: Any, path: str, value: bytes, mode: str = "overwrite") -> None:
        if mode != "overwrite":
            raise OSError("A header you provided implies functionality that is not implemented")
        with self.open(path, "wb") as file:
            file.write(value)

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "pipe_file", unknown)
    assert locations.create("memory://place/y", b"first") and not locations.create("memory://place/y", b"second")
    fsspec.filesystem("memory").store.clear()


def test_disks_of_this_machine_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_local(Path("/dev/shm")) and not is_local(Path("/proc"))
    rows = "1 0 0:1 / / rw - ext4 /dev/a rw\n2 1 0:2 / /net rw shared:3 - nfs4 server:/x rw\n"
    rows += "3 2 0:3 / /net/a\\040b rw - xfs /b rw\n"
    monkeypatch.setattr(kernel_lock, "open", lambda *args, **kw: io.StringIO(rows), raising=False)
    assert is_local(Path("/some")) and not is_local(Path("/net/x")) and is_local(Path("/net/a b/x"))
    assert is_local(Path("/network"))
