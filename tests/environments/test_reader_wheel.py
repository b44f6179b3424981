"""`geoflow-reader`: opens stores in an environment that holds numpy and h5py alone."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from synthetic_store import Flaws, write_store

from geoflow.store.verify import verify_store
from geoflow.synth import Clip

ROOT = Path(__file__).parents[2]

# What a user of the reader does, in a process of its own; it prints what came out as JSON.
SCRIPT = """
import importlib.metadata, json, sys
import geoflow
found = {"dir": dir(geoflow), "version": geoflow.__version__}
with geoflow.open(sys.argv[1]) as video:
    found["repr"] = repr(video)
    found["depth"] = [str(video.depth.dtype), list(video.depth[2:4].shape)]
    found["points"] = list(video.points(1, world=True).shape)
    found["tracks"] = list(video.tracks.xyz[0].shape)
    found["recovered"], found["remarks"] = video.recovered, video.remarks
    found["html"] = video._repr_html_()
    calls = {
        "remote": lambda: geoflow.open("s3://bucket/clip.h5"),
        "rgb": lambda: video.rgb(0),
        "show": lambda: video.show(0),
        "trajectory": lambda: video.trajectory(),
        "run": lambda: geoflow.load_run(sys.argv[2]),
    }
    for name, call in calls.items():
        try:
            call()
        except geoflow.GeoFlowError as error:
            found[name] = str(error)
try:
    geoflow.run
except AttributeError as error:
    found["attribute"] = str(error)
from geoflow.store.verify import verify_store
found["problems"] = verify_store(sys.argv[1])
found["packages"] = sorted(row.metadata["Name"] for row in importlib.metadata.distributions())
found["loaded"] = sorted({name.partition(".")[0] for name in sys.modules} & {"av", "cv2", "ray", "scipy", "pyarrow"})
print(json.dumps(found))
"""


@pytest.fixture(scope="session")
def reader_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of `geoflow-reader`, built from this checkout."""
    folder = tmp_path_factory.mktemp("reader")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT / "packaging/reader"]
    built = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if built.returncode and "No matching distribution" in built.stderr:
        pytest.skip("the build backend cannot be fetched: no package index")
    assert built.returncode == 0, built.stderr
    (found,) = folder.glob("geoflow_reader-*.whl")
    return found


@pytest.mark.env
def test_the_readers_wheel_holds_what_reads_and_nothing_that_runs(reader_wheel: Path) -> None:
    names = set(zipfile.ZipFile(reader_wheel).namelist())
    assert {"geoflow/__init__.py", "geoflow/py.typed", "geoflow/LICENSE", "geoflow/store/reader.py"} <= names
    tops = {name.split("/")[1].removesuffix(".py") for name in names if name.startswith("geoflow/")}
    assert not tops & {"engine", "actors", "cli", "runner", "stages", "models", "evaluate", "report", "data"}
    assert not [name for name in names if name.endswith(".pyc") or name.startswith("actors")]
    assert reader_wheel.stat().st_size < 1 << 20


@pytest.mark.env
def test_a_store_opens_with_numpy_and_h5py_alone(reader_wheel: Path, small_clip: Clip, tmp_path: Path) -> None:
    write_store(tmp_path / "clip.h5", small_clip, Flaws(source=str(tmp_path / "gone.mp4")))
    home, out = tmp_path / "venv", tmp_path / "out"
    out.mkdir()
    (out / "index.parquet").write_bytes(b"")
    venv.create(home, symlinks=True, with_pip=True)
    install = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-compile", reader_wheel]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip("numpy and h5py cannot be fetched: no package index")
    assert done.returncode == 0, done.stderr
    command = [home / "bin" / "python", "-I", "-c", SCRIPT, tmp_path / "clip.h5", out]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {name.lower() for name in found["packages"]} - {"pip", "setuptools"} == {"geoflow-reader", "h5py", "numpy"}
    count, height, width = small_clip.depth.shape
    assert found["dir"] == ["GeoFlowError", "Run", "Stage", "Video", "__version__", "load_run", "open"]
    assert found["depth"] == ["float32", [2, height, width]] and found["points"] == [height, width, 3]
    assert found["tracks"][1] == 3 and f"{count} frames" in found["repr"]
    assert found["problems"] == verify_store(tmp_path / "clip.h5")
    assert f"all {count} frames posed" in found["recovered"] and found["html"] is None and found["loaded"] == []
    assert "pip install av opencv-python-headless" in found["rgb"]
    assert "opencv-python-headless" in found["show"] and "pip install pyarrow" in found["run"]
    assert "pip install fsspec" in found["remote"]
    assert 'pip install "geoflow-video[notebook]"' in found["trajectory"]
    assert "install geoflow-video" in found["attribute"]
