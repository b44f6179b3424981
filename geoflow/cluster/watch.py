"""Whether the Ray under a run still lives: its control service (GCS), and the raylet that the driver hangs on.

Ray itself says nothing for a minute and then ends the driver, or reports every call one by one as lost.
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
_SILENT_S = 40.0  # of a control service elsewhere, which may be restarted; Ray ends the driver after 60 s
_GCS, _RAYLET = "gcs_server", "raylet"
_NAMES = {_GCS: "Ray's control service (GCS)", _RAYLET: "Ray's raylet"}


def own_processes() -> dict[str, int]:
    """Pids of what `ray.init` has started here, by Ray's name for it; {} where it has joined a cluster."""
    node = _node()
    started = node.all_processes if node is not None else {}
    return {kind: row.process.pid for kind, rows in started.items() for row in rows}


def _node() -> Any:
    from ray._private import worker

    return worker._global_node


class Watch:
    """Asked in between by the driver's loop; what takes time is done in a thread."""

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
        """Whether the control service does not answer at this moment; who asks it something waits."""
        return time.monotonic() - self._heard > 2 * _KNOCK_EVERY_S and not self._own

    def lost(self) -> str:
        """What has ended, in words; "" while all is well."""
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
        except OSError:  # its queue is full: it is there
            return True
    return True


_watches: list[Watch] = []  # of the Ray that is up, if GeoFlow has joined or started it


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Have the Ray that is up now watched until it is left."""
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
    """What has ended of the Ray that is watched, in words; "" while all is well."""
    return _watches[-1].lost() if _watches else ""


def silent() -> bool:
    """Whether whoever asks the control service something at this moment would wait for long."""
    return bool(_watches) and _watches[-1].silent
