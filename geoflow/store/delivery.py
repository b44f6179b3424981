"""Stores on their way from the node that assembles them to the run's folder elsewhere."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Collection
from pathlib import Path

from geoflow.errors import StoreError
from geoflow.files import locations
from geoflow.store.paths import TEMPORARY, RunPaths


def share_part(paths: RunPaths, part: Path) -> None:
    """Copy a finished segment to where any node finds it: another one may assemble the video. Raises StoreError."""
    locations.put(part, _elsewhere(paths, part))


def gather_parts(paths: RunPaths, name: str, key: str, indices: Collection[int], own: Collection[int]) -> None:
    """Have the segments `indices` of the work `key` here; those not in `own` may be of another node.

    Raises StoreError.
    """
    for index in sorted(set(indices) - set(own)):
        part = paths.part(name, index, key)
        with contextlib.suppress(FileNotFoundError):  # never shared, or assembled already
            locations.fetch(_elsewhere(paths, part), part)


def deliver(paths: RunPaths, name: str) -> None:
    """Upload the store of a video, and delete what there is of it here. Raises StoreError; the file is then kept."""
    path = paths.video(name)
    if path.is_file():
        try:
            locations.put(path, str(paths.store(name)))
        except StoreError as error:
            raise StoreError(
                f"{error}. The finished store is kept as {path} on {socket.gethostname()}; run again to upload it"
            ) from None
        path.unlink(missing_ok=True)
    with contextlib.suppress(StoreError):  # rubbish is no fault
        locations.remove(_elsewhere(paths, paths.parts(name)))


def deliver_kept(paths: RunPaths) -> dict[str, str]:
    """Upload stores that an earlier run could not, or was killed before it did; returns why it fails again, by name.

    One that was written anew since, by another machine, is not replaced.
    """
    failed = {}
    for path in sorted(paths.videos.glob("*.h5")) if paths.videos.is_dir() else ():
        try:
            there = locations.stat(str(paths.store(path.stem)))
            if there is not None and there.modified > path.stat().st_mtime:
                path.unlink()
            else:
                deliver(paths, path.stem)
        except FileNotFoundError:  # nodes may share their cache: another one was as fast
            continue
        except StoreError as error:
            if path.is_file():
                failed[path.stem] = str(error)
    return failed


def clear_drafts(paths: RunPaths) -> None:
    """Delete stores that a killed run was still writing: only the owner of the folder may know that they are nobody's.

    A worker of that run that lives a little longer cannot finish them either.
    """
    for path in paths.videos.glob(f"*{TEMPORARY}") if paths.videos.is_dir() else ():
        with contextlib.suppress(OSError):
            path.unlink()


def clear_parts(paths: RunPaths, finished: Collection[str]) -> None:
    """Delete what is left elsewhere of finished videos: a run may be killed between uploading a store and that."""
    if paths.remote:
        with contextlib.suppress(StoreError):  # rubbish is no fault
            for folder in locations.listing(_elsewhere(paths, paths.work)):
                if locations.basename(folder) in finished:
                    locations.remove(folder)


def _elsewhere(paths: RunPaths, path: Path) -> str:
    return locations.join(paths.remote, paths.relative(path))
