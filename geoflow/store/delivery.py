"""Delivery of stores from the node that assembles them to a run's folder elsewhere."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Collection
from pathlib import Path

from geoflow.errors import StoreError
from geoflow.files import locations
from geoflow.store.paths import TEMPORARY, RunPaths


def share_part(paths: RunPaths, part: Path) -> None:
    """Copy a finished segment to the run's folder, because another node may assemble the video. Raises StoreError."""
    locations.put(part, _elsewhere(paths, part))


def gather_parts(paths: RunPaths, name: str, key: str, indices: Collection[int], own: Collection[int]) -> None:
    """Fetch the segments `indices` of the work `key`, except segments that this node made (`own`). Raises
    StoreError."""
    for index in sorted(set(indices) - set(own)):
        part = paths.part(name, index, key)
        with contextlib.suppress(FileNotFoundError):  # never shared, or assembled already
            locations.fetch(_elsewhere(paths, part), part)


def deliver(paths: RunPaths, name: str) -> None:
    """Upload the store of a video and delete its local files. If it raises StoreError, the file is kept."""
    path = paths.video(name)
    if path.is_file():
        try:
            locations.put(path, str(paths.store(name)))
        except StoreError as error:
            raise StoreError(
                f"{error}. The finished store is kept as {path} on {socket.gethostname()}; run again to upload it"
            ) from None
        path.unlink(missing_ok=True)
    with contextlib.suppress(StoreError):  # files that are left over do no harm
        locations.remove(_elsewhere(paths, paths.parts(name)))


def deliver_kept(paths: RunPaths) -> dict[str, str]:
    """Upload stores that an earlier run has not uploaded; return why it fails again, by the video's name.

    A store that another machine has written since is not replaced.
    """
    failed = {}
    for path in sorted(paths.videos.glob("*.h5")) if paths.videos.is_dir() else ():
        try:
            there = locations.stat(str(paths.store(path.stem)))
            if there is not None and there.modified > path.stat().st_mtime:
                path.unlink()
            else:
                deliver(paths, path.stem)
        except FileNotFoundError:  # nodes may share their cache: another node has uploaded it
            continue
        except StoreError as error:
            if path.is_file():
                failed[path.stem] = str(error)
    return failed


def clear_drafts(paths: RunPaths) -> None:
    """Delete stores that a killed run was still writing. Only the owner of the folder may do so.

    A worker of the killed run that lives a little longer cannot finish them any more.
    """
    for path in paths.videos.glob(f"*{TEMPORARY}") if paths.videos.is_dir() else ():
        with contextlib.suppress(OSError):
            path.unlink()


def clear_parts(paths: RunPaths, finished: Collection[str]) -> None:
    """Delete parts of finished videos elsewhere, which a run leaves if it is killed after it uploaded a store."""
    if paths.remote:
        with contextlib.suppress(StoreError):  # files that are left over do no harm
            for folder in locations.listing(_elsewhere(paths, paths.work)):
                if locations.basename(folder) in finished:
                    locations.remove(folder)


def _elsewhere(paths: RunPaths, path: Path) -> str:
    return locations.join(paths.remote, paths.relative(path))
