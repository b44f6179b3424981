"""Which of two worlds with near and far exchanged is the right one, on films whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geoflow.fields import DOUBT_FAR_OFF, DOUBT_REVERSED
from geoflow.geometry.motion import trust
from geoflow.geometry.motion.bundle import LEAST_VIEWS, Bundle
from geoflow.geometry.motion.pose_quality import explained_points
from geoflow.geometry.motion.starts import best_of, both_worlds, lead_over_mirror, same_order
from geoflow.geometry.motion.structure import Structure, reconstruct
from geoflow.geometry.motion.trust import far_off, on_path, withdrawn
from geoflow.synth.films import TrackFilm, film


def _film(recipe: str = "sideways", seed: int = 1) -> TrackFilm:
    return film(recipe, seed)


def _bundle(made: TrackFilm, count: int = 10) -> Bundle:
    """The first views with the true cameras and points."""
    frames = made.chains.keyframes[:count]
    uv = made.chains.uv[frames].astype(np.float64)
    points = np.flatnonzero(np.isfinite(uv[..., 0]).sum(0) >= LEAST_VIEWS)
    return Bundle(
        uv=uv[:, points],
        size=(made.chains.height, made.chains.width),
        intrinsics=made.truth.intrinsics.astype(np.float64),
        radial=made.truth.radial,
        cam_from_world=made.truth.cam_from_world[frames],
        xyz=made.truth.xyz[points],
        views=np.array(frames),
        points=points,
    )


def _reversed(bundle: Bundle) -> Bundle:
    return bundle.mirrored().adjusted(focal=False, rounds=1).adjusted(focal=True)


@pytest.mark.parametrize("recipe", ["sideways", "far_relief", "bas_relief"])
def test_the_mirror_image_has_near_and_far_exchanged_and_fits_less_well(recipe: str) -> None:
    bundle = _bundle(_film(recipe))
    mirrored = _reversed(bundle)
    assert same_order(bundle, mirrored) < -0.2
    assert mirrored.misfit() > bundle.adjusted(focal=True).misfit()
    assert lead_over_mirror(bundle, focal=True) > 0.02


def test_a_reversed_world_is_behind_its_mirror_image() -> None:
    assert lead_over_mirror(_reversed(_bundle(_film())), focal=True) < -0.02


def test_a_start_in_the_reversed_world_is_put_right() -> None:
    bundle = _bundle(_film())
    found = best_of(both_worlds(_reversed(bundle), focal=True))
    assert found is not None and same_order(found.bundle, bundle) > 0.5 and found.lead > 0.02


def test_points_are_triangulated_where_they_are() -> None:
    bundle = _bundle(_film("arc"))
    exact = np.einsum("ij,kmj->kmi", bundle.intrinsics, bundle.in_cameras())
    exact_uv = np.where(bundle.seen[..., None], exact[..., :2] / exact[..., 2:], np.nan)
    again = replace(bundle, uv=exact_uv, xyz=np.full_like(bundle.xyz, np.nan)).triangulated()
    assert np.abs(again.xyz - bundle.xyz).max() < 1e-4 * np.abs(bundle.xyz).max()
    assert again.misfit() < 1e-6


def test_a_point_whose_rays_do_not_cross_ends_nothing() -> None:
    bundle = _bundle(_film("arc"))
    same = replace(bundle, cam_from_world=np.repeat(bundle.cam_from_world[:1], len(bundle.uv), axis=0))
    uv = same.uv.copy()
    uv[:, 0] = np.nanmean(uv[:, 0], axis=0)  # seen at one place by cameras at one place
    uv[1:, 1], uv[:, 2] = np.nan, np.nan  # seen once, and not at all
    found = replace(same, uv=uv).triangulated()
    assert np.isfinite(found.xyz[0]).all() and np.isnan(found.xyz[2]).all()
    assert np.isfinite(replace(found, xyz=np.full_like(found.xyz, np.nan)).misfit())


def test_observations_of_views_without_a_camera_count_as_far_off() -> None:
    bundle = _bundle(_film())
    assert replace(bundle, lost=1000).misfit() > bundle.misfit() + 1


def _structure(made: TrackFilm) -> Structure:
    truth = made.truth
    count = len(truth.cam_from_world)
    return Structure(
        intrinsics=truth.intrinsics.astype(np.float32),
        radial=truth.radial,
        cam_from_world=truth.cam_from_world.copy(),
        valid=np.ones(count, bool),
        xyz=truth.xyz,
        angle_deg=5.0,
        doubt=np.zeros(count, np.uint8),
    )


def test_a_pose_is_worth_the_points_that_it_explains() -> None:
    made = _film("arc")
    structure = _structure(made)
    structure.cam_from_world[2, :3, 3] += 0.3 * np.median(made.truth.depth[2])
    structure.valid[3] = False
    quality = explained_points(structure, made.chains.uv, range(len(structure.valid)))
    assert quality[0] > 0.8 and quality[2] < 0.2 and quality[3] == 0


def test_a_pose_far_off_the_path_is_dropped_and_says_so() -> None:
    structure = _structure(_film("walk"))
    assert not far_off(structure.cam_from_world).any()
    structure.cam_from_world[4, :3, 3] += 1000
    kept = on_path(structure)
    assert np.flatnonzero(~kept.valid).tolist() == [4] and kept.doubt[4] == DOUBT_FAR_OFF
    assert np.isnan(kept.cam_from_world[4]).all() and not kept.doubt[:4].any()


def test_a_world_that_is_not_told_from_its_mirror_image_has_no_valid_frame() -> None:
    found = withdrawn(_structure(_film()), DOUBT_REVERSED)
    assert not found.valid.any() and (found.doubt == DOUBT_REVERSED).all()


def test_triangulation_never_leaves_a_point_where_it_fits_less() -> None:
    bundle = _bundle(_film("far_relief"))
    for world in (bundle, bundle.mirrored(), bundle.adjusted(focal=True, rounds=1)):
        assert world.triangulated().misfit() <= world.misfit() + 1e-12


def test_a_distant_point_is_no_evidence_against_its_cameras() -> None:
    """Noise lets the rays of many distant points run apart: linear triangulation puts these behind the cameras."""
    made = _film("arc")
    bundle = _bundle(made)
    rng = np.random.default_rng(0)
    rays = np.concatenate([rng.uniform(-0.2, 0.2, (40, 2)), np.ones((40, 1))], 1)
    turned = np.einsum("kij,mj->kmi", bundle.cam_from_world[:, :3, :3], rays @ bundle.cam_from_world[0, :3, :3])
    uv = np.einsum("ij,kmj->kmi", bundle.intrinsics, turned)
    uv = uv[..., :2] / uv[..., 2:] + rng.normal(0, 0.5, (*uv.shape[:2], 2))
    distant = replace(bundle, uv=uv, xyz=np.full((40, 3), np.nan), points=np.arange(40)).triangulated()
    assert np.isfinite(distant.xyz).all() and (distant.in_cameras()[..., 2] > 0).all()
    assert distant.errors().max() < 4  # of Gaussian noise of 0.5 px


def test_a_world_with_one_reversed_part_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    made = _film()
    leads = iter([0.3, -0.1, 1.0, 0.3, 0.01, 1.0])
    monkeypatch.setattr(trust, "windows", lambda *_, **__: [range(4)] * 3)
    monkeypatch.setattr(trust, "lead_over_mirror", lambda *_, **__: next(leads))
    structure, chains = _structure(made), made.chains
    assert trust._lead(structure, chains, focal=True) == -0.1  # its mirror image explains one part better
    assert trust._lead(structure, chains, focal=True) == 0.3  # a part that tells nothing contradicts nothing


@pytest.mark.long
def test_a_lens_that_the_pictures_refute_is_not_assumed() -> None:
    """A camera that turns on the spot looks like one that moves if its lens is taken for a shorter one."""
    made = _film("any", 402)
    blank = made.blank_frames()
    assert not any(structure.valid.any() for structure in reconstruct(made.chains, blank))
