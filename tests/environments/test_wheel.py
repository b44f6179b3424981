"""An installed wheel, far from any checkout: it finds its pipelines and environments, and runs every stage."""

from __future__ import annotations

import email
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import av
import h5py
import pytest
from hand_drawing import draw, hand_joints, place
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import geoflow
from geoflow.pipeline import Pipeline
from geoflow.store.verify import verify_run
from geoflow.synth import render


@pytest.mark.env
def test_the_wheel_brings_what_the_command_line_needs(wheel: Path, tmp_path: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "actors/embedded/colmap.py" in names and "geoflow/report/style.css" in names
    assert all(f"geoflow/report/{script}.js" in names for script in ("viewer", "scene", "table"))
    assert not any(name.startswith(("tests/", "docs/", "benchmarks/")) for name in names)
    assert "geoflow/py.typed" in names and not any(name.startswith("packaging/") for name in names)
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import geoflow.files.resources as r, geoflow\n"
        f"assert geoflow.__file__.startswith({str(tmp_path / 'site')!r}), geoflow.__file__\n"
        "assert geoflow.Pipeline.load('embedded').stages\n"
        "from geoflow.environments.environment import load_runtime_env\n"
        "assert load_runtime_env('mediapipe')['pip']\n"
        "from geoflow.backends.catalogue import load_models\n"
        "assert load_models()"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, check=True)


@pytest.mark.env
def test_the_wheel_says_what_it_is_and_what_it_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        (name,) = [name for name in file.namelist() if name.endswith(".dist-info/METADATA")]
        about = email.message_from_bytes(file.read(name))
    assert about["Version"] == geoflow.__version__ and about["License-Expression"] == "Apache-2.0"
    rows = [Requirement(text) for text in about.get_all("Requires-Dist") or []]
    core = {row.name for row in rows if row.marker is None or row.marker.evaluate({"extra": ""})}
    assert {"ray", "h5py", "nvidia-ml-py"} <= core
    assert not core & {"evo", "pandas", "matplotlib", "torch", "plotly", "trimesh"}, "extras, or environments"
    classifiers = about.get_all("Classifier") or []
    pythons = {row.rpartition(":: ")[2] for row in classifiers if "Python :: 3." in row}
    allowed = SpecifierSet(about["Requires-Python"])
    assert pythons == {"3.10", "3.11", "3.12"} and all(version in allowed for version in pythons)
    assert "Typing :: Typed" in classifiers


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Iterator[Path]:
    """The `geoflow` that a user has after `pip install .`: its environment borrows nothing of that of the tests."""
    home = tmp_path / "venv"
    venv.create(home, symlinks=True, with_pip=True)
    command = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-compile", wheel]
    done = subprocess.run(command, env=plain_environment(), capture_output=True, text=True)
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip("the core's packages cannot be fetched: no package index")
    assert done.returncode == 0, done.stderr
    yield home / "bin" / "geoflow"
    shutil.rmtree(home)  # 1.4 GB, and pytest keeps folders of the last three runs


def plain_environment() -> dict[str, str]:
    """Return the environment variables of a user who has set nothing."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHON", "VIRTUAL_ENV"))}


def hands_over_a_scene(path: Path, count: int = 24) -> None:
    """A clip that gives every stage something: a camera that moves, and a left and a right hand before it."""
    clip = render(num_frames=count, width=320, height=240, fps=10)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=10, options={"crf": "10"})
        stream.thread_count = 1  # how many there are changes the bits
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for k, picture in enumerate(clip.frames.copy()):
            left = place(hand_joints("left"), (-0.13 - 0.0015 * k, 0.02, 0.6), roll_deg=10)
            right = place(hand_joints("right"), (0.13, 0.0, 0.5), roll_deg=-10)
            drawn, depth = draw([left, right], clip.intrinsics[k], 240, 320)
            picture[depth > 0] = drawn[depth > 0]
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        file.mux(stream.encode())


@pytest.mark.slow
@pytest.mark.env
@pytest.mark.ray
def test_a_plain_install_runs_every_stage(installed: Path, tmp_path: Path) -> None:
    """Every stage of the embedded pipeline, the hands' environment included, whose packages the core has, too."""
    hands_over_a_scene(tmp_path / "hands.mp4")
    (tmp_path / "objects.csv").write_text("frame,id,x,y,x2,y2\n0,1,120,90,200,170\n")
    command = [installed, "run", "hands.mp4", "-o", "out", "--objects", "objects.csv", "--json"]
    done = subprocess.run(command, env=plain_environment(), cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "going on without" not in done.stderr, done.stderr[-3000:]
    assert json.loads(done.stdout)["disabled"] == {}
    listed = subprocess.run([installed.with_name("pip"), "list", "--format", "json"], capture_output=True, text=True)
    names = {row["name"].lower() for row in json.loads(listed.stdout)}
    assert not names & {"evo", "pandas", "matplotlib", "torch"}, "a plain install brings none of these, by no way"
    events = [json.loads(line) for line in (tmp_path / "out" / "events.jsonl").read_text().splitlines()]
    assert {row["event"] for row in events}.isdisjoint({"stage_disabled", "stage_failed", "environment_failed"})
    worked = {row["slot"] for row in events if row["event"] == "stage_done"}
    assert worked == {spec.slot for spec in Pipeline.load("embedded").stages}
    assert verify_run(tmp_path / "out") == []
    with h5py.File(tmp_path / "out" / "videos" / "hands.h5") as store:
        for side in ("left", "right"):
            assert store[f"hands/{side}/valid"][()].mean() > 0.5, "a drawn hand is not always taken for one"
        assert store["camera/valid"][()].any() and store["geometry/mask"][()].any()
