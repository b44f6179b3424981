"""Fusion of depth: the surface lies where the true one is, and is open, closed and coloured as it should be."""

from __future__ import annotations

import functools
import tracemalloc
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from scene_distance import distance_to_scene
from scipy.spatial import cKDTree

from geoflow.geometry.cameras import pinhole
from geoflow.geometry.mesh import is_watertight, surface_points
from geoflow.geometry.rigid import apply
from geoflow.geometry.tsdf.depth_view import DepthView
from geoflow.geometry.tsdf.mesh_cleaning import (
    decimated,
    joined,
    soundness,
    without_crumbs,
)
from geoflow.geometry.tsdf.surface_nets import Surface, surface_of
from geoflow.geometry.tsdf.tiles import fuse
from geoflow.geometry.tsdf.voxel_blocks import (
    INSIDE,
    SIDE,
    TRUNCATION,
    VoxelBlocks,
    blocks_near,
    keys_of,
    places_of,
    with_neighbours,
)
from geoflow.synth import Clip, render
from geoflow.synth.scene import build_scene

SEED = 5


def ball(radius: float = 1.0, voxel: float = 0.05, at: tuple[float, float, float] = (0, 0, 0)) -> VoxelBlocks:
    """The exact distance to a sphere."""
    around = np.random.default_rng(0).normal(size=(20_000, 3))
    blocks = VoxelBlocks(blocks_near(at + radius * around / np.linalg.norm(around, axis=1)[:, None], voxel), voxel)
    voxels = (places_of(blocks.keys)[:, None] * SIDE + INSIDE) * voxel
    away = np.linalg.norm(voxels - at, axis=-1) - radius
    blocks.distance[:] = (away / (TRUNCATION * voxel)).clip(-1, 1)
    blocks.weight[:] = 1
    return blocks


def volume(surface: Surface) -> float:
    a, b, c = (surface.vertices[surface.faces[:, k]].astype(np.float64) for k in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def same(first: Surface, second: Surface) -> bool:
    """Whether two meshes have the same vertices, and the same faces in whatever order."""
    faces = [s.faces[np.lexsort(s.faces.T)] for s in (first, second)]
    names = ("vertices", "colours", "seen", "keys")
    return np.array_equal(*faces) and all(np.array_equal(getattr(first, n), getattr(second, n)) for n in names)


def test_keys_rise_with_places_and_give_them_back() -> None:
    places = np.array([[-(2**20), 0, 2**20 - 1], [-1, -1, -1], [-1, 0, -5], [0, 0, 0], [3, -2, 7]])
    keys = keys_of(places)
    assert (np.diff(keys) > 0).all() and np.array_equal(places_of(keys), places)
    assert len(with_neighbours(keys[3:4])) == 27


def test_blocks_are_all_that_the_truncation_reaches() -> None:
    rng = np.random.default_rng(1)
    points, voxel = rng.uniform(-3, 3, (50, 3)), 0.1
    found = set(blocks_near(points, voxel).tolist())
    for offset in rng.uniform(-1, 1, (100, 3)) * TRUNCATION * voxel:
        assert set(keys_of(np.floor((points + offset) / (SIDE * voxel)).astype(int)).tolist()) <= found
    assert not len(blocks_near(np.array([[1e9, 0, 0], [np.inf, 0, 0]]), voxel)), "beyond the grid"


def test_a_sphere_is_round_closed_and_seen_from_outside() -> None:
    found = surface_of(ball(at=(0.3, -0.2, 0.1)))
    assert np.abs(np.linalg.norm(found.vertices - (0.3, -0.2, 0.1), axis=1) - 1).max() < 0.03 * 0.05, "of a voxel"
    assert volume(found) == pytest.approx(4 / 3 * np.pi, rel=0.005), "above 0: counter-clockwise from outside"
    sound = soundness(found)
    assert sound.watertight and sound.seen == 1 and sound.area == pytest.approx(4 * np.pi, rel=0.005)
    opened = Surface(found.vertices, found.faces[1:], found.colours, found.seen, found.keys)
    turned = Surface(found.vertices, np.r_[found.faces[:1, ::-1], found.faces[1:]], *[found.colours] * 3)
    assert not soundness(opened).watertight and not is_watertight(turned.faces)


@pytest.mark.parametrize(("most", "off"), [(4000, 0.002), (500, 0.01)])
def test_fewer_faces_stay_closed_and_round(most: int, off: float) -> None:
    found = decimated(surface_of(ball()), most)
    assert 0.7 * most < len(found.faces) <= most
    assert is_watertight(found.faces) and volume(found) == pytest.approx(4 / 3 * np.pi, rel=0.03)
    assert np.abs(np.linalg.norm(found.vertices, axis=1) - 1).max() < off
    assert found.faces.max() == len(found.vertices) - 1


def test_flat_parts_stay_flat_and_creases_sharp() -> None:
    voxel = 0.05
    corner = np.array([0.52, 0.48, 0.5])
    grid = np.stack(np.meshgrid(*[np.arange(-3, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    blocks = VoxelBlocks(keys_of(grid), voxel)
    voxels = (places_of(blocks.keys)[:, None] * SIDE + INSIDE) * voxel
    past = np.abs(voxels) - corner
    away = np.linalg.norm(np.maximum(past, 0), axis=-1) + np.minimum(past.max(-1), 0)
    blocks.distance[:], blocks.weight[:] = (away / (TRUNCATION * voxel)).clip(-1, 1), 1
    found = decimated(surface_of(blocks), 400)
    points, weights = surface_points(found.vertices, found.faces, 4000)
    drawn = (found.vertices[points] * weights[..., None]).sum(1)
    assert np.median(np.abs((np.abs(drawn) - corner).max(1))) < 0.04 * voxel
    assert np.abs(drawn).max(0) == pytest.approx(corner, abs=0.3 * voxel)


def test_parts_fit_together_as_if_they_had_been_made_at_once() -> None:
    blocks = ball()
    halves = [blocks.keys[::2], blocks.keys[1::2]]  # neighbours in different parts everywhere
    assert same(joined([surface_of(blocks, half) for half in halves]), surface_of(blocks))


def test_crumbs_are_left_out() -> None:
    large, small = surface_of(ball()), surface_of(ball(0.1, at=(3, 0, 0)))
    both = joined([large, small])
    assert len(without_crumbs(both, 0.001).faces) == len(both.faces)
    kept = without_crumbs(both, 0.05)
    assert len(kept.faces) == len(large.faces) and kept.vertices.max() < 1.1


# -- frames -----------------------------------------------------------------------------------------------------------


@functools.cache
def clip() -> Clip:
    return render(num_frames=10, width=160, height=120, fps=2, seed=SEED, moving=1)


def views_of(made: Clip, noise: float = 0.0, moving: bool = False) -> list[DepthView]:
    rng = np.random.default_rng(0)
    found = []
    for i, depth in enumerate(made.depth):
        rests = ~made.moving[i] | moving
        noisy = depth * (1 + noise * rng.standard_normal(depth.shape))
        shown = np.where(rests, noisy, 0).astype(np.float32)
        found.append(DepthView(shown, made.frames[i], made.intrinsics[i], made.cam_from_world[i], rests))
    return found


def fused(views: list[DepthView], voxel: float, max_blocks: int = 10**6, max_faces: int = 10**6) -> Surface:
    def some(frames: Iterable[int], rgb: bool) -> Iterator[DepthView]:
        return (views[i] for i in frames)

    found = fuse(some, len(views), voxel, max_blocks=max_blocks, max_faces=max_faces)
    assert found is not None
    return found


def off(found: Surface, seed: int = SEED) -> np.ndarray:
    """Distances of points that are evenly spread over a mesh to the true surfaces of what rests."""
    numbers, weights = surface_points(found.vertices, found.faces, 10_000)
    return distance_to_scene(build_scene(seed, 1), (found.vertices[numbers] * weights[..., None]).sum(1))


@pytest.mark.long
@pytest.mark.parametrize(("noise", "median", "most"), [(0.0, 0.0005, 0.005), (0.01, 0.003, 0.02), (0.02, 0.01, 0.06)])
def test_the_mesh_of_a_scene_lies_on_its_surfaces(noise: float, median: float, most: float) -> None:
    scene_depth = float(np.median(clip().depth))
    found = without_crumbs(fused(views_of(clip(), noise), 0.01 * scene_depth), 0.001)
    away = off(found) / scene_depth
    assert np.median(away) < median and np.quantile(away, 0.95) < most
    fewer = decimated(found, len(found.faces) // 8)
    assert np.median(off(fewer)) / scene_depth < 2 * median
    assert not soundness(found).watertight and soundness(found).seen == 1
    # What it covers: nearly all that the frames show.
    numbers, weights = surface_points(found.vertices, found.faces, 60_000)
    drawn = (found.vertices[numbers] * weights[..., None]).sum(1)
    view = views_of(clip())[5]
    assert (cKDTree(drawn).query(view.world_points[::7])[0] < 0.03 * scene_depth).mean() > 0.97


@pytest.mark.long
def test_what_moves_is_left_out_and_frames_see_through_the_rest() -> None:
    scene_depth = float(np.median(clip().depth))
    ghosts = [
        (off(fused(views_of(clip(), moving=moving), 0.01 * scene_depth)) > 0.03 * scene_depth).mean()
        for moving in (False, True)
    ]
    assert ghosts[0] < 0.003 and ghosts[1] < 0.05


@pytest.mark.long
def test_colours_are_those_of_the_pixels() -> None:
    views = views_of(clip())
    found = fused(views, 0.01 * float(np.median(clip().depth)))
    view = views[5]
    xyz = apply(view.cam_from_world, found.vertices)
    uv = np.rint((xyz @ view.intrinsics.T)[:, :2] / xyz[:, 2:]).astype(int)
    there = (xyz[:, 2] > 0) & (uv >= 0).all(1) & (uv < (160, 120)).all(1)
    u, v = uv[there].T
    shown = np.abs(view.depth[v, u] - xyz[there, 2]) < 0.01 * xyz[there, 2]
    differ = np.abs(view.rgb[v, u].astype(int) - found.colours[there]).mean(1)[shown]
    assert shown.sum() > 1000 and np.median(differ) < 15


@pytest.mark.long
def test_tiles_give_the_same_mesh_with_less_in_memory() -> None:
    views, voxel = views_of(clip()), 0.02 * float(np.median(clip().depth))
    whole, tiled = fused(views, voxel), fused(views, voxel, max_blocks=60)
    assert same(whole, tiled)
    thin = fused(views, voxel, max_blocks=60, max_faces=500)
    assert 100 < len(thin.faces) <= 4 * 500
    assert np.median(off(thin)) < 0.01 * np.median(clip().depth)


def step() -> DepthView:
    """A square at depth 2 in front of a wall at depth 3."""
    depth = np.full((60, 80), 3, np.float32)
    depth[20:40, 30:50] = 2
    return DepthView(depth, np.zeros((60, 80, 3), np.uint8), pinhole(80.0, 60, 80), np.eye(4), depth > 0)


def test_no_surface_spans_a_depth_edge() -> None:
    found = fused([step()], 0.03)
    z = found.vertices[:, 2]
    assert len(z) > 500 and np.minimum(np.abs(z - 2), np.abs(z - 3)).max() < 0.002
    corners = z[found.faces]
    assert (np.ptp(corners, axis=1) < 0.01).all()
    assert (np.abs(z - 2) < 0.01).sum() > 100, "the square is there, too"


def test_weights_fall_with_distance_and_angle() -> None:
    weight = step().weight
    assert weight[30, 40] == pytest.approx(1 / 4, rel=0.01) and weight[10, 40] == pytest.approx(1 / 9, rel=0.05)
    assert weight[20, 30] == weight[19, 35] == 0 == weight[0].max()
    row = np.arange(80) - 39.5
    slanted = np.tile((2 / (1 - 1.2 * row / 80)).astype(np.float32), (60, 1))  # a plane at 50 degrees
    plane = DepthView(slanted, np.zeros((60, 80, 3), np.uint8), pinhole(80.0, 60, 80), np.eye(4), slanted > 0)
    middle = plane.weight[30, 40] * plane.depth[30, 40] ** 2
    assert middle == pytest.approx(np.cos(np.arctan(1.2)), rel=0.03)


def corridor(num: int) -> Iterator[DepthView]:
    """A camera that goes sideways past a wall."""
    depth = np.full((48, 64), 2, np.float32)
    for i in range(num):
        pose = np.eye(4)
        pose[0, 3] = -0.4 * i
        yield DepthView(depth, np.zeros((48, 64, 3), np.uint8), pinhole(60.0, 48, 64), pose, depth > 0)


@pytest.mark.long
def test_a_longer_video_takes_no_more_memory() -> None:
    def peak(num: int) -> tuple[int, Surface]:
        def some(frames: Iterable[int], rgb: bool) -> Iterator[DepthView]:
            wanted = set(frames)
            return (view for i, view in enumerate(corridor(num)) if i in wanted)

        tracemalloc.start()
        found = fuse(some, num, 0.05, max_blocks=100, max_faces=2000)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found is not None
        return most, found

    short, long = peak(25), peak(75)
    assert soundness(long[1]).area > 2 * soundness(short[1]).area
    assert len(long[1].faces) <= 4 * 2000 and long[0] < 1.1 * short[0]
