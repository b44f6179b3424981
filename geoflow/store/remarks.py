"""Sentences on what could not be recovered of a video, and why: for the report and for `geoflow info`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from geoflow.fields import (
    DOUBT_ASSUMED,
    DOUBT_FAR_OFF,
    DOUBT_FOCAL,
    DOUBT_REVERSED,
    DOUBT_STATED,
    DOUBT_UNMATCHED,
    GEOMETRY_OF_PRIOR,
    MOTION_MOVING,
    MOTION_ROTATING,
    MOTION_STILL,
    VIEW_BARE,
    VIEW_CUT,
)
from geoflow.store.camera_remarks import camera_remarks
from geoflow.store.object_remarks import object_remarks

if TYPE_CHECKING:
    from geoflow.store.lazy import Cameras
    from geoflow.store.reader import Video

_FEW = 5  # frames: with fewer, a camera cannot be expected to be found
_MOST = 12  # remarks; a film with many cuts would have too many
_UNLIKE = 0.05  # log ratio of two depths in metres; networks and known scales agree only to some percent
_HARDLY = 0.01  # of the pixels
_DOUBTS = {
    DOUBT_UNMATCHED: (
        "the camera moved, but too few points are seen in several views (blur, large steps, a low frame rate, crowds)"
    ),
    DOUBT_REVERSED: (
        "the camera moved, but near and far cannot be told apart there (a distant or flat scene, or too little motion)"
    ),
    DOUBT_FOCAL: (
        "the camera moved, but the pictures do not tell its focal length, and no assumed one explains them: give the "
        "true one with --intrinsics"
    ),
    DOUBT_FAR_OFF: "its pose lay far off the path of the others and was dropped",
}
_LENSES = {
    DOUBT_FOCAL: "the pictures hardly tell the focal length",
    DOUBT_STATED: "the pictures do not tell the focal length, and the poses rest on what the source states of its lens",
    DOUBT_ASSUMED: "the pictures do not tell the focal length, and the poses rest on an assumed one",
}
_DOUBTFUL = 0.3  # of quality, below which poses should not be believed


def remarks(video: Video) -> list[str]:
    """Return the source's notes, then a sentence for every range of frames without poses and for every cut.

    Frames count from 0.
    """
    state = None if video.objects is None else video.objects.state
    said = [*_cuts(video.views), *_hands_left_out(video), *object_remarks(state)]
    cameras = video.cameras
    if cameras is not None:
        said += _stretches(reasons_without_pose(cameras, video.views), len(video) <= _FEW, _depth_share(video))
        said += _doubtful(cameras)
        said += _lenses(cameras)
        said += camera_remarks(video.file, metric=video.metric)
    if "geometry/source" in video.file and "camera/depth" in video.file:
        said += _of_prior(video.file["geometry/source"][:])
    if len(said) > _MOST:
        said[_MOST:] = [f"{len(said) - _MOST} more stretches of frames have remarks like these."]
    return [*video.notes, *_units(video.segments, metric=video.metric), *said]


def _units(segments: Sequence[Mapping[str, Any]], *, metric: bool) -> Iterator[str]:
    """Yield what is unexpected about the unit of lengths, if a stage states metres."""
    if not metric and any("metric" in row for row in segments):
        yield (
            "Lengths are not in metres, although a stage states metres: it gave no result in the frames that set the "
            "video's scale."
        )
    ratios = [row["depth_ratio"] for row in segments if np.isfinite(row.get("depth_ratio", np.nan))]
    if ratios and abs(np.log(ratio := float(np.median(ratios)))) > _UNLIKE:
        yield (
            f"Depth of the camera stage is {ratio:.2f} times that of the geometry stage. Both state metres, so neither "
            "was scaled to the other."
        )


def doubtful_poses(cameras: Cameras) -> int:
    """Return the number of frames whose pose explains little of what is seen; 0 if no stage states it."""
    return 0 if cameras.quality is None else int((cameras.valid & (cameras.quality < _DOUBTFUL)).sum())


def _doubtful(cameras: Cameras) -> Iterator[str]:
    if count := doubtful_poses(cameras):
        yield (
            f"The poses of {count} frames explain less than {_DOUBTFUL:.0%} of the points followed there, or "
            "contradict the prior about what is near and far: use camera/quality to leave them out."
        )


def _lenses(cameras: Cameras) -> Iterator[str]:
    """Yield on how many frames the focal length is in doubt, and by how much; depth is then stretched by as much."""
    if cameras.doubt is None or cameras.focal_error is None:
        return
    for code, why in _LENSES.items():
        frames = cameras.valid & (cameras.doubt == code)
        if frames.any():
            focal, error = (float(np.nanmedian(x[frames])) for x in (cameras.intrinsics[:, 0, 0], cameras.focal_error))
            yield (
                f"In {int(frames.sum())} frames {why} ({focal:.0f} px, standard deviation {error:.0%}, see "
                "camera/focal_error): depth may be stretched by as much. --intrinsics gives the true one."
            )


def _of_prior(source: np.ndarray) -> Iterator[str]:
    """Yield how many frames have depth of the prior where a camera stage was to give it; `source` is geometry's."""
    count = int((source == GEOMETRY_OF_PRIOR).sum())
    if count:
        yield (
            f"The depth of geometry in {count} of {len(source)} frames is fused from the prior, which compares few "
            "views, because the camera stage has none there: use geometry/source to leave these frames out."
        )


def _hands_left_out(video: Video) -> Iterator[str]:
    """Yield in how many frames there were more hands than rows."""
    if video.hands is None or (hands := video.hands.all) is None:
        return
    more = hands.found > hands.valid.sum(1)
    if more.any():
        yield (
            f"Up to {hands.found[more].max()} hands were found in a frame, and hands.max_hands keeps "
            f"{hands.valid.shape[1]}: some are left out in {more.sum()} frames, and there may be more, since only two "
            "more are looked for."
        )


def _cuts(views: np.ndarray) -> Iterator[str]:
    for t in np.flatnonzero(views == VIEW_CUT):
        yield (
            f"The view changes completely at frame {t} (a cut): positions and scales before and after it are not "
            "related."
        )


def reasons_without_pose(cameras: Cameras, views: np.ndarray) -> np.ndarray:
    """Return why each frame has no full pose: (T,) of str, "" if it has one. `views` are those of `Video.views`."""
    if len(views) == 1 and not cameras.valid.any():
        return np.array(["a single picture shows no motion"], object)
    oriented = np.isfinite(cameras.cam_from_world[:, :3, :3]).all((1, 2))
    doubt = np.zeros(len(views), np.uint8) if cameras.doubt is None else cameras.doubt
    reason = np.array([_reason(*row) for row in zip(cameras.motion, oriented, views, doubt)], object)
    reason[cameras.valid] = ""
    return reason


def _reason(motion: int, oriented: bool, view: int, doubt: int) -> str:
    """Return why a frame has no full pose."""
    if doubt in _DOUBTS:
        return _DOUBTS[doubt]
    if motion == MOTION_STILL:
        return "the camera stood still"
    if motion == MOTION_ROTATING:
        known = "its rotation is known, its position is not" if oriented else "its angle is unknown: no focal length"
        return f"the camera only turned ({known})"
    if motion == MOTION_MOVING:
        known = " (only its rotation is known)" if oriented else ""
        return f"the camera moved, but its positions cannot be joined to the rest of the video{known}"
    if view == VIEW_BARE:
        return "there is too little texture to follow (bare surfaces, darkness or blur)"
    return (
        "the camera's motion is unknown: too little of the still scene can be followed (blur, fast motion, a low frame "
        "rate, crowds)"
    )


def _stretches(reason: np.ndarray, few: bool, depth: Callable[[int, int], float]) -> Iterator[str]:
    starts = [0, *(np.flatnonzero(reason[1:] != reason[:-1]) + 1), len(reason)]
    for start, stop in pairwise(starts):
        if stop > start and (why := reason[start]):
            where = f"Frame {start}" if stop == start + 1 else f"Frames {start} to {stop - 1}"
            bare = "" if depth(start, stop) > _HARDLY else "; there is no depth there"
            many = f" The video has only {len(reason)} frame{'s' * (len(reason) > 1)}." if few else ""
            yield f"{where}: {why}{bare}.{many}"


def _depth_share(video: Video) -> Callable[[int, int], float]:
    """Return the share of pixels with depth in frames [start, stop), estimated from some of them.

    Of the two branches it is the one with more depth.
    """

    def share(start: int, stop: int) -> float:
        frames = np.unique(np.linspace(start, stop - 1, 16).astype(int)).tolist()
        shares = [0.0]
        if "geometry/mask" in video.file:
            shares.append(float(np.mean([video.mask[i].mean() for i in frames])))
        if "camera/depth" in video.file:
            shares.append(float(np.mean([(video.camera_depth[i] > 0).mean() for i in frames])))
        return max(shares)

    return share
