"""Every format at rates from a frame in months to a million a second; and rates that are none."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import h5py
import numpy as np
import pytest
from full_store import write_full_store

from geoflow.errors import StoreError
from geoflow.export import FORMATS, export_store
from geoflow.export.mp4 import frame_rate, write_mp4
from geoflow.synth import Clip

RATES = [1e-7, 1 / 86400, 1 / 3600, 0.0077, 30000 / 1001, 1e6]


@pytest.fixture
def at_rate(small_clip: Clip, tmp_path: Path):
    def make(fps: float) -> Path:
        path = tmp_path / "clip.h5"
        write_full_store(path, small_clip)
        with h5py.File(path, "a") as file:
            file.attrs["fps"] = fps
            file["frames/time"][:] = np.arange(8) / fps if np.isfinite(fps) and fps > 0 else np.arange(8)
        return path

    return make


@pytest.mark.parametrize("fps", [1e-7, 1 / 3600, 1e6])
@pytest.mark.parametrize("to", [to for to in FORMATS if to != "obj"])  # which is of meshes alone
def test_every_format_at_any_rate(at_rate, to: str, fps: float, tmp_path: Path) -> None:
    library = {"vipe": "OpenEXR", "rerun": "rerun"}.get(to)
    if library:
        pytest.importorskip(library)
    options = {"num_track_ts": 2} if to == "y2r" else {}
    done = export_store(at_rate(fps), to, tmp_path / f"out{FORMATS[to].suffix}", **options)
    assert done.frames > 0 and done.path.exists()
    if to == "lerobot":
        info = json.loads((done.path / "meta" / "info.json").read_text())
        assert info["fps"] == pytest.approx(fps, rel=1e-9)


@pytest.mark.parametrize("fps", RATES)
def test_frames_of_a_film_stand_where_its_rate_puts_them(fps: float, tmp_path: Path) -> None:
    rate = frame_rate(fps)
    assert float(rate) == pytest.approx(fps, rel=1e-6)
    write_mp4(tmp_path / "a.mp4", iter(np.random.default_rng(0).integers(0, 255, (5, 32, 48, 3), np.uint8)), rate)
    with av.open(str(tmp_path / "a.mp4")) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    assert np.allclose(times, np.arange(5) / float(rate), rtol=1e-6)


def test_rates_beyond_what_films_have() -> None:
    assert frame_rate(1e-30) == Fraction(1, 10**7) and frame_rate(1e30) == 10**6
    for fps in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(StoreError, match="cannot have a rate of"):
            frame_rate(fps)


def test_a_store_without_a_rate_is_named(at_rate, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot have a rate of"):
        export_store(at_rate(0.0), "lerobot", tmp_path / "out")
