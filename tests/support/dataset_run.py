"""Writes a finished run of many small videos of different kinds, two of them broken, for the tests of datasets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from full_store import write_full_store
from synthetic_store import segment_table

from geoflow.store.index import write_index, write_segments
from geoflow.store.paths import RunPaths
from geoflow.synth import Clip, render

FRAMES, FPS = 8, 4.0
SEGMENTS = ((0, 5), (3, 6), (4, 8))
FAILED, TRUNCATED, INCOMPLETE = "z_failed", "z_truncated", "z_incomplete"


def _drop(*names: str) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        for name in names:
            del file[name]

    return edit


def _metric(file: h5py.File) -> None:
    file.attrs["metric"] = True
    file["hands/left/scale"] = np.full(FRAMES, np.nan, np.float32)


def _gap(file: h5py.File) -> None:
    """Two frames of the source are missing after the fifth."""
    file["frames/index"][5:] += 2
    file["frames/time"][5:] += 2 / FPS


def _milliseconds(file: h5py.File) -> None:
    """Times of a container that counts in milliseconds."""
    file.attrs["fps"] = FPS * 1.001
    file["frames/time"][:] = np.round(np.arange(FRAMES) / (FPS * 1.001), 3) + 0.002 * (np.arange(FRAMES) % 2)


def _twice_as_fast(file: h5py.File) -> None:
    file.attrs["fps"] = 2 * FPS
    file["frames/time"][:] = np.arange(FRAMES) / (2 * FPS)


# Name of a kind -> what makes a store of it, and its size.
KINDS: dict[str, tuple[Callable[[h5py.File], None] | None, tuple[int, int]]] = {
    "plain": (None, (48, 64)),
    "handless": (_drop("hands"), (48, 64)),
    "trackless": (_drop("tracks"), (48, 64)),
    "metric": (_metric, (48, 64)),
    "gap": (_gap, (48, 64)),
    "milliseconds": (_milliseconds, (48, 64)),
    "small": (None, (24, 32)),
    "upright": (None, (48, 32)),
    "fast": (_twice_as_fast, (48, 64)),
    "cameraless": (_drop("camera", "tracks", "hands"), (48, 64)),
}


def write_dataset_run(out: Path, count: int = 20) -> list[str]:
    """Write the run's folder; return the names of its whole videos. There are three more that are none.

    Videos are eight frames long, of the kinds in turn, each with a scene of its own.
    """
    paths = RunPaths(out)
    paths.videos.mkdir(parents=True)
    rows, names, tables = [], [], {}
    clips: dict[tuple[int, int], Clip] = {}
    for k in range(count):
        kind = list(KINDS)[k % len(KINDS)]
        edit, size = KINDS[kind]
        if size not in clips:
            clips[size] = render(num_frames=FRAMES, width=size[1], height=size[0], fps=FPS, seed=k)
        name = f"{k:02d}_{kind}"
        _write(paths, name, clips[size], edit, shift=k)
        tables[name] = segment_table(SEGMENTS)
        names.append(name)
        rows.append(_row(paths, name))
    for name in (TRUNCATED, INCOMPLETE):
        _write(paths, name, clips[(48, 64)], None)
        rows.append(_row(paths, name))
    whole = paths.video(TRUNCATED).read_bytes()
    paths.video(TRUNCATED).write_bytes(whole[: len(whole) // 2])
    rows[-1]["incomplete_segments"] = 1
    rows.append({"name": FAILED, "source": "/in/broken.mp4", "status": "failed", "reason": "no frame can be decoded"})
    write_index(paths, rows)
    write_segments(paths, tables)
    paths.run.write_text('{"pipeline": "embedded", "command": "geoflow run <in>"}')
    return names


def _row(paths: RunPaths, name: str) -> dict:
    path = paths.relative(paths.video(name))
    return {"name": name, "source": f"/in/{name}.mp4", "status": "complete", "reason": "", "path": path}


def _write(paths: RunPaths, name: str, clip: Clip, edit: Callable[[h5py.File], None] | None, shift: int = 0) -> None:
    write_full_store(paths.video(name), clip, segments=SEGMENTS, source=f"/in/{name}.mp4")
    with h5py.File(paths.video(name), "a") as file:
        file["frames/rgb"][:] = np.roll(clip.frames, 4 * shift, axis=2)  # a picture of its own
        if edit is not None:
            edit(file)
