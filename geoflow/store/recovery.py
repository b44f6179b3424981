"""Recovery: what was recovered of a video, and what was not and why, in one sentence. Only this module computes it.

The store holds the sentence as an attribute; the console, `geoflow status`, the index and the report show it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from geoflow.store.notes import read_without
from geoflow.store.remarks import doubtful_poses, reasons_without_pose

if TYPE_CHECKING:
    from geoflow.store.reader import Video

_HARDLY = 0.01  # share of the pixels that counts as no depth
_MOST_REASONS = 2
_FRAMES_AT_ONCE = 64


@dataclass(frozen=True)
class Recovery:
    """Counts of a store's contents; None if no stage looked for it in any segment."""

    frames: int
    posed: int | None  # frames with a full pose
    depth: float | None  # share of all pixels, 0..1, from the slot `geometry`
    camera_depth: float | None  # the same from the slot `camera`
    tracks: int | None  # with a place in the world
    hands: int | None  # frames with a hand
    segments: int
    unjoined: int  # segments that could not be connected to the segments before
    objects: int | None = None  # that have a label or a mesh
    meshes: int = 0
    without_mesh: Mapping[int, str] = field(default_factory=dict)  # object -> why it has none
    prior_depth: float | None = None  # the share that the slot `prior` gives
    camera_tracks: int = 0  # if none has a place in the world, those with a place before the camera
    doubtful: int = 0  # frames whose pose should not be believed
    quality: float | None = None  # of the poses, 0..1: the median; None if it is not stated, or there are no poses
    unposed: Mapping[str, int] = field(default_factory=dict)  # reason -> frames
    without: Mapping[str, tuple[int, str]] = field(default_factory=dict)  # slot -> segments it is missing in, why
    cheaper: Mapping[str, int] = field(default_factory=dict)  # slot -> segments it did below its full settings

    @property
    def lacking(self) -> str:
        """Return what a user may expect and is missing in all or in part: names separated by commas, "" if nothing."""
        shares = [share for share in (self.depth, self.camera_depth) if share is not None]
        depth = max(shares, default=self.prior_depth)  # if no stage builds on the prior, the prior alone was wanted
        missing = {
            "poses": self.posed is not None and self.posed < self.frames,
            "depth": depth is not None and depth < _HARDLY,
            "tracks": self.tracks == 0,
            "objects": self.objects == 0,
            "meshes": bool(self.without_mesh),
            **{f"{slot} (not computed)": True for slot in self.without},
        }
        return ", ".join(name for name, true in missing.items() if true)

    @property
    def sentence(self) -> str:
        """Return a sentence on what there is, what is missing, and why; frames and pixels count for the whole video."""
        found = [*self._poses(), *self._depth(), *self._tracks(), *self._hands(), *self._objects()]
        if not found:
            found = ["frames only"]
        elif not any(self._any_found()):
            found = ["nothing recovered: " + found[0], *found[1:]]
        return "; ".join([", ".join(found), *self._reasons()])

    def _any_found(self) -> tuple[float | None, ...]:
        maps = (self.depth, self.camera_depth, self.prior_depth)
        return (self.posed, *maps, self.tracks, self.camera_tracks, self.hands, self.objects)

    def _poses(self) -> list[str]:
        if self.posed is None:
            return []
        if self.posed in (0, self.frames):
            return ["no frame posed" if not self.posed else f"all {self.frames} frames posed"]
        return [f"{self.posed} of {self.frames} frames posed ({_percent(self.posed / self.frames)})"]

    def _depth(self) -> list[str]:
        if self.depth is None and self.camera_depth is None:
            prior = f"depth of each frame by itself in {_percent(self.prior_depth)} of the pixels"
            return [] if self.prior_depth is None else [prior if self.prior_depth else "no depth"]
        said = [f"depth in {_percent(self.depth)} of the pixels"] if self.depth else []
        if not said and self.camera_depth:
            said = ["no depth of the slot geometry"] if self.depth is not None else []
            said.append(f"multi-view depth in {_percent(self.camera_depth)} of the pixels")
        return said or ["no depth"]

    def _tracks(self) -> list[str]:
        if self.tracks == 0 and self.camera_tracks:
            return [f"{self.camera_tracks} track{'s' * (self.camera_tracks != 1)} in camera space, none in the world"]
        return [] if self.tracks is None else [f"{self.tracks or 'no'} track{'s' * (self.tracks != 1)}"]

    def _hands(self) -> list[str]:
        if self.hands is None:
            return []
        return [f"hands in {_number(self.hands)}" if self.hands else "no hands found"]

    def _objects(self) -> list[str]:
        if self.objects is None:
            return []
        said = f"{self.objects} object{'s' * (self.objects != 1)}" if self.objects else "no objects found"
        meshes = f"{self.meshes} mesh{'es' * (self.meshes != 1)}"
        return [said, meshes] if self.meshes or self.without_mesh else [said]

    def _reasons(self) -> list[str]:
        why = sorted(self.unposed.items(), key=lambda row: -row[1])
        said = [
            reason if count == self.frames else f"in {_number(count)} {reason}" for reason, count in why[:_MOST_REASONS]
        ]
        if more := sum(count for _, count in why[_MOST_REASONS:]):
            said.append(f"other reasons in {_number(more)}")
        if self.doubtful:
            many = self.doubtful != 1
            said.append(f"the pose{'s' * many} of {_number(self.doubtful)} {'are' if many else 'is'} doubtful")
        if self.prior_depth == 0 and not (self.depth or self.camera_depth):
            said.append("the prior found nothing")
        if self.unjoined:
            said.append(f"{self.unjoined} of {self.segments} segments could not be joined to the rest")
        said += [f"object {number} has no mesh: {reason}" for number, reason in self.without_mesh.items()]
        for slot, (count, reason) in self.without.items():
            where = "" if count == self.segments else f" in {count} of {self.segments} segments"
            said.append(f"{slot} not computed{where}: {reason}")
        for slot, count in self.cheaper.items():
            where = "" if count == self.segments else f" in {count} of {self.segments} segments"
            said.append(f"{slot} with cheaper settings{where}")
        return said


def recovery_of(video: Video, coverage: Mapping[str, float] | None = None) -> Recovery:
    """Count what an open store holds.

    `coverage` is the share of pixels in `geometry/mask`, `camera/depth` and `prior/mask`, if the caller has counted
    them already. Otherwise every frame of these is read.
    """
    posed, unposed, doubtful, quality = None, Counter[str](), 0, None
    if (cameras := video.cameras) is not None:
        posed, doubtful = int(cameras.valid.sum()), doubtful_poses(cameras)
        if cameras.quality is not None and posed:
            quality = float(np.median(cameras.quality[cameras.valid]))
        unposed.update(reason for reason in reasons_without_pose(cameras, video.views) if reason)
    hands = None
    if (held := video.hands) is not None:
        hands = [h.valid.reshape(len(video), -1).any(1) for h in (held.left, held.right, held.all) if h is not None]
    tracks, objects = video.tracks, video.objects
    in_world = None if tracks is None else int(np.isfinite(tracks.query).all(1).sum())
    without: dict[str, tuple[int, str]] = {}
    cheaper = Counter[str]()
    for row in video.segments:
        for slot, reason in read_without(json.loads(row["notes"])).items():
            without[slot] = without.get(slot, (0, reason))[0] + 1, without.get(slot, (0, reason))[1]
        cheaper.update(slot for slot, level in json.loads(row["ladder"]).items() if level)

    def share(name: str, count: Callable[[int], float]) -> float | None:
        if name not in video.file:
            return None
        known = (coverage or {}).get(name)
        return float(np.mean([count(i) for i in range(len(video))])) if known is None else known

    return Recovery(
        frames=len(video),
        posed=posed,
        depth=share("geometry/mask", lambda i: float(video.mask[i].mean())),
        camera_depth=share("camera/depth", lambda i: float((video.camera_depth[i] > 0).mean())),
        prior_depth=share("prior/mask", lambda i: float(video.file["prior/mask"][i].mean())),
        tracks=in_world,
        camera_tracks=_in_camera(video) if in_world == 0 else 0,
        hands=None if hands is None else int(np.logical_or.reduce(hands).sum()),
        objects=None if objects is None else len(objects),
        meshes=0 if objects is None else sum(row.has_mesh for row in objects.values()),
        without_mesh={n: row.without for n, row in objects.items() if row.without} if objects is not None else {},
        segments=len(video.segments),
        unjoined=sum(np.isnan(row["scale"]) for row in video.segments),
        doubtful=doubtful,
        quality=quality,
        unposed=dict(unposed),
        without=without,
        cheaper=cheaper,
    )


def _in_camera(video: Video) -> int:
    """Count the tracks with a place before the camera in some frame, a few frames at a time."""
    if (places := video.file.get("tracks/camera_xyz")) is None:
        return 0
    found = np.zeros(places.shape[1], bool)
    for start in range(0, len(places), _FRAMES_AT_ONCE):
        found |= np.isfinite(places[start : start + _FRAMES_AT_ONCE]).all(2).any(0)
    return int(found.sum())


def _percent(share: float | None) -> str:
    """Write a share in percent: never 0 % of something, and never 100 % of less than all."""
    share = share or 0.0
    if 0 < share < 0.01:
        return "under 1 %"
    return "over 99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def _number(count: int) -> str:
    return f"{count} frame{'s' * (count != 1)}"
