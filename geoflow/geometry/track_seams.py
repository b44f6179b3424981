"""The seam between two segments for points: a point that both follow fades from the one's places to the other's."""

from __future__ import annotations

import numpy as np

from geoflow.geometry.alignment import fade_weights

Fields = dict[str, np.ndarray]

ID, VISIBLE = "tracks.id", "tracks.visible"
_PLACES = ("tracks.xyz", "tracks.uv", "tracks.camera_xyz")
PER_FRAME = (*_PLACES, VISIBLE)


def kept_points(fields: Fields, first: int) -> Fields:
    """Return copies of what is needed of a segment's points to fade them into the next: frames from `first` on."""
    if ID not in fields or first >= len(fields[VISIBLE]):
        return {}
    seen = np.isfinite(fields["tracks.uv"][first:]).all(-1).any(0)
    seen |= np.isfinite(fields["tracks.xyz"][first:]).all(-1).any(0)
    return {ID: fields[ID][seen].copy()} | {n: fields[n][first:, seen].copy() for n in PER_FRAME if n in fields}


def faded_points(held: Fields, fields: Fields, shared: int) -> Fields:
    """Return the points' fields of a segment, new arrays, in which points of `held` fade in over the `shared` frames.

    A place or pixel that both know is mixed; one that only one knows is taken from it. Whether a point is visible is
    said by the segment that knows its place; if both do, by the one that extends further beyond the frame.
    """
    if not shared or ID not in held or ID not in fields:
        return {}
    _, before, now = np.intersect1d(held[ID], fields[ID], return_indices=True)
    weight = fade_weights(shared)[:, None]
    placed = [
        np.isfinite(part["tracks.xyz"][:shared][:, rows]).all(-1) for part, rows in ((held, before), (fields, now))
    ]
    result = {name: fields[name].copy() for name in PER_FRAME if name in held and name in fields}
    for name in [name for name in _PLACES if name in result]:
        old, new = held[name][:, before], fields[name][:shared][:, now]
        mixed = (1 - weight[..., None]) * old + weight[..., None] * new
        mixed = np.where(np.isfinite(mixed), mixed, np.where(np.isfinite(new), new, old))
        result[name][:shared, now] = mixed.astype(result[name].dtype)
    later = placed[1] & (~placed[0] | (weight >= 0.5))
    result[VISIBLE][:shared, now] = np.where(later, fields[VISIBLE][:shared][:, now], held[VISIBLE][:, before])
    return result
