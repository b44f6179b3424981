"""A watch on the Ray under a run: its control service (GCS), and the raylet of the driver's machine.

Without it, Ray reports nothing for a minute and then ends the driver, or reports every call one by one as lost.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from geoflow.cluster import processes

_KNOCK_EVERY_S = 2.0
_SILENT_S = 40.0  # a control service on another machine may be restarted in this time; Ray ends the driver after 60 s
_GCS, _RAYLET = "gcs_server", "raylet"
_NAMES = {_GCS: "Ray's control service (GCS)", _RAYLET: "Ray's raylet"}


def own_processes() -> dict[str, int]:
    """Return the pids of the processes that `ray.init` started here, by Ray's names; {} if it joined a cluster."""
    node = _node()
    started = node.all_processes if node is not None else {}
    return {kind: row.process.pid for kind, rows in started.items() for row in rows}


def _node() -> Any:
    from ray._private import worker

    return worker._global_node


class Watch:
    """A watch that the driver's loop asks now and then; what takes time is done in a thread."""

    def __init__(self) -> None:
        node = _node()
        self._own = {
            kind: found
            for kind, pid in own_processes().items()
            if kind in _NAMES and (found := processes.process(pid)) is not None
        }
        self._gcs, self._socket = str(node.gcs_address), str(node.raylet_socket_name)
        self._heard = time.monotonic()
        self._over = threading.Event()

    def __enter__(self) -> Watch:
        if not self._own:
            threading.Thread(target=self._keep_knocking, name="geoflow-watch", daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()

    @property
    def silent(self) -> bool:
        """Return whether the control service does not answer at this moment; a request to it would have to wait."""
        return time.monotonic() - self._heard > 2 * _KNOCK_EVERY_S and not self._own

    def lost(self) -> str:
        """Return what has ended, in words; "" if nothing has."""
        for kind, known in self._own.items():
            if not processes.is_there(known):
                return f"{_NAMES[kind]} has ended"
        if not self._own:
            if not _listens(self._socket):
                return f"{_NAMES[_RAYLET]} on this machine has ended"
            if (silent := time.monotonic() - self._heard) > _SILENT_S:
                return f"{_NAMES[_GCS]} at {self._gcs} has not answered for {silent:.0f} s"
        return ""

    def _keep_knocking(self) -> None:
        host, _, port = self._gcs.rpartition(":")
        while not self._over.wait(_KNOCK_EVERY_S):
            with contextlib.suppress(OSError):
                socket.create_connection((host.strip("[]"), int(port)), _KNOCK_EVERY_S).close()
                self._heard = time.monotonic()


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # its queue is full: it is alive
            return True
    return True


_watches: list[Watch] = []  # of the Ray that is up, if GeoFlow joined or started it


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Watch the Ray that is up now, until the end of the `with` block."""
    if _node() is None:
        yield
        return
    with Watch() as watch:
        _watches.append(watch)
        try:
            yield
        finally:
            _watches.remove(watch)


def lost() -> str:
    """Return what has ended of the watched Ray, in words; "" if nothing has."""
    return _watches[-1].lost() if _watches else ""


def silent() -> bool:
    """Return whether a request to the control service would have to wait for long at this moment."""
    return bool(_watches) and _watches[-1].silent
