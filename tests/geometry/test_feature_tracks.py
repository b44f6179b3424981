"""Points found again where pictures are too far apart for tracking; structures held against neighbouring pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import planes
import pytest

from geoflow.geometry.motion import picture_features
from geoflow.geometry.motion.camera_motion import Chains, chain_points
from geoflow.geometry.motion.feature_tracks import _Tracks, wide_steps
from geoflow.geometry.motion.mapper import MatchedPair
from geoflow.geometry.motion.neighbours import agreeing_parts
from geoflow.geometry.motion.picture_features import PictureFeatures
from geoflow.geometry.motion.structure import Structure, reconstruct
from geoflow.geometry.motion.wide_matches import wide_matches
from geoflow.geometry.rigid import invert

SIZE = (planes.HEIGHT, planes.WIDTH)


def _rolling(count: int) -> np.ndarray:
    """Poses of a camera that rolls by half a radian a frame, which no tracker of small patches follows."""
    along = np.arange(count)[:, None]
    return planes.poses(along * [0.06, 0.02, 0.0], along * [0.0, 0.0, 0.5])


def test_steps_that_lose_most_points_are_wide() -> None:
    uv = np.zeros((4, 10, 2), np.float32)
    uv[2, :6] = uv[3, :9] = np.nan
    assert wide_steps(uv).tolist() == [False, True, True]


def test_points_are_found_again_after_steps_that_are_too_wide_to_track() -> None:
    poses = _rolling(4)
    chains = chain_points([planes.look(pose)[2][..., 0] for pose in poses], max_points=300)
    assert chains.keyframes == [0, 1, 2, 3]
    seen = np.isfinite(chains.uv[..., 0])
    assert seen.sum(0).min() >= 2
    for a, b in ((0, 1), (2, 3), (0, 2)):
        shared = chains.shared(a, b)
        assert len(shared) >= 40, f"{a} and {b} share {len(shared)} points"
        u, v = np.rint(chains.uv[a, shared]).astype(int).T
        off = chains.uv[b, shared] - chains.uv[a, shared] - planes.exact_flow(poses[a], poses[b])[v, u]
        # A pixel's slip of the place in the picture rolled against it; wrong matches are off by tens of pixels.
        assert np.quantile(np.linalg.norm(off, axis=1), 0.9) < 1.5


def test_a_track_is_never_in_two_places_of_a_frame() -> None:
    tracks = _Tracks()
    tracks.join(0, 1, np.array([[5, 6], [7, 8]]))
    tracks.join(1, 2, np.array([[6, 9]]))
    tracks.join(0, 2, np.array([[7, 9]]))  # would put 5 and 7 of frame 0 into one track
    assert sorted(tracks.views, key=len) == [{0: 7, 1: 8}, {0: 5, 1: 6, 2: 9}]


def test_features_are_extracted_and_matched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = {"sift": 0, "match": 0}

    def count(name: str) -> None:
        plain = getattr(picture_features, name)

        def counting(*given: object, **named: object) -> object:
            counted[name] += 1
            return plain(*given, **named)

        monkeypatch.setattr(picture_features, name, counting)

    count("sift")
    count("match")
    poses = _rolling(4)
    grays = [planes.look(pose)[2][..., 0] for pose in poses]
    features = PictureFeatures(grays)
    chains = chain_points(grays, max_points=300, features=features)
    assert counted == {"sift": 4, "match": 6}
    reconstruct(chains, grays, known_intrinsics=planes.INTRINSICS, features=features)
    assert counted == {"sift": 4, "match": 6}


def test_few_matches_that_agree_by_chance_are_not_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    place = rng.uniform(0, 150, (60, 2)).astype(np.float32)
    features = PictureFeatures([np.zeros(SIZE, np.uint8)] * 2)
    rows = np.stack([np.arange(60)] * 2, 1)
    for right, expected in ((60, 60), (20, 0), (0, 0)):
        there = place + [12, 3]
        there[right:] = rng.uniform(0, 150, (60 - right, 2))
        features._features = {0: (place, place), 1: (there.astype(np.float32), there)}
        features._matches = {(0, 1): rows}
        assert len(features.sure_matches(0, 1)) == expected
    features.refine([0, 1])
    assert not features.is_fine(0)  # extracted before, and what was matched with it stays
    assert wide_matches(features, [0, 1])[1][0, 1].shape == (60, 2)


def _world(count: int = 8) -> tuple[Structure, Chains, list[MatchedPair], list[np.ndarray]]:
    """A structure without error, and the exact matches of all its pairs."""
    rng = np.random.default_rng(1)
    poses = planes.handheld(count, reach=1.0)
    xyz = rng.uniform([-1, -1, 2], [1.5, 1, 6], (200, 3))
    here = np.einsum("tij,nj->tni", poses[:, :3, :3], xyz) + poses[:, None, :3, 3]
    uv = here @ planes.INTRINSICS.T
    uv = (uv[..., :2] / uv[..., 2:]).astype(np.float32)
    chains = Chains(uv, list(range(count)), *SIZE)
    rows = np.stack([np.arange(200)] * 2, 1)
    pairs = [MatchedPair(a, b, np.eye(3), rows) for a in range(count) for b in range(a + 1, count)]
    valid, doubt = np.ones(count, bool), np.zeros(count, np.uint8)
    return Structure(planes.INTRINSICS, 0.0, poses, valid, xyz, 5.0, doubt), chains, pairs, list(uv)


def test_a_structure_on_which_neighbours_agree_stays_whole() -> None:
    structure, chains, pairs, keypoints = _world()
    (same,) = agreeing_parts(structure, chains, pairs, keypoints)
    assert same is structure


def test_a_structure_is_cut_where_neighbours_contradict_it() -> None:
    structure, chains, pairs, keypoints = _world()
    turn = planes.poses(np.array([[3.0, 0.0, 1.0]]), np.array([[0.3, 1.8, 0.5]]))[0]
    poses = structure.cam_from_world.copy()
    poses[5:] = poses[5:] @ invert(turn)  # as if a wrong match had placed the last three elsewhere
    wrong = replace(structure, cam_from_world=poses)
    parts = agreeing_parts(wrong, chains, pairs, keypoints)
    assert [np.flatnonzero(part.valid).tolist() for part in parts] == [[0, 1, 2, 3, 4], [5, 6, 7]]
    held = np.array([np.isfinite(part.xyz[:, 0]) for part in parts])
    assert (held.sum(0) <= 1).all()  # a point that both kept would join them again
    assert np.isnan(parts[1].cam_from_world[:5]).all()


def test_a_few_points_make_no_structure() -> None:
    _, chains, _, _ = _world()
    few = Chains(chains.uv[:, :40], chains.keyframes, *SIZE)
    blank = [np.zeros(SIZE, np.uint8)] * len(chains.uv)
    assert len(reconstruct(chains, blank, known_intrinsics=planes.INTRINSICS)) == 1
    assert reconstruct(few, blank, known_intrinsics=planes.INTRINSICS) == []
