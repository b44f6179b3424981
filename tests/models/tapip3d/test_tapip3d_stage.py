"""The backend `tapip3d` without Ray: segments in, tracks out, with small made-up weights.

Most tests have a network that leaves points where they are, before a camera that passes a wall: what it gives is known.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from small_tracker import publish_tracker, small_network, standing_network  # noqa: E402

from geoflow import fields  # noqa: E402
from geoflow.backends import contract, loading  # noqa: E402
from geoflow.engine.actor.wire import pack_state, unpack_state  # noqa: E402
from geoflow.errors import ConfigError, StageError  # noqa: E402
from geoflow.geometry.cameras import pinhole  # noqa: E402
from geoflow.geometry.rigid import Sim3, apply, invert  # noqa: E402
from geoflow.segments import Segment, VideoInfo, plan_segments  # noqa: E402
from geoflow.stages.stitch import Stitch  # noqa: E402

pytestmark = pytest.mark.long

FRAMES, SIZE, SHARED, HEIGHT, WIDTH, AWAY = 40, 16, 6, 48, 64, 2.5
WORLDS = [
    Sim3.identity(),
    Sim3(2.0, np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]), np.array([1.0, 2, 3])),
    Sim3(0.5, np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.array([-1.0, 0, 4])),
    Sim3(1.5, np.eye(3), np.zeros(3)),
]
Tapip3d = loading.load("tapip3d")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("weights")
    made = {"standing": standing_network(), "moving": small_network()}
    return {name: str(publish_tracker(network, folder / name)) for name, network in made.items()}


def actor(folder: str, **options: Any) -> Any:
    given = {"weights": folder, "num_iters": 3, "grid_size": 5, "resolution_factor": 1.0}
    stage = Tapip3d(Tapip3d.Params(**given | options))
    stage.setup()
    return stage


def segments(frames: int = FRAMES) -> list[Segment]:
    video = VideoInfo("v", "v.mp4", "", frames, 30.0, HEIGHT, WIDTH, HEIGHT, WIDTH)
    return list(plan_segments(video, SIZE, SHARED))


def true_poses() -> np.ndarray:
    """A camera that passes the wall z = AWAY, and turns a little."""
    angle = 0.004 * np.arange(FRAMES)
    world_from_cam = np.tile(np.eye(4), (FRAMES, 1, 1))
    world_from_cam[:, 0, 0] = world_from_cam[:, 1, 1] = np.cos(angle)
    world_from_cam[:, 0, 1], world_from_cam[:, 1, 0] = -np.sin(angle), np.sin(angle)
    world_from_cam[:, 0, 3], world_from_cam[:, 1, 3] = 0.04 * np.arange(FRAMES), 0.01 * np.arange(FRAMES)
    return invert(world_from_cam)


def given(segment: Segment, world: Sim3 = WORLDS[0]) -> dict[str, np.ndarray]:
    """Noise on the wall, and its depth and cameras in a world."""
    rows, count = slice(segment.start, segment.stop), len(segment)
    rgb = np.random.default_rng(1).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    return {
        "frames.rgb": rgb[rows],
        "frames.index": np.arange(segment.start, segment.stop),
        "camera.intrinsics": np.tile(pinhole(60.0, HEIGHT, WIDTH), (count, 1, 1)),
        "camera.cam_from_world": world.apply_to_cameras(true_poses()[rows]).astype(np.float32),
        "camera.depth": np.full((count, HEIGHT, WIDTH), AWAY * world.scale, np.float16),
        "camera.valid": np.ones(count, bool),
    }


def geometry(rows: dict[str, np.ndarray], scale: float) -> dict[str, np.ndarray]:
    """The same depth as point maps, in another scale."""
    depth = rows["camera.depth"].astype(np.float32) * scale
    points = np.stack((np.zeros_like(depth), np.zeros_like(depth), depth), -1).astype(np.float16)
    return {
        "geometry.points": points,
        "geometry.mask": np.ones(depth.shape, bool),
        "geometry.intrinsics": rows["camera.intrinsics"],
    }


def run(stage: Any, todo: list[tuple[Segment, dict[str, np.ndarray]]]) -> list[dict[str, np.ndarray]]:
    """What the stage gives for segments one after another, its state packed between them as in runs."""
    found, state = [], {}
    for segment, rows in todo:
        for array in rows.values():
            array.flags.writeable = False
        stage.restore(unpack_state(state))
        found.append(stage.process(segment, rows))
        fields.check(found[-1], Tapip3d.outputs, optional=Tapip3d.optional_outputs, who="tapip3d")
        assert all(len(a) == len(segment) for n, a in found[-1].items() if fields.FIELDS[n].per_frame)
        state = pack_state(stage.state())
    return found


@pytest.mark.parametrize("network", ["standing", "moving"])
def test_the_contract_is_kept(folders: dict[str, str], network: str) -> None:
    assert contract.problems("tapip3d", {"weights": folders[network], "num_iters": 1}) == []


def test_a_point_keeps_its_number_in_every_segment_and_its_place_in_every_world(folders: dict[str, str]) -> None:
    todo = [(segment, given(segment, world)) for segment, world in zip(segments(), WORLDS)]
    assert len(todo) == 4
    found = run(actor(folders["standing"]), todo)
    first = dict(zip(found[0]["tracks.id"].tolist(), found[0]["tracks.query"]))
    assert list(first) == list(range(1, 26)), "a grid of five by five"
    for (segment, _), world, tracks in zip(todo, WORLDS, found):
        ids, query, xyz = tracks["tracks.id"], tracks["tracks.query"], tracks["tracks.xyz"]
        assert len(set(ids)) == len(ids) and np.isfinite(xyz).all()
        place = (xyz - world.translation) @ world.rotation / world.scale
        np.testing.assert_allclose(place[..., 2], AWAY, atol=2e-3)
        np.testing.assert_allclose(place, place[:1].repeat(len(segment), 0), atol=1e-3)
        for column, number in enumerate(ids.tolist()):
            if segment.index and number in first:
                np.testing.assert_allclose(place[0, column], first[number][1:], atol=5e-3)
                assert query[column, 0] == first[number][0] and np.isnan(query[column, 1:]).all()
    assert {*found[1]["tracks.id"][:3]} <= set(first), "points that go on come first"
    assert set(first) <= set(found[3]["tracks.id"].tolist()), "also those that left the picture not long ago"
    shown = found[3]["tracks.visible"].any(0)
    assert 0 < np.isin(found[3]["tracks.id"][shown], [*first]).sum() < 25
    assert found[3]["tracks.id"].max() > 25, "new ones came in on the other side"


def test_new_points_begin_only_where_no_living_one_is_seen(folders: dict[str, str]) -> None:
    todo = [(segment, given(segment)) for segment in segments()]
    found = run(actor(folders["standing"]), todo)
    for (segment, _), tracks in zip(todo[1:], found[1:]):
        born, uv = tracks["tracks.query"][:, 0], tracks["tracks.uv"]
        fresh = born >= segment.start + SHARED
        assert (born[fresh] == segment.start + SHARED).all()
        there = uv[SHARED][tracks["tracks.visible"][SHARED]]
        apart = np.linalg.norm(
            there[:, None] / (WIDTH / 5, HEIGHT / 5) - there[None] / (WIDTH / 5, HEIGHT / 5), axis=-1
        )
        assert apart[~np.eye(len(there), dtype=bool)].min() > 0.65
        assert 0 < fresh.sum() < 13, "the picture was mostly covered"


def test_pixels_are_the_projection_and_what_leaves_the_picture_is_not_visible(folders: dict[str, str]) -> None:
    segment = segments()[0]
    (found,) = run(actor(folders["standing"]), [(segment, given(segment))])
    xyz, uv, poses = found["tracks.xyz"], found["tracks.uv"], true_poses()
    for t in range(len(segment)):
        here = apply(poses[t], xyz[t].astype(np.float64)) @ pinhole(60.0, HEIGHT, WIDTH).T
        np.testing.assert_allclose(uv[t], here[:, :2] / here[:, 2:], atol=2e-3)
    outside = (uv < -0.5).any(-1) | (uv > (WIDTH - 0.5, HEIGHT - 0.5)).any(-1)
    assert outside.any() and np.array_equal(found["tracks.visible"], ~outside)


def test_a_point_hidden_in_the_shared_frames_goes_on(folders: dict[str, str]) -> None:
    """Hidden for three segments, it is there in the next under its number; hidden for four, it ends."""
    video = VideoInfo("v", "v.mp4", "", FRAMES, 30.0, HEIGHT, WIDTH, HEIGHT, WIDTH)
    todo = [
        (segment, given(segment) | {"frames.mask": np.zeros((len(segment), HEIGHT, WIDTH), bool)})
        for segment in plan_segments(video, 10, 4)
    ]
    assert len(todo) == 6
    for _, rows in todo:
        rows["camera.cam_from_world"] = np.tile(np.eye(4, dtype=np.float32), (len(rows["frames.rgb"]), 1, 1))
    for segment, rows in todo:
        rows["frames.mask"][max(0, 6 - segment.start) : max(0, 30 - segment.start), :, :32] = True
    found = run(actor(folders["standing"]), todo[:5])
    ids, left = found[0]["tracks.id"], found[0]["tracks.uv"][0, :, 0] < 31.5
    assert found[0]["tracks.visible"][:6].all() and not found[0]["tracks.visible"][6:, left].any()
    for tracks in found[1:4]:
        assert np.array_equal(tracks["tracks.id"], ids) and not tracks["tracks.visible"][:, left].any()
        assert np.isfinite(tracks["tracks.xyz"]).all(), "the network knows where they are"
    assert np.array_equal(found[4]["tracks.id"], ids) and found[4]["tracks.visible"][6:].all()
    for segment, rows in todo[1:5]:
        rows["frames.mask"] = np.zeros((len(segment), HEIGHT, WIDTH), bool)
        rows["frames.mask"][:, :, :32] = True
    found = run(actor(folders["standing"]), todo)
    assert np.array_equal(found[3]["tracks.id"], ids) and left.sum() == 10
    assert np.array_equal(found[4]["tracks.id"], ids), "in this segment it ends"
    assert not np.isin(ids[left], found[5]["tracks.id"]).any() and np.isin(ids[~left], found[5]["tracks.id"]).all()


def test_of_frames_without_pose_or_depth_nothing_is_said(folders: dict[str, str]) -> None:
    segment = segments()[0]
    rows = given(segment)
    rows["camera.valid"][[0, 5]] = False
    rows["camera.cam_from_world"][[0, 5]] = np.nan
    rows["camera.depth"][7] = 0
    (found,) = run(actor(folders["standing"]), [(segment, rows)])
    silent = np.isin(np.arange(len(segment)), [0, 5, 7])
    assert not found["tracks.visible"][silent].any() and np.isnan(found["tracks.xyz"][silent]).all()
    assert np.isnan(found["tracks.uv"][silent]).all()
    assert np.isfinite(found["tracks.xyz"][~silent]).all() and found["tracks.visible"][~silent].any()
    assert (found["tracks.query"][:, 0] == 1).all(), "picked in the first frame that can be used"


def test_points_end_at_a_gap_in_which_no_frame_can_be_used(folders: dict[str, str]) -> None:
    todo = [(segment, given(segment)) for segment in segments()]
    for name in ("camera.depth", "camera.valid"):
        todo[1][1][name][:] = 0
    first, second, third, _ = run(actor(folders["standing"], camera_space=False), todo)
    assert second["tracks.id"].shape == (0,) and not np.isin(third["tracks.id"], first["tracks.id"]).any()
    assert third["tracks.id"].min() == 26, "numbers are never used again"


def test_depth_of_geometry_is_brought_to_the_scale_of_the_cameras(folders: dict[str, str]) -> None:
    segment = segments()[0]
    rows = given(segment)
    (plain,) = run(actor(folders["standing"], depth="camera"), [(segment, rows)])
    rows = {**rows, "camera.depth": rows["camera.depth"].copy()}
    rows["camera.depth"][:12] = 0
    (found,) = run(actor(folders["standing"]), [(segment, rows | geometry(given(segment), 3.0))])
    np.testing.assert_allclose(found["tracks.xyz"], plain["tracks.xyz"], atol=2e-3)
    (few,) = run(actor(folders["standing"], depth="camera"), [(segment, rows | geometry(given(segment), 3.0))])
    assert np.isnan(few["tracks.xyz"][:12]).all(), "the other depth is not looked at"


def test_without_poses_points_are_followed_as_cameras_see_them(folders: dict[str, str]) -> None:
    """The camera rests here, so that the standing network is right in each camera, too."""
    todo = []
    for segment, scale in zip(segments()[:2], (1.0, 3.0)):
        rows = given(segment)
        pictures = {name: array for name, array in rows.items() if name.startswith("frames.")}
        todo.append((segment, pictures | geometry(rows, scale)))
    found = run(actor(folders["standing"]), todo)
    for tracks, scale in zip(found, (1.0, 3.0)):
        assert not tracks["tracks.visible"].any() and np.isnan(tracks["tracks.xyz"]).all()
        assert np.isnan(tracks["tracks.query"][:, 1:]).all()
        np.testing.assert_allclose(tracks["tracks.camera_xyz"][..., 2], AWAY * scale, rtol=2e-3)
        here = tracks["tracks.camera_xyz"] @ pinhole(60.0, HEIGHT, WIDTH).T
        np.testing.assert_allclose(here[..., :2] / here[..., 2:], tracks["tracks.uv"], atol=1e-2)
    assert np.array_equal(found[0]["tracks.id"], found[1]["tracks.id"]), "the pictures' places are the same"


def test_what_cameras_see_has_one_scale_and_one_row_in_the_whole_video(folders: dict[str, str]) -> None:
    """Through `stitch`, without any camera stage: each segment's geometry has another scale."""
    todo = []
    for segment, scale in zip(segments(), (1.0, 3.0, 0.5, 2.0)):
        rows = given(segment) | {"frames.time": np.arange(segment.start, segment.stop) / 30.0}
        pictures = {name: array for name, array in rows.items() if name.startswith("frames.")}
        todo.append((segment, pictures | geometry(rows, scale)))
    stitched, state = [], {}
    for (segment, rows), tracks in zip(todo, run(actor(folders["standing"]), todo)):
        stitch = Stitch()
        stitch.restore(state)
        taken = {name: a for name, a in (rows | tracks).items() if name in (*stitch.inputs, *stitch.optional)}
        stitched.append(stitch.process(segment, taken))
        fields.check(stitched[-1], stitch.outputs, optional=stitch.optional_outputs, who="stitch")
        state = stitch.state()
    for tracks in stitched:
        depth = tracks["geometry.points"][..., 2][tracks["geometry.mask"]]
        np.testing.assert_allclose(depth, 2.0, rtol=2e-3)
        np.testing.assert_allclose(tracks["tracks.camera_xyz"][..., 2], 2.0, rtol=5e-3)
        assert tracks["tracks.id"].tolist() == list(range(1, 26)) and np.isfinite(tracks["tracks.uv"]).all()


def test_what_cameras_see_lies_in_the_world_where_a_pose_is_known(folders: dict[str, str]) -> None:
    segment = segments()[0]
    rows = given(segment)
    rows["camera.valid"][3] = False
    (found,) = run(actor(folders["standing"], camera_space=True), [(segment, rows)])
    there = found["tracks.visible"]
    assert not there[3].any() and there[[0, 1, 2, 4]].all() and np.isfinite(found["tracks.camera_xyz"][3]).all()
    np.testing.assert_allclose(found["tracks.xyz"][there][:, 2], AWAY, atol=5e-3)


def test_points_of_the_world_do_not_go_on_among_those_that_cameras_see(folders: dict[str, str]) -> None:
    (one, with_poses), (two, without) = [(segment, given(segment)) for segment in segments()[:2]]
    without["camera.valid"][:] = False
    first, second = run(actor(folders["standing"]), [(one, with_poses), (two, without)])
    assert "tracks.camera_xyz" not in first and "tracks.camera_xyz" in second
    assert not np.isin(second["tracks.id"], first["tracks.id"]).any()


def test_two_scales_that_nothing_connects_give_no_points(folders: dict[str, str]) -> None:
    segment = segments()[0]
    rows = given(segment)
    other = geometry(rows, 3.0)
    rows["camera.depth"][8:], other["geometry.mask"][:8] = 0, False
    (found,) = run(actor(folders["standing"], depth="geometry"), [(segment, rows | other)])
    assert len(found["tracks.id"]) == 0


def test_points_on_objects_alone_and_outside_the_mask(folders: dict[str, str]) -> None:
    segment = segments()[0]
    rows = given(segment)
    rows["objects.label"] = np.zeros((len(segment), HEIGHT, WIDTH), np.uint8)
    rows["objects.label"][:, :, :32] = 3
    rows["frames.mask"] = np.zeros((len(segment), HEIGHT, WIDTH), bool)
    rows["frames.mask"][:, 24:] = True
    (found,) = run(actor(folders["standing"]), [(segment, rows)])
    uv = found["tracks.uv"][0]
    assert (uv[:, 1] < 24).all() and set(found["tracks.object"]) == {0, 3}
    assert ((found["tracks.object"] == 3) == (uv[:, 0] < 31.6)).all()
    (few,) = run(actor(folders["standing"], objects_only=True), [(segment, rows)])
    assert set(few["tracks.object"]) == {3} and 0 < len(few["tracks.id"]) < len(found["tracks.id"])


def test_the_users_points_are_followed_and_keep_their_rows(folders: dict[str, str], tmp_path: Path) -> None:
    """Of those without depth there, or in a frame without pose, the pixel is all that is known."""
    asked = np.array([[0, 30, 20], [5, 40, 30], [20, 10, 12], [3, 5, 5], [4, 20, 20]], float)
    np.save(tmp_path / "q.npy", asked)
    todo = [(segment, given(segment)) for segment in segments()[:3]]
    todo[0][1]["camera.depth"][3, :12, :12] = 0
    todo[0][1]["camera.valid"][4] = False
    options = {"queries": str(tmp_path / "q.npy"), "grid": False, "support_grid_size": 3}
    found = run(actor(folders["standing"], **options), todo)
    assert found[0]["tracks.row"].tolist() == [0, 1, 3, 4] and found[0]["tracks.query"][:, 0].tolist() == [0, 5, 3, 4]
    np.testing.assert_allclose(found[0]["tracks.uv"][[0, 5, 3, 4], [0, 1, 2, 3]], asked[[0, 1, 3, 4], 1:], atol=1e-2)
    assert found[0]["tracks.visible"][:, :2].any(0).all() and not found[0]["tracks.visible"][:, 2:].any()
    assert np.isnan(found[0]["tracks.xyz"][:, 2:]).all() and np.isnan(found[0]["tracks.query"][2:, 1:]).all()
    assert np.isfinite(found[0]["tracks.uv"][..., 0]).sum(0)[2:].tolist() == [1, 1]
    assert found[1]["tracks.row"].tolist() == [0, 1, 2], "what cannot be followed ends"
    assert found[1]["tracks.id"].tolist() == [1, 2, 5] and found[2]["tracks.id"].tolist() == [1, 2, 5]
    (both,) = run(actor(folders["standing"], queries=str(tmp_path / "q.npy")), todo[:1])
    assert set(both["tracks.row"]) == {-1, 0, 1, 3, 4} and len(both["tracks.id"]) > 20


@pytest.mark.parametrize("camera_space", [False, True])
def test_the_users_places_are_taken_as_they_are(folders: dict[str, str], tmp_path: Path, camera_space: bool) -> None:
    """A place need not lie on a surface."""
    np.save(tmp_path / "q.npy", np.array([[2, 0.2, 0.1, 2.0]]))
    segment = segments()[0]
    segment = dataclasses.replace(segment, video=dataclasses.replace(segment.video, given_world=True))
    options = {"queries": str(tmp_path / "q.npy"), "grid": False, "camera_space": camera_space}
    (found,) = run(actor(folders["standing"], **options), [(segment, given(segment))])
    np.testing.assert_allclose(found["tracks.xyz"][2], [[0.2, 0.1, 2.0]], atol=1e-5)
    assert found["tracks.row"].tolist() == [0] and found["tracks.visible"][2].all()


def test_points_can_be_picked_more_often(folders: dict[str, str]) -> None:
    todo = [(segment, given(segment)) for segment in segments()[:2]]
    found = run(actor(folders["standing"], query_every=5), todo)
    assert set(found[0]["tracks.query"][:, 0]) == {0, 5, 10, 15} and set(found[1]["tracks.query"][:, 0]) >= {20.0}
    (wide,) = run(actor(folders["standing"], query_every=5, bidirectional=False), todo[:1])
    late = wide["tracks.query"][:, 0] == 10
    assert np.isnan(wide["tracks.xyz"][:10, late]).all() and np.isfinite(wide["tracks.xyz"][10:, late]).all()
    assert np.isfinite(found[0]["tracks.xyz"]).all(), "both ways, nothing before a query is left out"
    born = found[0]["tracks.query"][:, 0]
    assert (born == 0).sum() == 25 and (born > 0).sum() < 20, "only where the camera sees something new"


def test_the_threshold_decides_what_is_visible(folders: dict[str, str]) -> None:
    segment = segments()[0]
    shares = [
        run(actor(folders["moving"], visibility_threshold=threshold), [(segment, given(segment))])[0][
            "tracks.visible"
        ].mean()
        for threshold in (0.0, 0.05, 1.0)
    ]
    assert shares[0] > shares[1] > shares[2] == 0


def test_another_actor_that_takes_over_gives_the_same_bits(folders: dict[str, str]) -> None:
    todo = [(segment, given(segment, world)) for segment, world in zip(segments()[:3], WORLDS)]
    options = {"visibility_threshold": 0.02}
    stage, expected, states = actor(folders["moving"], **options), [], [{}]
    for segment, rows in todo:
        stage.restore(unpack_state(states[-1]))
        expected.append(stage.process(segment, rows))
        states.append(pack_state(stage.state()))
    assert len(np.intersect1d(expected[1]["tracks.id"], expected[2]["tracks.id"])) > 5
    for (segment, rows), state, wanted in zip(todo, states, expected):
        other = actor(folders["moving"], **options)
        other.restore(unpack_state(state))
        found = other.process(segment, rows)
        assert found.keys() == wanted.keys() and all(found[n].tobytes() == wanted[n].tobytes() for n in found)


def test_a_pipeline_without_depth_is_told_what_it_lacks(folders: dict[str, str]) -> None:
    segment = segments()[0]
    with pytest.raises(StageError, match="no stage above gives depth"):
        rows = given(segment)
        actor(folders["standing"]).process(segment, {name: rows[name] for name in Tapip3d.inputs})


def test_rungs_are_cheaper_and_published_options_are_parameters() -> None:
    assert [*Tapip3d().ladder] == [{"tokens": 1 << 13}, {"resolution_factor": 1.0}, {"resolution_factor": 0.5}]
    small = Tapip3d(Tapip3d.Params(tokens=1 << 12, resolution_factor=1.0))
    assert small.ladder == ({"resolution_factor": 0.5},)
    assert "geometry.points" not in Tapip3d(Tapip3d.Params(depth="camera")).optional
    own = {row.name: row.default for row in dataclasses.fields(Tapip3d.Params)}
    published = {"num_iters": 6, "resolution_factor": 2.0, "support_grid_size": 16, "grid_size": 32}
    assert {**own, **published, "visibility_threshold": 0.9, "bidirectional": True} == own
    for wrong in ({"visibility_threshold": 1.5}, {"depth": "prior"}, {"num_iters": 0}):
        with pytest.raises(ConfigError):
            loading.make_params(Tapip3d, wrong, slot="tracks")


def test_a_folder_without_the_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tapip3d_final\.pth"):
        actor(str(tmp_path))
