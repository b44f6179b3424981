"""The export of a run as one dataset: resumable, in several processes, with a record of what is in it."""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from geoflow.curation.selection import Ranges, selected_frames
from geoflow.errors import ConfigError, GeoFlowError, StoreError
from geoflow.export.dataset.episodes import (
    Episode,
    by_split,
    complete_stores,
    described,
    places,
    split_of,
)
from geoflow.export.dataset.finished_episodes import finished_part, identity_of, key_of, write_part
from geoflow.export.dataset.kinds import DatasetKind, EpisodePart
from geoflow.export.dataset.passage import Passage
from geoflow.files.locations import is_remote
from geoflow.store.kernel_lock import KernelLock
from geoflow.store.paths import temporary
from geoflow.store.reader import open_video
from geoflow.store.run import load_run
from geoflow.store.whole import store_error
from geoflow.values.version import VERSION

RECORD = "geoflow_export.json"  # in the dataset: what is in it, what is not and why
_SHORTEST = 2  # frames; an episode of fewer has no motion to learn from


@dataclass(frozen=True)
class DatasetWritten:
    """The result of an export: where it is, its episodes, and the videos that are not in it with their reasons."""

    path: Path
    episodes: tuple[Episode, ...]
    left_out: Mapping[str, str]
    splits: Mapping[str, str]  # ranges of episodes, first:stop
    lengths: Mapping[str, int]  # frames of each video's store
    not_chosen: tuple[str, ...] = ()  # complete videos of which no frame is chosen

    @property
    def frames(self) -> int:
        return sum(map(len, self.episodes))

    @property
    def videos(self) -> dict[str, dict[str, int]]:
        """Return for each video how many of its frames are in the dataset."""
        found = {episode.video: {"frames": 0, "of": self.lengths[episode.video]} for episode in self.episodes}
        for episode in self.episodes:
            found[episode.video]["frames"] += len(episode)
        return found


def export_dataset(
    out: str | os.PathLike[str],
    kind: DatasetKind,
    folder: str | os.PathLike[str],
    *,
    where: str | None = None,
    chosen: str | os.PathLike[str] | None = None,
    val: float = 0.1,
    seed: int = 0,
    processes: int = 0,
) -> DatasetWritten:
    """Write the complete videos of the run in `out` as one dataset, the new folder `folder`.

    `where` and `chosen` choose frames of them, as `geoflow.curation.selected_frames` does; each unbroken range of a
    video becomes an episode. A share `val` of the videos is held back for validation, by `seed`. `processes` work side
    by side, by default one per CPU.

    An export that was stopped goes on when it is called again with the same arguments: finished episodes are kept next
    to `folder` until it is whole. Videos that are failed, incomplete or cannot be written are left out, and named with
    their reasons in the result and in the dataset's `geoflow_export.json`.

    Raises StoreError if `folder` exists already, if nothing is left to write, or if the disk refuses; ConfigError for
    bad arguments.
    """
    if is_remote(folder):
        raise ConfigError(f"-o {folder}: datasets are written to a local disk; give a path, and copy it from there")
    target = Path(folder).resolve()
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise StoreError(f"{target} exists already; remove it or choose another output (-o)")
    run = out if is_remote(out) else Path(out).resolve()
    stores, left_out = complete_stores(load_run(run))
    frames = None if where is None and chosen is None else selected_frames(run, where=where, chosen=chosen)
    not_chosen = tuple(name for name in stores if frames is not None and name not in frames)
    stores = {name: store for name, store in stores.items() if name not in not_chosen}
    shared, known = _agreed(kind, stores, left_out)
    episodes = _episodes(kind, stores, shared, frames, left_out)
    sides = split_of({episode.video for episode in episodes}, val, seed)
    episodes = by_split(replace(episode, split=sides[episode.video]) for episode in episodes)
    work = temporary(target)
    lock = _locked(work, target)
    try:
        folders = {e: work / "parts" / key_of(kind, e, known[e.video][0], shared) for e in episodes}
        parts = _parts(kind, folders, shared, processes or _cpus(), left_out)
        parts = _of_whole_videos(parts, left_out)
        if not parts:
            raise StoreError(f"nothing of {out} can be written:\n{reasons(left_out)}")
        episodes = [part.episode for part in parts]
        lengths = {name: frames for name, (_, frames) in known.items()}
        written = DatasetWritten(target, tuple(episodes), left_out, places(episodes), lengths, not_chosen)
        _put_together(kind, parts, shared, work / "whole", _record(kind, written, shared, out, val, seed))
        if target.exists():
            target.rmdir()
        os.replace(work / "whole", target)
    except OSError as error:
        raise store_error(target, error) from error
    finally:
        lock.free()
    shutil.rmtree(work, ignore_errors=True)
    return written


def _locked(work: Path, target: Path) -> KernelLock:
    """Return the lock of the folder of finished episodes. Raises StoreError if another export has it."""
    try:
        return KernelLock(work / "lock", f"{os.getpid()}")
    except BlockingIOError as error:
        raise StoreError(f"another export writes {target} now; wait for it, or choose another output (-o)") from error
    except OSError as error:
        raise store_error(target, error) from error


def reasons(left_out: Mapping[str, str]) -> str:
    """Return a line for each video that is left out."""
    return "\n".join(f"  {name}: {reason}" for name, reason in left_out.items())


def _agreed(
    kind: DatasetKind, stores: dict[str, str], left_out: dict[str, str]
) -> tuple[dict[str, Any], dict[str, tuple[str, int]]]:
    """Return what all videos have in common, and of each store its identity and its frames."""
    looks, known = {}, {}
    for name, store in stores.items():
        try:
            with open_video(store) as video:
                if video.status != "complete":
                    raise StoreError(f"its store is {video.status}; run again to have it computed")
                looks[name] = kind.look(video)
                known[name] = identity_of(video), len(video)
        except ConfigError:  # of the options: it is the same for all videos
            raise
        except (GeoFlowError, OSError) as error:
            left_out[name] = str(error)
    return kind.agree(looks) if looks else {}, known


def _episodes(
    kind: DatasetKind,
    stores: dict[str, str],
    shared: dict[str, Any],
    chosen: Ranges | None,
    left_out: dict[str, str],
) -> list[Episode]:
    found = []
    for name, store in stores.items():
        if name in left_out:
            continue
        try:
            with open_video(store) as video:
                unbroken = ((0, len(video)),) if chosen is None else chosen[name]
                ranges = [
                    (first + start, first + stop, step)
                    for first, last in unbroken
                    for start, stop, step in kind.cut(Passage(video, first, last), shared)
                ]
                long = [entry for entry in ranges if len(range(*entry)) >= _SHORTEST]
                if not long:
                    raise StoreError(f"it has no {_SHORTEST} frames in a row that can be an episode")
                whole = len(long) == 1 and long[0][:2] == (0, len(video))
                found += [Episode(name, store, *entry, whole=whole) for entry in long]
        except (GeoFlowError, OSError) as error:
            left_out[name] = str(error)
    return found


def _parts(
    kind: DatasetKind,
    folders: dict[Episode, Path],
    shared: dict[str, Any],
    processes: int,
    left_out: dict[str, str],
) -> list[EpisodePart]:
    """Return all parts in the order of the episodes: those that are finished, and the others, written now."""
    found = {episode: finished_part(episode, folder) for episode, folder in folders.items()}
    missing = [episode for episode, part in found.items() if part is None]
    if len(missing) < len(found):
        print(f"{len(found) - len(missing)} of {len(found)} episodes are finished already", file=sys.stderr)
    for episode, reason in _written(kind, {episode: folders[episode] for episode in missing}, shared, processes):
        print(f"{episode.name}: {reason or f'{len(episode)} frames'}", file=sys.stderr)
        if reason:
            left_out[episode.video] = reason
    found |= {episode: finished_part(episode, folders[episode]) for episode in missing}
    return [part for part in found.values() if part is not None]


def _written(
    kind: DatasetKind, folders: Mapping[Episode, Path], shared: dict[str, Any], processes: int
) -> Iterator[tuple[Episode, str]]:
    """Write parts; yield each episode when it is done, and why it could not be written, "" if it was."""
    if min(processes, len(folders)) < 2:
        for episode, folder in folders.items():
            yield episode, _try_part(kind, episode, folder, shared)
        return
    # Processes are spawned: forks of a process with threads, as libraries for video and Arrow have them, may hang.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(min(processes, len(folders)), context) as pool:
        tasks = {pool.submit(_try_part, kind, episode, folder, shared): episode for episode, folder in folders.items()}
        try:
            for task in concurrent.futures.as_completed(tasks):
                yield tasks[task], task.result()
        except BrokenProcessPool as error:
            raise StoreError(
                "a process of the export was killed, maybe since memory ran out; run again with fewer --processes: "
                "finished episodes are kept"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _try_part(kind: DatasetKind, episode: Episode, folder: Path, shared: dict[str, Any]) -> str:
    """Write a part; return why it could not be written, "" if it was. Raises ConfigError, which is for all episodes."""
    try:
        write_part(kind, episode, folder, shared)
    except ConfigError:
        raise
    except GeoFlowError as error:
        return str(error)
    return ""


def _of_whole_videos(parts: list[EpisodePart], left_out: Mapping[str, str]) -> list[EpisodePart]:
    """Leave out all parts of a video of which one could not be written."""
    return [part for part in parts if part.episode.video not in left_out]


def _put_together(
    kind: DatasetKind, parts: list[EpisodePart], shared: dict[str, Any], draft: Path, record: dict[str, Any]
) -> None:
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    kind.assemble(parts, draft, shared)
    (draft / RECORD).write_text(json.dumps(record, indent=2) + "\n")


def _record(
    kind: DatasetKind, written: DatasetWritten, shared: dict[str, Any], out: Any, val: float, seed: int
) -> dict[str, Any]:
    return {
        "geoflow_version": VERSION,
        "format": type(kind).__name__,
        "options": asdict(kind),
        "run": str(out),
        "val": val,
        "seed": seed,
        "splits": dict(written.splits),
        "videos": written.videos,
        "episodes": [described(episode) for episode in written.episodes],
        "left_out": dict(written.left_out),
        "not_chosen": list(written.not_chosen),
        "shared": shared,
    }


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
