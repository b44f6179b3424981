"""MediaPipe Hands in the environment it is shipped with, built for real by Ray."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hand_drawing import draw, hand_joints, place

from geoflow import fields
from geoflow.backends.loading import load
from geoflow.cluster.session import as_it_builds
from geoflow.engine.actor.wire import pack, unpack
from geoflow.engine.calls import Part, ask, make_jobs, read_answer
from geoflow.environments.environment import explain_failure, load_runtime_env
from geoflow.geometry.cameras import project
from geoflow.segments import Segment, VideoInfo

pytestmark = [pytest.mark.ray, pytest.mark.env]

BACKEND = "embedded.mediapipe_hands"
HEIGHT, WIDTH, COUNT = 360, 480, 4
K = np.array([[450, 0, 239.5], [0, 450, 179.5], [0, 0, 1]], np.float32)
SEGMENT = Segment(VideoInfo("v", "v.mp4", "", COUNT, 30.0, HEIGHT, WIDTH, HEIGHT, WIDTH), 0, 0, COUNT)


@pytest.fixture(scope="module")
def worker(ray_session: None) -> Iterator[Any]:
    import ray

    from geoflow.engine.actor.worker import StageWorker

    actor = ray.remote(StageWorker).options(runtime_env=as_it_builds(load_runtime_env("mediapipe")), num_cpus=0)
    params = {row: getattr(load(BACKEND).Params(), row) for row in load(BACKEND).Params.__dataclass_fields__}
    handle = actor.remote(BACKEND, params, 1)
    outcome = ray.get(handle.load.remote(), timeout=300)
    assert outcome.failure is None, outcome.failure.traceback
    yield handle
    ray.kill(handle)


@pytest.fixture(scope="module")
def clip() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """A left and a right hand, backs to the camera, moving apart: frames, depth, and the true joints per side."""
    truth = {
        "left": [place(hand_joints("left"), (-0.13 - 0.005 * i, 0.02, 0.55), roll_deg=10) for i in range(COUNT)],
        "right": [place(hand_joints("right"), (0.13, 0.0, 0.45 + 0.01 * i), roll_deg=-10) for i in range(COUNT)],
    }
    drawn = [draw([left, right], K, HEIGHT, WIDTH) for left, right in zip(truth["left"], truth["right"])]
    rgb, depth = (np.stack(arrays) for arrays in zip(*drawn))
    return rgb, depth, {side: np.stack(joints) for side, joints in truth.items()}


def _hands(worker: Any, rgb: np.ndarray, depth: np.ndarray | None = None) -> dict[str, np.ndarray]:
    import ray

    stage = load(BACKEND)
    given = {"frames.rgb": rgb, "camera.intrinsics": np.tile(K, (len(rgb), 1, 1))}
    if depth is not None:
        given["camera.depth"] = depth
    parts = {name: Part(ray.put(pack(array))) for name, array in given.items()}
    jobs, objects = make_jobs([(SEGMENT, parts, 0, None)])
    calls = worker.process.options(num_returns=1 + len(stage.outputs)).remote(ask(jobs, None), *objects)
    answered, *arrays = ray.get(calls, timeout=120)
    (outcome,) = read_answer(answered)
    assert outcome.failure is None, outcome.failure.traceback
    found = {name: unpack(array) for name, array in zip(stage.outputs, arrays)}
    fields.check(found, stage.outputs, who=BACKEND, num_frames=len(rgb))
    return found


def test_the_environment_has_what_the_core_cannot_have(worker: Any) -> None:
    import ray

    @ray.remote(num_cpus=0, runtime_env=as_it_builds(load_runtime_env("mediapipe")))
    def versions() -> dict[str, str]:
        import google.protobuf
        import numpy

        import geoflow

        return {"numpy": numpy.__version__, "protobuf": google.protobuf.__version__, "geoflow": geoflow.__file__}

    import google.protobuf

    there = ray.get(versions.remote(), timeout=300)
    assert there["protobuf"].startswith("4.") and not google.protobuf.__version__.startswith("4.")
    assert there["numpy"] == np.__version__
    assert there["geoflow"]


def test_frames_reach_it_without_a_copy(worker: Any) -> None:
    import ray

    @ray.remote(num_cpus=0, runtime_env=as_it_builds(load_runtime_env("mediapipe")))
    def look(packed: Any) -> tuple[Any, ...]:
        from pathlib import Path

        array = unpack(packed)
        place = ""
        # Ray maps its object store into the process as a shared file; memory of the process's own is anonymous.
        for line in Path("/proc/self/maps").read_text().splitlines():
            low, high = (int(end, 16) for end in line.split()[0].split("-"))
            if low <= array.ctypes.data < high:
                place = line
        return array.flags.owndata, array.flags.writeable, place, pack(array[::40, ::40])

    array = np.random.default_rng(0).integers(0, 255, (96, 480, 640, 3), dtype=np.uint8)
    owns, writeable, place, sample = ray.get(look.remote(ray.put(pack(array))), timeout=300)
    assert not owns and not writeable
    assert "plasma" in place
    np.testing.assert_array_equal(unpack(sample), array[::40, ::40])


def test_both_hands_are_found_where_they_are(worker: Any, clip: Any) -> None:
    rgb, _, truth = clip
    found = _hands(worker, rgb)
    for side, joints in truth.items():
        assert found[f"hands.{side}.valid"].all(), side
        uv = project(joints, K)
        size = np.linalg.norm(np.ptp(uv, axis=1), axis=1)[:, None]
        error = np.linalg.norm(found[f"hands.{side}.uv"] - uv, axis=2) / size
        # MediaPipe's own error on photographs is some 4% of the hand's size; a drawn hand is not easier.
        assert np.median(error) < 0.06
        # Metric depth supposes a hand of average size; this one is not fitted to it.
        ratio = found[f"hands.{side}.joints"][..., 2] / joints[..., 2]
        assert abs(np.median(ratio) - 1) < 0.2
        assert (found[f"hands.{side}.confidence"] > 0.4).all()
        reprojected = project(found[f"hands.{side}.joints"], K)
        np.testing.assert_allclose(reprojected, found[f"hands.{side}.uv"], atol=0.01)


def test_scene_depth_brings_them_to_scene_scale(worker: Any, clip: Any) -> None:
    rgb, depth, truth = clip
    found = _hands(worker, rgb, (5 * depth).astype(np.float16))
    z = np.concatenate([found[f"hands.{side}.joints"][..., 2] / truth[side][..., 2] for side in truth])
    assert np.median(z) == pytest.approx(5, rel=0.05)  # joints lie a finger's thickness (2 to 3%) below the skin


def test_mirrored_frames_swap_left_and_right(worker: Any, clip: Any) -> None:
    rgb, _, _ = clip
    plain, mirrored = _hands(worker, rgb), _hands(worker, rgb[:, :, ::-1])
    for side, other in (("left", "right"), ("right", "left")):
        both = plain[f"hands.{side}.valid"] & mirrored[f"hands.{other}.valid"]
        assert both.any()
        there = plain[f"hands.{side}.uv"][both]
        back = mirrored[f"hands.{other}.uv"][both] * [-1, 1] + [WIDTH - 1, 0]
        assert np.median(np.linalg.norm(there - back, axis=2)) < 8  # 5% of the hands' size in the image


def test_nothing_is_found_where_there_is_no_hand(worker: Any) -> None:
    found = _hands(worker, np.full((COUNT, HEIGHT, WIDTH, 3), 128, np.uint8))
    for side in ("left", "right"):
        assert not found[f"hands.{side}.valid"].any() and not found[f"hands.{side}.confidence"].any()
        assert np.isnan(found[f"hands.{side}.joints"]).all() and np.isnan(found[f"hands.{side}.uv"]).all()


def test_the_same_frames_give_the_same_bits(worker: Any, clip: Any) -> None:
    """Hands followed at the end of one segment must leave no trace in the next."""
    rgb, _, _ = clip
    first = _hands(worker, rgb)
    _hands(worker, rgb[::-1, :, ::-1])
    again = _hands(worker, rgb)
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name], err_msg=name)


def test_an_environment_that_cannot_be_built_says_why(ray_session: None) -> None:
    import ray

    broken = load_runtime_env("mediapipe")
    unreachable = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": "/dev/null", "PIP_RETRIES": "0"}
    cleared = dict.fromkeys(("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"), "")
    broken["env_vars"] = {**unreachable, **cleared}
    # Another spec than the one that works, which is there already.
    broken["pip"] = {**broken["pip"], "packages": ["mediapipe==0.10.21"]}

    @ray.remote(num_cpus=0, runtime_env=as_it_builds(broken))
    def nothing() -> None:
        return None

    with pytest.raises(ray.exceptions.RuntimeEnvSetupError) as caught:
        ray.get(nothing.remote(), timeout=300)
    text = explain_failure(caught.value, "mediapipe")
    assert text.splitlines()[0] == "environment 'mediapipe' cannot be built: mediapipe==0.10.21 is at fault"
    assert "No matching distribution found" in text and "reaches the package index" in text
    assert len(text.splitlines()) <= 8
