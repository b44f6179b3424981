"""Which structures can be trusted: what they explain, whether near and far are told apart, and whether the lens is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from geoflow.fields import DOUBT_FAR_OFF, DOUBT_FOCAL, DOUBT_NONE
from geoflow.geometry.motion.assumed_lens import assumed_lens
from geoflow.geometry.motion.bundle import LEAST_VIEWS, Bundle
from geoflow.geometry.motion.camera_motion import Chains
from geoflow.geometry.motion.focal_error import MOST_FOCAL_ERROR, UNSURE_FOCAL, PosedPoints, focal_error
from geoflow.geometry.motion.starts import gain_of_free_lens, lead_over_mirror, windows
from geoflow.geometry.rigid import invert

if TYPE_CHECKING:
    from geoflow.geometry.motion.structure import Structure

LEAST_LEAD = 0.02  # of misfit over the mirror image; films made to be mistaken show no right world below 0.015
_LEAST_ON_PATH, _FAR_OFF = 5, 6.0  # frames; times the extent of the path


def trusted(structures: list[Structure], chains: Chains, *, focal: bool) -> list[Structure]:
    """Return the structures that explain their pictures, with what they lead their mirror images by."""
    explaining = [s for s in structures if s.angle_deg >= 1.0 and explained_share(s, chains) >= 0.3]
    return [replace(s, lead=_lead(s, chains, focal=focal)) for s in explaining]


def with_told_lens(
    structures: list[Structure],
    map_again: Callable[[np.ndarray], list[Structure]],
    chains: Chains,
    stated_focal: float | None,
) -> list[Structure]:
    """Return structures of a free lens with the error of their focal length; with an assumed lens if it is not told.

    It is not told if its error exceeds that of an assumption, or if no mapping with a free lens explains its pictures.
    If no assumption can be kept either, the structures whose lens is not told are withdrawn.
    An assumption that the pictures refute is not kept, and a world that is not told from its mirror image is never
    rescued by an assumption: a wrong lens may favour either.
    """
    structures = [_with_focal_error(s, chains) for s in structures]
    assumed = assumed_lens(chains.height, chains.width, stated_focal)
    if structures and structures[0].focal_error <= assumed.error:
        return structures
    if any(s.lead <= LEAST_LEAD for s in structures):
        return structures
    again = [replace(s, focal_error=assumed.error, lens=assumed.doubt) for s in map_again(assumed.intrinsics)]
    again = [s for s in again if s.lead > LEAST_LEAD and _lens_is_open(s, chains)]
    told = [s for s in structures if s.focal_error <= assumed.error]
    if again and _posed(again) >= _posed(told):
        return again
    return [s if s.focal_error <= assumed.error else withdrawn(s, DOUBT_FOCAL) for s in structures]


def _posed(structures: list[Structure]) -> int:
    return sum(int(s.valid.sum()) for s in structures)


def _with_focal_error(structure: Structure, chains: Chains) -> Structure:
    keys = [t for t in chains.keyframes if structure.valid[t]]
    posed = PosedPoints(
        chains.uv[keys], structure.intrinsics, structure.radial, structure.cam_from_world[keys], structure.xyz
    )
    error = min(focal_error(posed), MOST_FOCAL_ERROR)
    return replace(structure, focal_error=error, lens=DOUBT_FOCAL if error > UNSURE_FOCAL else DOUBT_NONE)


def withdrawn(structure: Structure, reason: int) -> Structure:
    """Return a structure without valid frames; `reason` is one of geoflow.fields.DOUBT_*."""
    doubt = np.where(structure.valid, reason, DOUBT_NONE).astype(np.uint8)
    return replace(structure, valid=np.zeros_like(structure.valid), doubt=doubt)


def on_path(structure: Structure) -> Structure:
    """Return a structure in which frames far off the path of the others have no pose."""
    off = far_off(structure.cam_from_world)
    poses = np.where(off[:, None, None], np.nan, structure.cam_from_world)
    doubt = np.where(off, DOUBT_FAR_OFF, structure.doubt).astype(np.uint8)
    return replace(structure, cam_from_world=poses, valid=structure.valid & ~off, doubt=doubt)


def far_off(cam_from_world: np.ndarray) -> np.ndarray:
    """Return which poses (T, 4, 4) lie far off the path of the others, (T,) bool; NaN poses do not."""
    centres = invert(cam_from_world)[:, :3, 3]
    known = np.isfinite(centres).all(1)
    if known.sum() < _LEAST_ON_PATH:
        return np.zeros(len(centres), bool)
    away = np.linalg.norm(centres - np.median(centres[known], axis=0), axis=1)
    return known & (np.nan_to_num(away) > _FAR_OFF * np.quantile(away[known], 0.8))


def explained_share(structure: Structure, chains: Chains) -> float:
    """Return the share of the points seen in three or more posed keyframes that were triangulated."""
    posed = [t for t in chains.keyframes if structure.valid[t]]
    often = np.isfinite(chains.uv[posed, :, 0]).sum(0) >= 3
    return float(np.isfinite(structure.xyz[often, 0]).mean()) if often.any() else 0.0


def _lead(structure: Structure, chains: Chains, *, focal: bool) -> float:
    """Return how much better a structure explains some runs of its views than their mirror images do: the median.

    It is the least of them if some run is explained better by its mirror image: that part of the world is reversed.
    """
    leads = [lead_over_mirror(run, focal=focal) for run in _runs(structure, chains)]
    if not leads:
        return 0.0
    return float(np.median(leads)) if min(leads) > -LEAST_LEAD else min(leads)


def _lens_is_open(structure: Structure, chains: Chains) -> bool:
    """Return whether in no run of views another focal length explains the pictures clearly better.

    A wrong lens makes a world with wide angles from a camera that hardly moves; the pictures refute it.
    """
    gains = [gain_of_free_lens(run) for run in _runs(structure, chains)]
    return bool(gains) and max(gains) < LEAST_LEAD


def _runs(structure: Structure, chains: Chains) -> Iterator[Bundle]:
    """Yield some runs of a structure's views, with all points followed there."""
    posed = [t for t in chains.keyframes if structure.valid[t]]
    for run in windows(chains, posed, count=3):
        frames = [posed[k] for k in run]
        uv = chains.uv[frames].astype(np.float64)
        points = np.flatnonzero(np.isfinite(uv[..., 0]).sum(0) >= LEAST_VIEWS)
        yield Bundle(
            uv=uv[:, points],
            size=(chains.height, chains.width),
            intrinsics=structure.intrinsics.astype(np.float64),
            radial=structure.radial,
            cam_from_world=structure.cam_from_world[frames],
            xyz=structure.xyz[points],
            views=np.array(frames),
            points=points,
        ).triangulated()
