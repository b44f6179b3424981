"""Why a figure could not be measured: a sentence for every dash in the tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from geoflow.evaluate.depth import ORDERED_PIXELS, RELIEF, Curves
from geoflow.evaluate.prediction import Prediction
from geoflow.evaluate.queried_tracks import NO_TRACKS
from geoflow.evaluate.scores import Scores
from geoflow.evaluate.trajectory import align_worlds
from geoflow.evaluate.truth import Truth

_NO_POSES = "the truth has no camera poses"
_NO_INTRINSICS = "the truth has no intrinsics"
_NOT_METRIC = "the truth is not in metres"
_STANDS = "the true camera does not travel"
_ONE_SEGMENT = "the store holds one segment, and no seam"
_DEPTHS = ("prior", "geometry", "camera", "constant_plane")
_POSES = ("poses", "identity_pose")


def unscored(
    scores: Scores, prediction: Prediction, truth: Truth, curves: Mapping[str, Curves], motion: str | None
) -> dict[str, str]:
    """Return a sentence for every figure of `scores` that is not a number, and for every row that is None.

    The keys are those of `Scores.to_dict`, with a dot between row and figure: "geometry.flicker", "tracks". `curves`
    are the depth curves by branch, with those of the constant plane; `motion` is the true one, None if unknown.
    """
    found: dict[str, str] = {}
    explain = _Explanations(prediction, truth, curves, motion)
    for row in (*_DEPTHS, *_POSES, "tracks", "motion"):  # `point_tracks` has its own
        values = getattr(scores, row)
        if values is None:
            found[row] = explain.row(row)
            continue
        for name, value in asdict(values).items():
            if value is None or (isinstance(value, float) and not math.isfinite(value)):
                found[f"{row}.{name}"] = explain.figure(row, name, scores)
    return found


@dataclass(frozen=True)
class _Explanations:
    """The reasons, most general first: what the truth lacks, then what the store lacks, then what they do not share."""

    prediction: Prediction
    truth: Truth
    curves: Mapping[str, Curves]
    motion: str | None

    def row(self, row: str) -> str:
        if row == "tracks":
            return self._no_tracks()
        if row == "motion":
            return "the store does not say what the camera does"
        return "the store holds no camera poses" if row == "poses" else f"the store holds no depth of the {row}"

    def figure(self, row: str, name: str, scores: Scores) -> str:
        if name == "focal_error":
            return self._focal(row)
        if row in _DEPTHS:
            return self._depth(row, name)
        if row in _POSES:
            return self._pose(row, name)
        if row == "tracks":
            return self._track(name, scores)
        return "the truth does not say what the camera does"

    def _depth(self, row: str, name: str) -> str:
        if name == "invented":
            return (
                "the true camera moves, so its depth can be seen"
                if self.motion == "moving"
                else "the truth does not say whether the camera moves"
            )
        if name.startswith("seam") and not self.prediction.seams():
            return _ONE_SEGMENT
        if (missing := self._no_true_depth() or self._nothing_common(row)) is not None:
            return missing
        if name in ("spearman", "spearman_worst", "reversed_frames"):
            return self._no_order(row)
        if name in ("point_rel", "point_inliers"):
            return self._no_points(row)
        if name.startswith(("flicker", "seam")):
            return self._no_change(name)
        if name == "scale_drift":
            return "fewer than two frames have common pixels"
        return "too few pixels have a depth in the store and a true depth to find one scale"

    def _no_true_depth(self) -> str | None:
        if self._deep.any():
            return None
        if not self.truth.any_depth():
            return "the truth has no depth"
        if self.truth.same_size:
            return "the truth has depth, but at none of the pixels sampled"
        true, store = ("x".join(map(str, size[::-1])) for size in (self.truth.true_size, self.truth.size))
        return (
            f"the truth has depth, but none at the centres of the pixels of the store: truth {true}, store {store},"
            " and pixels between are not compared; make the store at the truth's size"
        )

    def _nothing_common(self, row: str) -> str | None:
        """None if the branch has depth at some pixel with a true depth."""
        curves = self.curves[row]
        if (curves["coverage"] > 0).any():
            return None
        stored = curves["filled"] > 0
        if not stored.any():
            return f"the store's depth of the {row} is empty"
        if not (stored & self._deep).any():
            return (
                f"no frame has both a depth in the store and a true depth: the store has {stored.sum()} such frames, "
                f"the truth {self._deep.sum()}"
            )
        return "no pixel has both a depth in the store and a true depth"

    def _no_order(self, row: str) -> str:
        if row == "constant_plane":
            return "a plane of one depth has no order"
        return (
            f"in no frame do {ORDERED_PIXELS} common pixels or more differ in depth, and in true depth by "
            f"{100 * RELIEF:.0f} percent"
        )

    def _no_points(self, row: str) -> str:
        if row == "constant_plane":
            return "the constant plane is a baseline for depth, not for points"
        branch = self.prediction.branches[row]
        if not np.isfinite(self.truth.intrinsics).all((1, 2)).any():
            return _NO_INTRINSICS
        if branch.points is None and (branch.intrinsics is None or not np.isfinite(branch.intrinsics).any()):
            return f"the store holds no points and no intrinsics of the {row}"
        return "no frame with common pixels has points in the store and true intrinsics"

    def _no_change(self, name: str) -> str:
        if not self.truth.posed.any():
            return _NO_POSES
        if not self.truth.located.any():
            return _NO_INTRINSICS
        if name == "flicker" and self.prediction.num_frames < 2:
            return "one frame has no change over time"
        if name == "flicker":
            return "no two neighbouring frames within a segment share a static point with both depths"
        return "no static point with both depths is seen before and after a seam"

    def _focal(self, row: str) -> str:
        if row in ("constant_plane", "identity_pose"):
            return "this baseline has no focal length"
        if not np.isfinite(self.truth.intrinsics).any():
            return _NO_INTRINSICS
        name = "camera" if row == "poses" else row
        stored = self.prediction.array(f"{name}/intrinsics")
        if stored is None or not np.isfinite(stored).any():
            return f"the store holds no intrinsics of the {name}"
        return f"no frame has both true intrinsics and intrinsics of the {name} in the store"

    def _pose(self, row: str, name: str) -> str:
        truth, found = self.truth, self.prediction.poses()
        if not truth.posed.any():
            return _NO_POSES
        if name == "path_length_m":
            return _NOT_METRIC if not truth.metric else "the truth has the pose of one frame only"
        oriented = valid = np.ones(len(truth.posed), bool)
        if row == "poses" and found is not None:
            oriented, valid = np.isfinite(found[0][:, :3, :3]).all((1, 2)), found[1]
        if name == "rotation_deg" or (name == "rpe_rotation_deg" and not (oriented & truth.posed).any()):
            return "no frame has both a rotation in the store and a true pose"
        if (common := int((valid & truth.posed).sum())) < 3:
            return f"a path needs three frames with a pose in the store and a true pose; there are {common}"
        if name in ("ate_m", "rpe_translation_m") and not truth.metric:
            return _NOT_METRIC
        return _STANDS if not truth.travels else f"{_STANDS} in the frames that the store has a pose of"

    def _no_tracks(self) -> str:
        if self.prediction.tracks() is None:
            return NO_TRACKS
        if not self.truth.posed.any():
            return _NO_POSES
        return self._no_true_depth() or _NO_INTRINSICS

    def _track(self, name: str, scores: Scores) -> str:
        if not scores.tracks or not scores.tracks.tracks:
            return "no track starts at a static surface whose true place is known"
        if name == "lasting_kept":
            if not self.truth.located.all():
                return "the truth does not know the camera of every frame"
            return "no point of a track is in view from its query to the end of the video"
        poses = self.prediction.poses()
        if name.startswith("error") and poses is None:
            return "the store holds no camera poses"
        if name.startswith("error") and poses is not None and align_worlds(*poses, self.truth) is None:
            return "the camera path cannot be aligned with the true one: it is too short, or the camera does not travel"
        if name == "error_m" and not self.truth.metric:
            return _NOT_METRIC
        return "no track on a static surface is visible in a frame with a true pose"

    @property
    def _deep(self) -> np.ndarray:
        """Which frames (T,) have a true depth at the pixels compared."""
        return np.isfinite(self.curves["constant_plane"]["coverage"])


def sentences(reasons: Mapping[str, str], headings: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Gather reasons for the notes of a table: those figures first that share one.

    `headings` are the rows of the tables, as {row: {figure: heading}}; figures without a heading are not in the tables,
    and are left out. A row is named if another row with this figure has a number, or another reason.
    """
    figures: dict[str, dict[str, list[str]]] = {}
    for key, reason in reasons.items():
        row, _, name = key.partition(".")
        if row not in headings or (name and name not in headings[row]):
            continue
        heading = headings[row][name] if name else ""
        figures.setdefault(reason, {}).setdefault(heading, []).append(row.replace("_", " "))
    for reason, found in figures.items():
        said: list[str] = []
        by_rows: dict[tuple[str, ...], list[str]] = {}
        for heading, rows in found.items():
            by_rows.setdefault(tuple(rows), []).append(heading)
        for where, names in by_rows.items():
            named = ", ".join(name for name in names if name)
            said.append(f"{named} ({', '.join(where)})" if named else ", ".join(where))
        yield f"no {'; no '.join(said)}: {reason}"
