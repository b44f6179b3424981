"""A store with everything a store can hold, and with what it can lack in some frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from dataset_run import write_dataset_run
from full_store import ONLY_CAMERA_DEPTH, write_full_store

from geoflow.synth import Clip


@pytest.fixture(scope="session")
def store(small_clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight frames of 64x48 at 4 per second."""
    path = tmp_path_factory.mktemp("store") / "clip.h5"
    write_full_store(path, small_clip)
    return path


@pytest.fixture(scope="session")
def stored(store: Path) -> dict[str, np.ndarray]:
    """Every dataset of that store by its name, as plain h5py reads it; `depth` is what exports should hold."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(store, "r") as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    depth = np.where(found["geometry/mask"], found["geometry/depth"], 0).astype(np.float32)
    depth[ONLY_CAMERA_DEPTH] = found["camera/depth"][ONLY_CAMERA_DEPTH]
    return {**found, "depth": depth}


@pytest.fixture(scope="session")
def posed(stored: dict[str, np.ndarray]) -> np.ndarray:
    return np.flatnonzero(stored["camera/valid"])


@pytest.fixture
def change(store: Path, tmp_path: Path) -> Callable[[Callable[[h5py.File], None]], Path]:
    """A copy of the store, changed."""

    def changed(edit: Callable[[h5py.File], None]) -> Path:
        path = tmp_path / "changed.h5"
        path.write_bytes(store.read_bytes())
        with h5py.File(path, "a") as file:
            edit(file)
        return path

    return changed


@pytest.fixture(scope="session")
def dataset_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of twenty small videos of ten kinds, and of three that cannot be exported."""
    out = tmp_path_factory.mktemp("dataset") / "run"
    write_dataset_run(out)
    return out
