"""The consistency of a video's depth, measured without ground truth: from frame to frame, and at the seams."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np

from geoflow.evaluate.measures import relative_step
from geoflow.evaluate.pixels import depth_between, lift, sample_grid
from geoflow.geometry.rigid import invert
from geoflow.report import markup
from geoflow.report.curve_figure import bar_figure, curve_figure
from geoflow.report.markup import number, text
from geoflow.report.samples import Depths, Sample, depths_of
from geoflow.store.reader import Video
from geoflow.store.schema import SECONDS_PREFIX

_PIXELS = 4000  # pixels followed from a frame into the next one
_LEAST = 30  # pixels that must be known in both frames
_MOST_FLICKER = 50.0  # percent at the top of the drawing: one bad frame would flatten the others


def steps(a: Depths, b: Depths, intrinsics: np.ndarray, b_from_a: np.ndarray) -> dict[str, float]:
    """Return by branch the median relative step of depth from frame a to the next, b, beyond what the poses explain.

    Each is {branch: (H, W)}, 0 where unknown, as stored; intrinsics (3, 3) px of both. Pixels are carried by the depth
    of the geometry, or else of the camera, and by the poses. They are assumed to be static; the median tolerates a few
    that are not. Branches that know fewer than 30 of the pixels are left out.
    """
    guide = next((a[name] for name in ("geometry", "camera") if name in a), None)
    if guide is None or not (np.isfinite(b_from_a).all() and np.isfinite(intrinsics).all()):
        return {}
    height, width = guide.shape
    pixels = sample_grid(height, width, _PIXELS)
    pixels = pixels[guide.ravel()[pixels] > 0]
    z_a = guide.ravel()[pixels].astype(np.float64)
    xyz = lift(z_a, pixels, width, intrinsics) @ b_from_a[:3, :3].T + b_from_a[:3, 3]
    z_b = xyz[:, 2]
    uv = (xyz @ intrinsics.T)[:, :2] / np.where(z_b > 0, z_b, 1)[:, None]
    inside = (z_b > 0) & (uv >= 0).all(1) & (uv <= [width - 1, height - 1]).all(1)
    found = {}
    for name in a:
        before, after = a[name].ravel()[pixels[inside]], depth_between(b[name], uv[inside])
        both = (before > 0) & (after > 0)
        if both.sum() >= _LEAST:
            step = relative_step(before[both], after[both], z_a[inside][both], z_b[inside][both])
            found[name] = float(np.median(step))
    return found


class Consistency:
    """Coverage and flicker of the frames shown, collected one frame at a time."""

    def __init__(self, video: Video) -> None:
        self._video, self._depths = video, depths_of(video)
        self._frames: list[int] = []
        self._coverage: dict[str, list[float]] = defaultdict(list)
        self._flicker: dict[str, list[float]] = defaultdict(list)

    def add(self, sample: Sample) -> None:
        """Add a frame; the frame after it is read, too."""
        self._frames.append(sample.i)
        found = self._steps_from(sample)
        for name, depth in sample.depths.items():
            self._coverage[name].append(100 * float((depth > 0).mean()))
            self._flicker[name].append(100 * found.get(name, np.nan))

    def _steps_from(self, sample: Sample) -> dict[str, float]:
        video, i = self._video, sample.i
        cameras = video.cameras
        if cameras is None or i + 1 >= len(video) or not cameras.valid[i : i + 2].all():
            return {}
        intrinsics = video.intrinsics[i] if "geometry/intrinsics" in video.file else cameras.intrinsics[i]
        b_from_a = cameras.cam_from_world[i + 1] @ invert(cameras.cam_from_world[i])
        depths = sample.depths
        if sample.factor is not None:  # as stored, so that the prior's own scale counts
            depths = {**depths, "prior": depths["prior"] / np.float32(sample.factor)}
        after = {name: depth[i + 1] for name, depth in self._depths.items()}
        return steps(depths, after, intrinsics.astype(np.float64), b_from_a.astype(np.float64))

    def html(self) -> str:
        """Return the section; "" if nothing was measured."""
        if not self._coverage:
            return ""
        frames = self._video.frame_index[self._frames].astype(float)
        lines = {name: np.array(line) for name, line in self._coverage.items()}
        flicker = {name: np.array(line) for name, line in self._flicker.items()}
        seams = _shared(self._video, self._frames)
        drawn = [
            curve_figure("Pixels with depth", frames, lines, unit=" %", seams=seams),
            curve_figure("Flicker, median", frames, flicker, unit=" %", seams=seams, top=_MOST_FLICKER),
            seam_figure(self._video),
        ]
        body = "".join(f"<div>{figure}</div>" for figure in drawn if figure)
        note = (
            "Flicker: how much the depth of a surface changes from one frame to the next beyond what the cameras "
            "explain; no ground truth is needed for it. The prior's includes its free scale."
            if drawn[1]
            else "Flicker is not measured: it needs two frames in a row with poses and depth."
        )
        return (
            f'<section id="consistency"><h2>Consistency</h2><div class="curves">{body}</div>'
            f'<p class="soft">{text(note)}</p>{segment_table(self._video)}</section>'
        )


def _shared(video: Video, frames: list[int]) -> list[tuple[int, int]]:
    """Return where two segments overlap, as positions in `frames`."""
    rows = video.segments
    places = [np.searchsorted(frames, (b["start"], a["stop"])) for a, b in pairwise(rows)]
    return [(int(start), int(stop)) for start, stop in places if stop > start]


def seam_figure(video: Video) -> str:
    """Return the residual at each seam as a bar; "" for fewer than two seams, which the table shows as well."""
    rows = [row for row in video.segments[1:] if np.isfinite(row["seam_residual"])]
    if len(rows) < 2:
        return ""
    index = video.frame_index
    places = index[[min(int(row["start"]), len(index) - 1) for row in rows]].astype(float)
    values = np.array([100 * row["seam_residual"] for row in rows])
    ends = (float(index[0]), float(index[-1]))
    return bar_figure("Seam residual, relative gap of depth", places, values, ends, unit=" %")


def segment_table(video: Video) -> str:
    """Return a table with a row for each segment of the video."""
    head = ["segment", "frames", "state", "scale", "seam residual", "work", "ladder", "remarks"]
    rows = []
    for row in video.segments:
        work = [value for key, value in row.items() if key.startswith(SECONDS_PREFIX) and np.isfinite(value)]
        state = str(row["status"])
        rows.append(
            [
                text(row["index"]),
                f"{row['start']} to {row['stop'] - 1}",
                f'<span class="{"good" if state == "complete" else "warn"}">{text(state)}</span>',
                number(row["scale"], 3),
                number(100 * row["seam_residual"], 2, " %"),
                markup.duration(sum(work)),
                text(_plain(row["ladder"])),
                text(_plain(row["notes"])),
            ]
        )
    kinds = ["number", "", "", "number", "number", "number", "", "wide"]
    return f"<h3>Segments</h3>{markup.table(head, rows, kinds, 'segments')}"


def _plain(dump: str) -> str:
    """Return the JSON text; "" for an empty list or object."""
    return markup.MISSING if dump in ("[]", "{}") else dump.strip("[]{}").replace('"', "")
