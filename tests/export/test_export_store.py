"""What all exports share: options, errors that name file and remedy, pixels from the source, the command line."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import clips
import h5py
import numpy as np
import pytest
from full_store import write_full_store
from typer.testing import CliRunner

import geoflow
from geoflow.cli import app
from geoflow.errors import ConfigError, StoreError
from geoflow.export import FORMATS, export_store
from geoflow.export.frames import pictures
from geoflow.store.reader import open_video
from geoflow.synth import Clip

# Formats that are nothing without poses.
POSED = [
    "tapip3d",
    "vipe",
    "tapvid3d",
    "colmap",
    "nerfstudio",
    "ply",
    "glb",
    "y2r",
]


def target(folder: Path, to: str) -> Path:
    return folder / f"out{FORMATS[to].suffix}"


@pytest.mark.parametrize("to", POSED)
@pytest.mark.parametrize("lost", ["cameras", "poses"])
def test_without_poses(change: Callable, tmp_path: Path, to: str, lost: str):
    def edit(file: h5py.File) -> None:
        if lost == "cameras":
            del file["camera"]
        else:
            file["camera/valid"][:] = False

    path = change(edit)
    message = "changed.h5 holds no cameras; run a pipeline" if lost == "cameras" else "changed.h5 has no posed frame"
    with pytest.raises(StoreError, match=message):
        export_store(path, to, target(tmp_path, to))
    assert [p.name for p in tmp_path.iterdir()] == ["changed.h5"]


@pytest.mark.parametrize("to", ["tapvid3d", "y2r"])
def test_without_tracks(change: Callable, tmp_path: Path, to: str):
    path = change(lambda file: file.__delitem__("tracks"))
    with pytest.raises(StoreError, match=r"changed.h5 holds no tracks; run a pipeline that has the slot tracks"):
        export_store(path, to, target(tmp_path, to))


@pytest.mark.parametrize("to", ["tapip3d", "vipe", "ply", "glb", "depth", "depth_video"])
def test_without_depth(change: Callable, tmp_path: Path, to: str):
    def edit(file: h5py.File) -> None:
        del file["geometry"], file["camera/depth"]

    with pytest.raises(StoreError, match=r"changed.h5 holds no depth; run a pipeline"):
        export_store(change(edit), to, target(tmp_path, to))


@pytest.mark.parametrize("to", [to for to in FORMATS if to not in ("depth", "depth_video", "obj")])
def test_without_pixels_the_way_to_have_them_is_named(change: Callable, tmp_path: Path, to: str):
    path = change(lambda file: file.__delitem__("frames/rgb"))
    with pytest.raises(StoreError, match=r"clip.mp4 cannot be read.*--set write.rgb=true"):
        export_store(path, to, target(tmp_path, to), **({"num_track_ts": 2} if to == "y2r" else {}))
    assert [p.name for p in tmp_path.rglob("*")] == ["changed.h5"]


def test_what_was_missing_is_said_in_words(change: Callable, tmp_path: Path):
    def edit(file: h5py.File) -> None:
        file["camera/valid"][:] = False
        file["camera/motion"] = np.full(8, 2, np.uint8)

    with pytest.raises(StoreError, match="still"):
        export_store(change(edit), "ply", tmp_path / "a.ply")


def test_pixels_of_a_store_without_them_are_decoded_from_its_source(small_clip: Clip, tmp_path: Path):
    source = clips.frame_folder(tmp_path / "frames", count=8, width=64, height=48)
    write_full_store(tmp_path / "clip.h5", small_clip, source=str(source))
    video = clips.write(tmp_path / "source.mp4", 40)
    with h5py.File(tmp_path / "clip.h5", "a") as file:
        del file["frames/rgb"]
    with open_video(tmp_path / "clip.h5") as store:
        found = list(pictures(store, [0, 3, 7]))
        assert np.array_equal(found, [clips.picture(k, width=64, height=48) for k in (0, 3, 7)])
    with h5py.File(tmp_path / "clip.h5", "a") as file:
        file.attrs["source"] = str(video)
        file["frames/index"][:] = 5 * np.arange(8)
    with open_video(tmp_path / "clip.h5") as store:
        found = list(pictures(store, range(8)))
        one_by_one = [store.rgb(i) for i in range(8)]
    assert np.array_equal(found, one_by_one)
    with h5py.File(tmp_path / "clip.h5", "a") as file:
        file["frames/index"][7] = 40
    with open_video(tmp_path / "clip.h5") as store, pytest.raises(StoreError, match="has no frame 40: it holds 40"):
        list(pictures(store, range(8)))


@pytest.mark.parametrize(
    ("to", "out", "options", "message"),
    [
        ("usd", "a.usd", {}, "there is no such format; the formats are: tapip3d, vipe"),
        ("tapip3d", "a.npy", {}, "should end in .npz"),
        ("ply", "a.ply", {"points": 3}, "ply has no such option; it has: stride=10, max_points=1000000, colours=True"),
        ("vipe", "a", {"stride": 3}, "it has: none"),
        ("ply", "a.ply", {"stride": "two"}, "takes a int here, such as 10"),
        ("ply", "a.ply", {"stride": True}, "takes a int here"),
        ("ply", "a.ply", {"stride": 0}, "takes a positive number here"),
        ("colmap", "a", {"images": 1}, "takes a bool here"),
        ("y2r", "a.hdf5", {"num_track_ts": 1}, "should be at least 2"),
    ],
)
def test_wrong_usage(store: Path, tmp_path: Path, to: str, out: str, options: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        export_store(store, to, tmp_path / out, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("to", "name"), [("ply", "trimesh"), ("rerun", "rerun"), ("vipe", "OpenEXR")])
def test_a_library_that_is_absent(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, name: str):
    monkeypatch.setitem(sys.modules, name, None)  # importing it raises
    with pytest.raises(ConfigError, match=rf'{name}, which cannot be imported.*pip install "geoflow-video\[export\]"'):
        export_store(store, to, target(tmp_path, to))


def test_the_formats_load_none_of_their_libraries():
    code = """
        import sys, geoflow.export
        heavy = {"cv2", "av", "pycolmap", "trimesh", "rerun", "OpenEXR", "pyarrow", "ray"} & set(sys.modules)
        assert not heavy, heavy
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_the_package_does_not_get_in_the_way():
    assert geoflow.export.export_store is export_store and "export" not in geoflow.__all__


def test_every_option_of_every_format_is_described():
    for to, row in FORMATS.items():
        for option in row.options:
            assert option in (row.function.__doc__ or ""), f"{to}: {option}"


def test_the_command(store: Path, tmp_path: Path):
    out = tmp_path / "a.npz"
    done = CliRunner().invoke(app, ["export", str(store), "--to", "tapip3d", "-o", str(out), "--set", "stride=2"])
    assert done.exit_code == 0 and done.stdout.split() == f"{out}: 4 of 8 frames".split()
    with np.load(out) as data:
        assert len(data["video"]) == 4
    done = CliRunner().invoke(app, ["export", str(store), "--to", "ply", "-o", str(tmp_path / "a.ply"), "--json"])
    assert json.loads(done.stdout) == {"path": str(tmp_path / "a.ply"), "format": "ply", "frames": 1, "of": 8}


def test_help_names_every_format():
    shown = " ".join(CliRunner().invoke(app, ["export", "--help"], env={"COLUMNS": "400"}).stdout.split())
    assert all(name in shown for name in FORMATS)
