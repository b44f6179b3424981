"""The mesh of an object from the depth of its frames: where it lies, what was closed up, and what has no mesh."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import pytest
from scene_distance import distance_to_body

from actors.embedded.tsdf import Tsdf
from geoflow import fields
from geoflow.errors import StageError
from geoflow.geometry.cameras import pinhole
from geoflow.geometry.mesh import in_world, is_watertight, seen_share, surface_points
from geoflow.geometry.rigid import invert
from geoflow.segments import VideoInfo
from geoflow.stage import Fields
from geoflow.synth.render import View, cast
from geoflow.synth.scene import ROOM_HIGH, ROOM_LOW, Body, Drift, Scene

SIZE = (96, 128)
LENS = pinhole(110.0, *SIZE)
NUMBER, COLOUR = 4, (200, 60, 20)
ROOM = Body("box", (ROOM_LOW + ROOM_HIGH) / 2, (ROOM_HIGH - ROOM_LOW) / 2, inside=True)
BOX = Body("box", np.array([0.1, 0.2, 0.3]), np.array([0.3, 0.2, 0.25]), yaw=0.4)
BALL = Body("sphere", np.array([0.1, 0.2, 0.3]), np.full(3, 0.3))
POST = Body("box", np.array([0.1, 0.9, 0.3]), np.array([0.1, 0.5, 0.1]))  # that it stands on
COUNT = 16
VIDEO = VideoInfo("made", "made.mp4", "", COUNT, 30.0, *SIZE, *SIZE)


def camera_at(azimuth: float, elevation: float, away: float = 1.3) -> np.ndarray:
    """A camera that looks at the object: cam_from_world (4, 4)."""
    up_and_down = np.array([0, -np.sin(elevation), 0])
    center = BOX.center + away * (np.cos(elevation) * np.array([np.sin(azimuth), 0, -np.cos(azimuth)]) + up_and_down)
    forward = (BOX.center - center) / away
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    world_from_cam = np.eye(4)
    world_from_cam[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    world_from_cam[:3, 3] = center
    return invert(world_from_cam)


def seen(body: Body, azimuths: np.ndarray, *others: Body, noise: float = 0.0) -> Fields:
    """Frames of a body, object 4, from around it; every fourth from below, all others from above."""
    scene, rng = Scene((ROOM, *others, body), np.zeros(3)), np.random.default_rng(0)
    poses = [camera_at(a, -0.4 if i % 4 == 3 else 0.5) for i, a in enumerate(azimuths)]
    views = [View.at(scene, LENS, pose, 0.25 * i) for i, pose in enumerate(poses)]
    depths, owners = zip(*(cast(view, np.arange(SIZE[1]), np.arange(SIZE[0])) for view in views))
    label = (np.stack(owners) == len(scene.bodies) - 1).astype(np.uint8) * np.uint8(NUMBER)
    rgb = np.full((*label.shape, 3), 90, np.uint8)
    rgb[label > 0] = COLOUR
    depth = np.stack(depths)
    return {
        "frames.rgb": rgb,
        "frames.index": np.arange(len(azimuths)) * 2,
        "objects.label": label,
        "camera.depth": (depth * (1 + noise * rng.standard_normal(depth.shape))).astype(np.float16),
        "camera.intrinsics": np.repeat(LENS[None], len(label), 0),
        "camera.cam_from_world": np.stack(poses).astype(np.float32),
        "camera.valid": np.ones(len(label), bool),
    }


AROUND = np.arange(COUNT) * 2 * np.pi / COUNT


@functools.cache
def around() -> Fields:
    return seen(BOX, AROUND, POST)


def made(piece: Fields, **params: object) -> Fields:
    """The mesh from frames that come in two segments."""
    stage = Tsdf(Tsdf.Params(**{"resolution": 48, **params}))

    def read() -> Iterator[Fields]:
        for part in (slice(0, 7), slice(7, None)):
            yield {name: array[part] for name, array in piece.items()}

    found = stage.process_object(VIDEO, NUMBER, read)
    fields.check(found, stage.outputs, optional=stage.optional_outputs, who="tsdf")
    return found


def distances(found: Fields, body: Body, only_seen: bool = True) -> np.ndarray:
    world = in_world(found["mesh.vertices"], found["mesh.world_from_mesh"])
    faces = found["mesh.faces"]
    if only_seen:
        faces = faces[found["mesh.seen"][faces].all(1)]
    numbers, weights = surface_points(world, faces, 5000)
    return distance_to_body(body, (world[numbers] * weights[..., None]).sum(1))


def share(found: Fields) -> float:
    return seen_share(found["mesh.vertices"], found["mesh.faces"], found["mesh.seen"])


@pytest.mark.long
@pytest.mark.parametrize(("body", "noise"), [(BOX, 0.0), (BOX, 0.005), (BALL, 0.0), (BOX, 0.02)])
def test_an_object_seen_from_around_is_closed_and_in_its_place(body: Body, noise: float) -> None:
    found = made(seen(body, AROUND, POST, noise=noise))
    radius = float(np.linalg.norm(body.half))
    off = distances(found, body) / radius
    assert np.median(off) < max(0.01, noise) and np.quantile(off, 0.95) < 0.05
    assert is_watertight(found["mesh.faces"])
    assert (
        share(found) > 0.8 and np.quantile(distances(found, body, only_seen=False), 0.95) < max(0.1, 9 * noise) * radius
    )
    world = in_world(found["mesh.vertices"], found["mesh.world_from_mesh"])
    a, b, c = (world[found["mesh.faces"][:, k]].astype(np.float64) for k in range(3))
    true = 4 / 3 * np.pi * 0.3**3 if body is BALL else 8 * body.half.prod()
    assert (a * np.cross(b, c)).sum() / 6 == pytest.approx(true, rel=0.08)
    assert np.abs(found["mesh.colours"][found["mesh.seen"]].astype(int) - COLOUR).mean() < 3
    assert len(found["mesh.faces"]) < 50_000 and np.abs(found["mesh.vertices"]).max() < 2 * radius


@pytest.mark.long
def test_what_no_frame_saw_is_closed_up_and_marked_or_left_open() -> None:
    front = seen(BOX, np.linspace(-0.3, 0.3, 8))
    closed, opened = made(front), made(front, close=False)
    assert is_watertight(closed["mesh.faces"]) and 0.2 < share(closed) < 0.7
    assert not is_watertight(opened["mesh.faces"]) and opened["mesh.seen"].all()
    for found in (closed, opened):
        assert np.median(distances(found, BOX)) < 0.01 * np.linalg.norm(BOX.half)


@pytest.mark.long
def test_another_object_in_front_takes_nothing_away() -> None:
    screen = Body("box", BOX.center + np.array([0, -0.1, -0.7]), np.array([0.15, 0.5, 0.02]))
    piece = seen(BOX, AROUND, screen)
    hidden = (piece["objects.label"] == NUMBER).sum((1, 2)) < 0.8 * (around()["objects.label"] == NUMBER).sum((1, 2))
    assert hidden.any() and not hidden.all()
    found = made(piece)
    assert np.quantile(distances(found, BOX), 0.95) < 0.05 * np.linalg.norm(BOX.half) and share(found) > 0.8


@pytest.mark.long
@pytest.mark.parametrize(("slide", "spin"), [(0.4, 0.0), (0.05, 0.0), (0.0, 0.5)])
def test_an_object_that_moves_has_no_mesh(slide: float, spin: float) -> None:
    drift = Drift(np.array([slide, 0, 0]), np.array([0.25, 0, 0]), np.zeros(3), spin)
    moving = Body("box", BOX.center, BOX.half, yaw=0.4, drift=drift)
    with pytest.raises(StageError, match=r"object 4 moves.*mesh\.max_seen_through"):
        made(seen(moving, AROUND))
    assert len(made(seen(moving, AROUND), max_seen_through=1.0)["mesh.faces"])


@pytest.mark.long
def test_a_mesh_has_no_more_faces_than_wanted() -> None:
    found = made(around(), max_faces=1000)
    assert 500 < len(found["mesh.faces"]) <= 1000 and is_watertight(found["mesh.faces"])
    assert np.median(distances(found, BOX)) < 0.015 * np.linalg.norm(BOX.half)
    best = int(found["mesh.frame"][0]) // 2
    areas = (around()["objects.label"] == NUMBER).sum((1, 2))
    assert areas[best] > 0.8 * areas.max()
    assert made(around(), max_frames=4)["mesh.frame"] % 8 == 0, "every fourth frame, each second one of the source"


def test_an_object_of_which_little_is_known_has_no_mesh() -> None:
    piece = around()
    sparse = np.where(np.arange(COUNT)[:, None, None] < 1, piece["camera.depth"], np.float16(0))
    with pytest.raises(StageError, match=r"object 4 has depth that can be fused in [3-6] % .*mesh\.min_known"):
        made({**piece, "camera.depth": sparse})
    with pytest.raises(StageError, match=r"of the surface of object 4 is seen.*mesh\.min_seen"):
        made({**piece, "camera.depth": sparse}, min_known=0.0, min_seen=0.9)
    assert len(made({**piece, "camera.depth": sparse}, min_known=0.0)["mesh.faces"])


def test_an_object_without_depth_or_pose_has_no_mesh() -> None:
    piece = around()
    for change in (
        {"camera.valid": np.zeros(COUNT, bool)},
        {"camera.depth": np.zeros_like(piece["camera.depth"])},
    ):
        with pytest.raises(StageError, match="object 4 is nowhere seen with known camera and depth"):
            made({**piece, **change})
