"""The backend `vipe_upstream` in a Python of its own, whose `vipe` is a stand-in with the original's calls."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

from geoflow.backends import contract, loading
from geoflow.engine.bridge.abroad import abroad
from geoflow.environments.interpreter import Interpreter
from geoflow.errors import EnvironmentBroken
from geoflow.fields import LENS_FROM_GUESS, LENS_GIVEN, MOTION_MOVING, UNIT_OWN, UNIT_PRIOR
from geoflow.segments import Segment, Span, VideoInfo
from geoflow.stage import Fields, Stage, condensed_fields, shared_fields

pytestmark = pytest.mark.long

STAND_IN = Path(__file__).parents[2] / "support" / "stand_in_vipe"
STEP, DEPTH, GUESS = 0.1, 2.0, 1.5  # of the stand-in
COUNT, HEIGHT, WIDTH = 7, 48, 64
KNOWN = (80.0, 80.0, 30.5, 23.0)

VipeUpstream = loading.load("vipe_upstream")


def python(folder: Path, *places: str) -> Interpreter:
    """Make a Python whose packages are those of folders."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (site / "packages.pth").write_text("\n".join(places))
    return Interpreter(path=str(folder / "bin" / "python"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Interpreter:
    return python(tmp_path_factory.mktemp("vipe") / "env", sysconfig.get_path("purelib"), str(STAND_IN))


@pytest.fixture(scope="module")
def stage(installed: Interpreter) -> Iterator[Stage]:
    made = abroad(VipeUpstream, "vipe_upstream", installed, "vipe_upstream")(VipeUpstream.Params(device="cpu"))
    made.setup()
    yield made
    made.teardown()


def tracked(stage: Stage, mask: np.ndarray | None = None, prior: float | None = None, **known: Any) -> Fields:
    """What the stage says of a segment that is the whole chapter; `prior` is the depth of every pixel."""
    video = VideoInfo("v", "v.mp4", "", COUNT, 30.0, HEIGHT, WIDTH, HEIGHT, WIDTH, **known)
    segment, span = Segment(video, 0, 0, COUNT), Span(video, "chapter", 0, 0, COUNT, 0, 0)
    rgb = np.random.default_rng(0).integers(0, 256, (COUNT, HEIGHT, WIDTH, 3), np.uint8)
    given: Fields = {"frames.rgb": rgb, "frames.index": np.arange(COUNT)}
    if mask is not None:
        given["frames.mask"] = mask
    extra: Fields = {}
    if prior is not None:
        focal = np.array([[70, 0, 31.5], [0, 70, 23.5], [0, 0, 1]], np.float32)
        extra["prior.points"] = np.full((COUNT, HEIGHT, WIDTH, 3), prior, np.float16)
        extra["prior.mask"] = np.ones((COUNT, HEIGHT, WIDTH), bool)
        extra["prior.intrinsics"] = np.tile(focal, (COUNT, 1, 1))
    condensed = condensed_fields(stage.condense(segment, extra), segment, "vipe_upstream") if extra else {}

    def read() -> Iterator[Fields]:
        rows = {f"condensed.{name.rsplit('.', 1)[1]}": array for name, array in condensed.items()} | given
        for part in (slice(0, 3), slice(3, COUNT)):
            yield {name: array[part] for name, array in rows.items()}

    shared = shared_fields(stage.survey(span, read), span, "vipe_upstream")
    return stage.process(segment, {**given, **extra, **shared})


def test_poses_and_a_known_camera_come_back_as_they_are(stage: Stage) -> None:
    made = tracked(stage, intrinsics=KNOWN)
    assert made["camera.valid"].all() and (made["camera.motion"] == MOTION_MOVING).all()
    np.testing.assert_allclose(made["camera.cam_from_world"][:, 0, 3], -STEP * np.arange(COUNT), atol=1e-6)
    np.testing.assert_allclose(made["camera.cam_from_world"][:, :3, :3], np.tile(np.eye(3), (COUNT, 1, 1)), atol=1e-6)
    np.testing.assert_allclose(
        made["camera.intrinsics"], np.tile([[80, 0, 30.5], [0, 80, 23], [0, 0, 1]], (COUNT, 1, 1))
    )
    assert (made["camera.lens"] == LENS_GIVEN).all() and (made["camera.unit"] == UNIT_OWN).all()
    assert "camera.quality" not in made, "the original says nothing of it"


def test_a_camera_that_vipe_finds_counts_from_pixel_centres(stage: Stage) -> None:
    made = tracked(stage)
    focal = GUESS * WIDTH
    np.testing.assert_allclose(
        made["camera.intrinsics"][0], [[focal, 0, WIDTH / 2 - 0.5], [0, focal, HEIGHT / 2 - 0.5], [0, 0, 1]]
    )
    assert (made["camera.lens"] == LENS_FROM_GUESS).all()


def test_the_prior_gives_the_unit_and_the_depth(stage: Stage) -> None:
    made = tracked(stage, prior=2 * DEPTH, intrinsics=KNOWN)
    factor = 2 * KNOWN[0] / 70  # a prior goes with the focal length that it believes
    assert (made["camera.unit"] == UNIT_PRIOR).all()
    moved = made["camera.cam_from_world"][:, 0, 3]
    np.testing.assert_allclose(moved, -STEP * factor * np.arange(COUNT), rtol=2e-3, atol=1e-6)
    seen = made["camera.depth"][made["camera.depth"] > 0]
    np.testing.assert_allclose(seen, DEPTH * factor, rtol=5e-3, err_msg="a wall")
    assert (made["camera.depth"] > 0).mean() > 0.9


def test_masks_rule_pixels_out(stage: Stage) -> None:
    mask = np.zeros((COUNT, HEIGHT, WIDTH), bool)
    mask[:, :, 32:] = True
    video = VideoInfo("v", "v.mp4", "", COUNT, 30.0, HEIGHT, WIDTH, HEIGHT, WIDTH, intrinsics=KNOWN)
    rgb = np.zeros((COUNT, HEIGHT, WIDTH, 3), np.uint8)
    found = stage.survey(
        Span(video, "chapter", 0, 0, COUNT, 0, 0),
        lambda: iter([{"frames.rgb": rgb, "frames.index": np.arange(COUNT), "frames.mask": mask}]),
    )
    depth, uv = found["keyframe_depth"], found["keyframe_uv"]
    left = uv[..., 0] < 31
    np.testing.assert_allclose(depth[:, left], DEPTH, rtol=1e-5, err_msg="no pixel of the grid is missing")
    assert (depth[:, uv[..., 0] > 32.5] == 0).all()


def test_the_contract_is_kept_abroad(installed: Interpreter) -> None:
    assert contract.problems("vipe_upstream", {"device": "cpu"}, interpreter=installed) == []


def test_without_the_package_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    bare = python(tmp_path / "env", sysconfig.get_path("purelib"))
    made = abroad(VipeUpstream, "vipe_upstream", bare, "vipe_upstream")(VipeUpstream.Params(device="cpu"))
    with pytest.raises(
        EnvironmentBroken,
        match=r"cannot be imported here .*; run the stage with `env: vipe_upstream`, or install torch and nvidia-vipe",
    ):
        made.setup()


def test_without_a_gpu_it_is_refused(stage: Stage, installed: Interpreter) -> None:
    made = abroad(VipeUpstream, "vipe_upstream", installed, "vipe_upstream")()
    with pytest.raises(Exception, match="works on a GPU alone"):
        made.setup()
