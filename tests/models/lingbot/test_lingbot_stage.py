"""The backend `lingbot` without Ray: chapters in, segments out, with small made-up weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import plane_scene  # noqa: E402
from small_lingbot import SIDE, publish, small_network  # noqa: E402

from geoflow import fields  # noqa: E402
from geoflow.backends import contract, loading  # noqa: E402
from geoflow.errors import ConfigError, EnvironmentBroken  # noqa: E402
from geoflow.fields import DOUBT_NONE, DOUBT_UNMATCHED, MOTION_STILL, MOTION_UNKNOWN  # noqa: E402
from geoflow.geometry.cameras import unproject  # noqa: E402
from geoflow.pipeline import Pipeline  # noqa: E402
from geoflow.segments import Segment, Span, VideoInfo  # noqa: E402
from geoflow.stage import Fields, shared_fields  # noqa: E402

pytestmark = pytest.mark.long

Lingbot = loading.load("lingbot")
HEIGHT, WIDTH = 84, 112


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    home = tmp_path_factory.mktemp("weights")
    publish(home / "lingbot-map-long.pt")
    publish(home / "lingbot-map.pt", small_network(seed=1))
    return str(home)


def stage(folder: str, **params: Any) -> Any:
    made = Lingbot(Lingbot.Params(**{"weights": folder, "side": SIDE, "scale_frames": 2, **params}))
    made.setup()
    return made


def clip(count: int) -> np.ndarray:
    """Frames of a walk past textured planes."""
    return plane_scene.render(plane_scene.walk(count), HEIGHT, WIDTH).rgb


def video(frames: np.ndarray, **facts: Any) -> VideoInfo:
    count, height, width = frames.shape[:3]
    return VideoInfo("v", "v.mp4", "", count, 30.0, height, width, height, width, **facts)


def survey(made: Any, info: VideoInfo, frames: np.ndarray, masks: np.ndarray | None = None) -> Fields:
    def read() -> Iterator[Fields]:
        for start in range(0, len(frames), 5):
            part = slice(start, start + 5)
            piece = {"frames.rgb": frames[part], "frames.index": np.arange(len(frames))[part]}
            yield piece if masks is None else {**piece, "frames.mask": masks[part]}

    return shared_fields(made.survey(Span(info, "chapter", 0, 0, len(frames), 0, 1), read), _span(info), "camera")


def _span(info: VideoInfo) -> Span:
    return Span(info, "chapter", 0, 0, info.num_frames, 0, 1)


def process(made: Any, info: VideoInfo, frames: np.ndarray, shared: Fields, part: slice, **more: np.ndarray) -> Fields:
    found = made.process(Segment(info, 0, part.start, part.stop), {"frames.rgb": frames[part], **shared, **more})
    fields.check(found, made.outputs, optional=made.optional_outputs, who="lingbot", num_frames=part.stop - part.start)
    return found


def through(made: Any, frames: np.ndarray, **facts: Any) -> Fields:
    info = video(frames, **facts)
    return process(made, info, frames, survey(made, info, frames), slice(0, len(frames)))


@pytest.mark.parametrize("geometry", [False, True])
@pytest.mark.parametrize("checkpoint", ["long", "balanced"])
def test_the_contract_is_kept(folder: str, geometry: bool, checkpoint: str) -> None:
    params = {"weights": folder, "side": SIDE, "scale_frames": 2, "geometry": geometry, "checkpoint": checkpoint}
    assert contract.problems("lingbot", params) == []


def test_the_segments_of_a_chapter_share_one_world(folder: str) -> None:
    frames = clip(14)
    info = video(frames)
    made = stage(folder, geometry=True)
    shared = survey(made, info, frames)
    first, second = (process(made, info, frames, shared, part) for part in (slice(0, 9), slice(5, 14)))
    assert first["camera.valid"].all() and (first["camera.depth"] > 0).all()
    for name in ("cam_from_world", "intrinsics", "depth"):
        assert np.array_equal(first[f"camera.{name}"][5:], second[f"camera.{name}"][:4]), name
    assert (first["camera.intrinsics"] == second["camera.intrinsics"][0]).all(), "one lens"
    other = stage(folder, geometry=True)
    again = process(other, info, frames, survey(other, info, frames), slice(5, 14))
    assert all(np.array_equal(second[name], again[name], equal_nan=second[name].dtype != bool) for name in second)
    points = unproject(first["camera.depth"].astype(np.float32), first["camera.intrinsics"])
    np.testing.assert_allclose(first["geometry.points"].astype(np.float32), points, rtol=1e-3, atol=1e-3)
    assert np.array_equal(first["geometry.mask"], first["camera.depth"] > 0)
    assert np.array_equal(first["geometry.intrinsics"], first["camera.intrinsics"])
    median = np.median(first["camera.depth"][0].astype(np.float32))
    assert 0.5 < median < 2, "the unit is the first frame's median depth, up to the lens"


def test_a_chapter_may_have_come_from_another_rung(folder: str) -> None:
    """After an exhausted GPU, segments are processed on one rung with what another one found."""
    frames = clip(5)
    info = video(frames)
    made = stage(folder)
    shared = survey(made, info, frames)
    wanted = process(made, info, frames, shared, slice(0, 5))
    found = process(stage(folder, side=28), info, frames, shared, slice(0, 5))
    assert all(np.array_equal(wanted[name], found[name], equal_nan=wanted[name].dtype != bool) for name in wanted)


def test_geometry_is_given_only_where_it_is_asked_for(folder: str) -> None:
    found = through(stage(folder), clip(4))
    assert not any(name.startswith("geometry.") for name in found)
    assert set(Lingbot(Lingbot.Params(geometry=True)).optional_outputs) > {"geometry.points", "camera.quality"}


def test_a_known_lens_is_kept(folder: str) -> None:
    frames = clip(6)
    free, told = through(stage(folder), frames), through(stage(folder), frames, intrinsics=(90.0, 92.0, 55.0, 41.0))
    assert np.array_equal(
        told["camera.intrinsics"][3], video(frames, intrinsics=(90.0, 92.0, 55.0, 41.0)).known_intrinsics
    )
    assert np.isnan(told["camera.focal_error"]).all() and 0 < free["camera.focal_error"][0] < 0.5
    ratio = np.sqrt(90 * 92 / np.linalg.det(free["camera.intrinsics"][0, :2, :2]))
    both = (found["camera.depth"].astype(np.float32) for found in (told, free))
    np.testing.assert_allclose(np.median(next(both)) / np.median(next(both)), ratio, rtol=0.01)


def test_a_still_camera_has_one_pose(folder: str) -> None:
    """The network answers with a motion all the same; noise of the sensor makes every frame another one."""
    rng = np.random.default_rng(5)
    still = np.clip(clip(1).astype(int) + rng.integers(-3, 4, (12, HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
    made = stage(folder)
    found = through(made, still)
    assert (found["camera.motion"] == MOTION_STILL).all() and found["camera.valid"].all()
    assert (found["camera.cam_from_world"] == found["camera.cam_from_world"][0]).all()
    shared = survey(made, video(still), still)
    assert np.ptp(shared["span.view.0.cam_from_world"], axis=0).max() > 0, "what the network says"
    assert (found["camera.quality"] > 0.9).all() and (found["camera.doubt"] == DOUBT_NONE).all()


def test_poses_that_the_pictures_contradict_have_a_low_quality(folder: str) -> None:
    """A made-up network knows nothing of the motion: below 0.3, a store says that poses should not be believed."""
    frames = plane_scene.render(plane_scene.walk(24), 240, 320).rgb
    quality = through(stage(folder), frames)["camera.quality"]
    assert (quality < 0.3).mean() > 0.7, quality


def test_after_a_cut_a_new_world_begins(folder: str) -> None:
    frames = np.concatenate((clip(6), 255 - clip(12)[:, ::-1, ::-1]))
    made = stage(folder)
    info = video(frames)
    shared = survey(made, info, frames)
    assert shared["span.starts"].tolist() == [0, 6]
    found = process(made, info, frames, shared, slice(0, 18))
    assert found["camera.valid"].tolist() == [False] * 6 + [True] * 12
    assert np.isnan(found["camera.cam_from_world"][:6]).all() and not found["camera.depth"][:6].any()
    alone = survey(made, video(frames[6:]), frames[6:])
    assert np.array_equal(shared["span.view.1.cam_from_world"], alone["span.view.0.cam_from_world"])
    before = process(made, info, frames, shared, slice(0, 8))
    assert before["camera.valid"].tolist() == [True] * 6 + [False] * 2
    if (before["camera.motion"] == fields.MOTION_MOVING).all():
        assert before["camera.doubt"].tolist() == [DOUBT_NONE] * 6 + [DOUBT_UNMATCHED] * 2


def test_bare_views_are_not_guessed(folder: str) -> None:
    frames = clip(9)
    frames[4:] = 90
    found = through(stage(folder), frames)
    assert found["camera.valid"].tolist() == [True] * 4 + [False] * 5 and not found["camera.depth"][4:].any()
    nothing = through(stage(folder, geometry=True), np.full((5, HEIGHT, WIDTH, 3), 90, np.uint8))
    assert not nothing["camera.valid"].any() and not nothing["geometry.mask"].any()
    assert (nothing["camera.motion"] == MOTION_UNKNOWN).all()


def test_what_the_users_masks_mark_has_no_depth(folder: str) -> None:
    frames, made = clip(5), stage(folder)
    masks = np.zeros(frames.shape[:3], bool)
    masks[:, 20:60, 30:80] = True
    info = video(frames)
    found = process(made, info, frames, survey(made, info, frames, masks), slice(0, 5), **{"frames.mask": masks})
    assert np.array_equal(found["camera.depth"] > 0, ~masks) and found["camera.valid"].all()


def test_without_confidence_nothing_is_known(folder: str) -> None:
    found = through(stage(folder, least_confidence=50.0, geometry=True), clip(4))
    assert not found["camera.valid"].any() and not found["camera.depth"].any() and not found["geometry.mask"].any()


@pytest.mark.parametrize("lost", ["pose", "lens", "depth"])
def test_a_network_that_loses_itself_gives_nothing(folder: str, lost: str) -> None:
    made = stage(folder)
    network = made.model.network
    with torch.no_grad():
        if lost == "depth":
            network.depth_head.scratch.output_conv2[2].bias[0] = float("nan")
        else:
            network.camera_head.pose_branch.fc2.bias[3 if lost == "pose" else 7] = float("nan") if lost == "pose" else 9
    found = through(made, clip(4))
    assert not found["camera.depth"].any() and np.isfinite(found["camera.depth"]).all()
    if lost != "depth":
        assert not found["camera.valid"].any() and np.isnan(found["camera.cam_from_world"]).all()


def test_a_chapter_has_as_many_frames_as_it_says(folder: str) -> None:
    assert Lingbot(Lingbot.Params(chapter=40)).chapter_length == 40
    assert [*Lingbot().ladder] == [{"sliding_window": 32}, {"scale_frames": 2}, {"side": 392}]
    assert Lingbot(Lingbot.Params(side=392, sliding_window=16)).ladder == ({"scale_frames": 2},)


def test_what_cannot_be_is_refused_before_anything_is_loaded(folder: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="side should be a multiple of 14 px, found"):
        loading.make_params(Lingbot, {"side": 500}, slot="camera")
    (tmp_path / "lingbot-map-long.pt").write_bytes(b"not this")
    with pytest.raises(ConfigError, match=r"lingbot-map-long\.pt cannot be read as a checkpoint"):
        stage(str(tmp_path))


def test_it_is_not_for_commercial_use() -> None:
    from geoflow.backends.catalogue import require_commercial

    with pytest.raises(ConfigError, match=r"lingbot is under Apache-2\.0 as declared .* not documented"):
        require_commercial(Pipeline.load("lingbot"))


def test_it_is_declared_where_there_is_no_torch(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    """The driver reads every backend; it may have none."""
    import subprocess
    import sys

    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from geoflow.backends import loading\n"
        "stage = loading.load('lingbot')\n"
        f"made = stage(stage.Params(weights={folder!r}))\n"
        "try: made.setup()\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith(EnvironmentBroken.__name__) and "`env: lingbot`" in done.stdout, done.stderr
