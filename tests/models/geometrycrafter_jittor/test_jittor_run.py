"""`--pipeline geometry-jittor` for real, beside `geometry`: MoGe in PyTorch's environment, the networks in Jittor's.

With small made-up weights on a CPU. Jittor is compiled where it has not been yet.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("safetensors", reason="safetensors is not installed")

import kept_jittor
import small_moge
from small_crafter import publish, small_networks, trusting

from geoflow.backends import contract
from geoflow.environments import interpreter
from geoflow.environments.environment import load_runtime_env
from geoflow.store.verify import verify_run
from geoflow.synth import render_clip

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.env, kept_jittor.needs_compiler]

FRAMES = 10
SETTINGS = {
    "prior.num_gpus": 0,
    "geometry.num_gpus": 0,
    "geometry.model_type": "diff",
    "geometry.num_inference_steps": 2,
    "geometry.window_size": 6,
    "geometry.overlap": 2,
}
BACKEND = "geometrycrafter_jittor"
DEPTH = "geometry/depth"
RUN_WITHIN_S = 3600  # the first one on a machine compiles


@dataclass
class Runs:
    """The runs of this module: a folder each, with its store."""

    clip: Path
    weights: dict[str, str]
    folder: Path

    def run(self, name: str, pipeline: str, *more: str) -> Path:
        """Run the clip in a process with a Ray of its own, whose cache is where Jittor is kept; return the folder."""
        out = self.folder / name
        sets = {**SETTINGS, **self.weights}
        command = [sys.executable, "-m", "geoflow", "run", str(self.clip), "-o", str(out), "--pipeline", pipeline]
        stated = [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]
        variables = {**kept_jittor.variables(), "CUDA_VISIBLE_DEVICES": ""}
        variables.pop("RAY_ADDRESS", None)
        subprocess.run([*command, *stated, *more], env=variables, check=True, timeout=RUN_WITHIN_S)
        return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    # Neither side is a multiple of 64: the networks work at 64 x 64.
    render_clip(folder / "c.mp4", folder / "c.gt.h5", num_frames=FRAMES, width=72, height=54)
    publish(trusting(small_networks("diff")), folder / "crafter", folder / "base")
    small_moge.make(folder / "moge" / "model.pt")
    weights = {
        "prior.weights": str(folder / "moge"),
        "geometry.weights": str(folder / "crafter"),
        "geometry.base_weights": str(folder / "base"),
    }
    return Runs(folder / "c.mp4", weights, folder)


@pytest.fixture(scope="module")
def in_jittor(runs: Runs) -> Path:
    return runs.run("jittor", "geometry-jittor")


@pytest.fixture(scope="module")
def in_torch(runs: Runs) -> Path:
    return runs.run("torch", "geometry")


def values(out: Path, name: str) -> np.ndarray:
    with h5py.File(out / "videos" / "c.h5") as store:
        found: np.ndarray = store[name][:]
        return found


def test_the_contract_is_kept_in_its_environment(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOFLOW_CACHE", str(kept_jittor.CACHE))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    wanted = interpreter.wanted(load_runtime_env(BACKEND))
    own = {name.removeprefix("geometry."): value for name, value in runs.weights.items() if name.startswith("geometry")}
    params = {"model_type": "diff", "window_size": 4, "overlap": 2, **own}
    assert contract.problems(BACKEND, params, interpreter=wanted) == []


def test_each_framework_has_an_environment_of_its_own(in_jittor: Path) -> None:
    assert verify_run(in_jittor) == []
    with h5py.File(in_jittor / "videos" / "c.h5") as store:
        stages = {stage["slot"]: stage for stage in json.loads(store.attrs["pipeline"])["stages"]}
    assert (stages["prior"]["env"], stages["geometry"]["env"]) == ("moge", "geometrycrafter_jittor")
    events = [json.loads(line) for line in (in_jittor / "events.jsonl").read_text().splitlines()]
    ready = {event["slot"]: event for event in events if event["event"] == "actor_ready"}
    assert str(kept_jittor.CACHE / "environments") in json.dumps(ready["geometry"])
    assert "child" in ready["geometry"] and "child" not in ready["prior"]


def test_the_stores_of_both_frameworks_are_alike(in_jittor: Path, in_torch: Path) -> None:
    """Depth is stored in float16, in steps of up to 1e-3 of a value.

    Networks with such weights, whose deepest maps have one pixel, enlarge rounding: PyTorch's own results move by 1e-3
    (median) with another order of its sums.
    """
    ours, theirs = (values(out, DEPTH).astype(np.float64) for out in (in_jittor, in_torch))
    both = (ours > 0) & (theirs > 0)
    assert ((ours > 0) != (theirs > 0)).mean() < 1e-3
    assert both.mean() > 0.9 and np.ptp(theirs[both]) > 0.1, "made-up networks, but no constant"
    apart = np.abs(ours[both] / theirs[both] - 1)
    shares = ", ".join(f"{part:.2e}" for part in np.percentile(apart, [50, 90, 99, 100]))
    print(f"differences of depth, shares of it (median, 90 %, 99 %, largest): {shares}")
    assert np.median(apart) < 1e-3 and apart.max() < 1e-2
    np.testing.assert_allclose(
        values(in_jittor, "geometry/intrinsics"), values(in_torch, "geometry/intrinsics"), rtol=1e-3, atol=1e-2
    )
    np.testing.assert_array_equal(values(in_jittor, "prior/depth"), values(in_torch, "prior/depth"))


def test_it_gives_the_same_bits_again(runs: Runs, in_jittor: Path) -> None:
    again = runs.run("again", "geometry", "--set", "geometry.backend=geometrycrafter_jittor")
    np.testing.assert_array_equal(values(again, DEPTH), values(in_jittor, DEPTH))


def test_the_script_s_options_give_the_script_s_file(runs: Runs, in_jittor: Path) -> None:
    options = {"window_size": 6, "overlap": 2, "num_inference_steps": 2, "force_projection": True}
    stated = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    more = {"prior.num_gpus": 0, "geometry.num_gpus": 0, **runs.weights}
    sets = [word for name, value in more.items() for word in ("--set", f"{name}={value}")]
    folder = runs.folder / "script"
    command = [sys.executable, "-m", "geoflow", "worker", "geometrycrafter", "--video_path", str(runs.clip)]
    variables = {**kept_jittor.variables(), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, "--save_folder", str(folder), *stated, *sets],
        env=variables,
        check=True,
        stdout=subprocess.PIPE,
        timeout=RUN_WITHIN_S,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    with np.load(answer["npz"]) as found:
        assert found["point_map"].shape == (FRAMES, 54, 72, 3) and os.path.samefile(answer["npz"], folder / "c.npz")
        np.testing.assert_array_equal(found["point_map"][..., 2], values(in_jittor, DEPTH).astype(np.float16))
        np.testing.assert_array_equal(found["mask"], values(in_jittor, DEPTH) > 0)
