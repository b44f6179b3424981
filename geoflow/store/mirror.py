"""A run's folder that lies elsewhere (`-o s3://...`), and the local folder that stands for it.

During a run everything is written to a folder of this machine's cache. `kept_elsewhere` copies the ledger to the real
folder every few seconds, and the records at the end. Each store is uploaded by the node that assembles it, once it is
whole (`delivery`). So the next run finds there what a killed run had finished, on any machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from geoflow.errors import ConfigError, GeoFlowError, StoreError
from geoflow.files import locations, resources
from geoflow.store.paths import RunPaths

_EVERY_S = 10.0  # between two copies of the ledger; longer where a copy takes long
_SHARE = 20  # copying takes at most this part of the time: one in twenty
_ONCE_A_URI = re.compile(r"[a-z0-9+]{2,}:/")
_RUN = ("index.parquet", "segments.parquet", "run.json", "events.jsonl")


def run_paths(out: str | os.PathLike[str]) -> RunPaths:
    """Return the paths of a run that writes to `out`, a folder or a URI.

    Raises ConfigError if `out` is a URI that was made a Path.
    """
    if isinstance(out, Path) and _ONCE_A_URI.match(str(out)):
        raise ConfigError(f"{out} was a URI before it was made a Path, which removes a slash; give it as text")
    if not locations.is_remote(out):
        return RunPaths(locations.local(out).resolve())
    uri = os.fspath(out).rstrip("/")
    folder = resources.cache_folder().resolve() / "runs" / hashlib.sha256(uri.encode()).hexdigest()[:24]
    return RunPaths(folder, uri)


@contextlib.contextmanager
def records(
    out: str | os.PathLike[str] | RunPaths, names: Sequence[str] = (*_RUN, "scores.json"), back: Sequence[str] = ()
) -> Iterator[RunPaths]:
    """Give the paths of a run's folder to read from. Files `names` of a folder elsewhere are copied here meanwhile.

    Files that match the patterns `back` at the end are copied to the run's folder. Raises StoreError.
    """
    if isinstance(out, RunPaths):
        yield out
    elif not locations.is_remote(out):
        yield RunPaths(locations.local(out))
    else:
        uri = os.fspath(out).rstrip("/")
        with tempfile.TemporaryDirectory(prefix="geoflow-records-") as folder:
            paths = RunPaths(Path(folder) / (locations.basename(uri) or "run"), uri)
            paths.root.mkdir()
            for name in names:
                _fetch(paths, name)
            yield paths
            for path in (path for pattern in back for path in sorted(paths.root.glob(pattern))):
                locations.put(path, locations.join(uri, path.relative_to(paths.root).as_posix()))


def is_run(path: str | os.PathLike[str]) -> bool:
    """Return whether a path or URI names a run's folder, and not a single store."""
    if locations.is_remote(path):
        return not os.fspath(path).endswith(".h5")
    return locations.local(path).is_dir()


def files_of_videos(paths: RunPaths) -> list[str]:
    """Return the names of the files in the run's folder `videos`. Raises StoreError."""
    if paths.remote:
        found = locations.listing(locations.join(paths.remote, paths.videos.name))
        return sorted(locations.basename(uri) for uri in found)
    return sorted(path.name for path in paths.videos.iterdir()) if paths.videos.is_dir() else []


@contextlib.contextmanager
def kept_elsewhere(paths: RunPaths, still_ours: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Keep a folder elsewhere up to date during a run: the ledger as it grows, and every record at the end.

    The run begins with the records that the folder holds. Nothing is copied once the folder is not `still_ours`.

    Raises StoreError if records cannot be copied. They are still on this machine then, and the error says where.
    """
    if not paths.remote:
        yield
        return
    _begin(paths)
    done = threading.Event()
    keeper = threading.Thread(
        target=_keep_ledger, args=(paths, done, still_ours), name="geoflow-ledger-copy", daemon=True
    )
    keeper.start()
    try:
        yield
    except BaseException:
        done.set()
        keeper.join()
        with contextlib.suppress(GeoFlowError):
            _deliver_records(paths, (paths.events.name, *_unread(paths)) if still_ours() else ())
        raise
    done.set()
    keeper.join()
    try:
        _deliver_records(paths, (*_RUN, *_unread(paths)))
    except StoreError as error:
        raise StoreError(
            f"{error}; the run's records are kept in {paths.root}: run again to have them copied"
        ) from None
    _clear(paths)


def _begin(paths: RunPaths) -> None:
    paths.root.mkdir(parents=True, exist_ok=True)
    before = paths.events.read_bytes() if paths.events.is_file() else b""
    for name in _RUN:
        (paths.root / name).unlink(missing_ok=True)
        _fetch(paths, name)
    there = paths.events.read_bytes() if paths.events.is_file() else b""
    if before.startswith(there):  # the last run was on this machine, and was killed before it had copied everything
        paths.events.write_bytes(before)


def _keep_ledger(paths: RunPaths, done: threading.Event, still_ours: Callable[[], bool]) -> None:
    copied, wait = 0, 0.0  # bytes, s; the first copy is made at once, so that `status` knows of the run
    while not done.wait(wait):
        size = paths.events.stat().st_size if paths.events.is_file() else 0
        began = time.monotonic()
        if size > copied and still_ours():
            with contextlib.suppress(GeoFlowError, OSError):  # it is tried again soon, and at the end
                locations.put(paths.events, locations.join(paths.remote, paths.events.name))
                copied = size
        wait = max(_EVERY_S, _SHARE * (time.monotonic() - began)) if copied else 1.0


def _unread(paths: RunPaths) -> tuple[str, ...]:
    """Return the names of the records that no later run and no report reads."""
    return paths.trace.name, paths.pipeline.name


def _fetch(paths: RunPaths, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        locations.fetch(locations.join(paths.remote, name), paths.root / name)


def _deliver_records(paths: RunPaths, names: Sequence[str]) -> None:
    for name in names:
        if (paths.root / name).is_file():
            locations.put(paths.root / name, locations.join(paths.remote, name))


def _clear(paths: RunPaths) -> None:
    """Delete the local folder, except for unfinished work and stores that could not be uploaded."""
    for name in (*_RUN, *_unread(paths)):
        (paths.root / name).unlink(missing_ok=True)
    for folder in (paths.videos, paths.root):
        with contextlib.suppress(OSError):
            folder.rmdir()
    if paths.root.is_dir() and not any(path.is_file() for path in paths.root.rglob("*")):
        shutil.rmtree(paths.root, ignore_errors=True)
