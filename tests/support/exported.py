"""What an exported dataset should hold: the values of the stores, read with h5py alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from typer.testing import CliRunner

from geoflow.cli import app


def stored(run: Path, video: str) -> dict[str, np.ndarray]:
    """Every dataset of a video's store; `depth` is what exports should hold, float32, if the store has any."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(run / "videos" / f"{video}.h5", "r") as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    depth = np.where(found["geometry/mask"], found["geometry/depth"], 0).astype(np.float32)
    if "camera/depth" in found:
        empty = ~depth.any((1, 2))
        depth[empty] = found["camera/depth"][empty]
    return {**found, "depth": depth}


def export(run: Path, to: str, out: Path, *more: str, processes: int = 1) -> tuple[int, dict[str, Any], str]:
    """Call the command; return its exit status, its JSON and what it said on stderr."""
    done = CliRunner().invoke(
        app, ["export", str(run), "--to", to, "-o", str(out), "--json", "--processes", str(processes), *more]
    )
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, json.loads(done.stdout) if done.stdout else {}, done.stderr
