"""The objects of a video: their labels over some frames, and what is known of each."""

from __future__ import annotations

import numpy as np

from geoflow.report import markup
from geoflow.report.markup import number, text
from geoflow.report.pictures import data_uri
from geoflow.report.samples import Sample
from geoflow.store.objects import Mesh, Object, Objects, colour_of
from geoflow.store.reader import Video

_PICTURES = 3  # frames shown with their labels
_STRENGTH = 0.55  # of a label's colour over the frame's


class ObjectsSection:
    """Collects the labels of the frames shown."""

    def __init__(self, video: Video) -> None:
        self._video, self._objects = video, video.objects
        self._figures: list[str] = []
        self._frames = 0
        self._seen: dict[int, int] = {}  # object -> in how many of the frames shown
        self._largest: dict[int, float] = {}  # object -> largest share of a frame's pixels

    def add(self, sample: Sample) -> None:
        objects = self._objects
        if objects is None or not objects.has_labels:
            return
        self._frames += 1
        label = objects.label[sample.i]
        pixels = np.bincount(label.ravel(), minlength=256)
        there = [int(n) for n in np.flatnonzero(pixels) if n]
        for n in there:
            self._seen[n] = self._seen.get(n, 0) + 1
            self._largest[n] = max(self._largest.get(n, 0.0), float(pixels[n]) / label.size)
        if there:
            self._figures.append(self._figure(sample, label, there))

    def html(self) -> str:
        """Return the section; "" without objects."""
        objects = self._objects
        if objects is None:
            return ""
        if not objects:
            return '<section id="objects"><h2>Objects</h2><p>No object was found in any frame.</p></section>'
        meshes = sum(row.has_mesh for row in objects.values())
        count = f"{len(objects)} object{'s' * (len(objects) != 1)}, {meshes} with a mesh."
        chosen = [self._figures[int(k)] for k in _spread(len(self._figures))]
        shown = f'<div class="plots">{"".join(chosen)}</div>' if chosen else ""
        return f'<section id="objects"><h2>Objects</h2><p>{count}</p>{shown}{self._table(objects)}</section>'

    def _figure(self, sample: Sample, label: np.ndarray, there: list[int]) -> str:
        rgb = np.full((*label.shape, 3), 128, np.uint8) if sample.rgb is None else sample.rgb
        frame = int(self._video.frame_index[sample.i])
        alt = f"frame {frame} with the labels of objects {', '.join(map(str, there))}"
        image = f'<img src="{data_uri(labelled(rgb, label))}" alt="{text(alt)}" decoding="async">'
        return f"<figure>{image}<figcaption>frame {frame}</figcaption></figure>"

    def _table(self, objects: Objects) -> str:
        unit = "m" if self._video.metric else "units"
        head = [
            "object",
            f"seen in, of {self._frames} frames",
            "largest share",
            "mesh",
            f"size, {unit}",
            f"moved, {unit}",
        ]
        rows = [self._row(n, row) for n, row in objects.items()]
        return markup.table(head, rows, ["", "number", "number", "", "number", ""], label="objects")

    def _row(self, n: int, row: Object) -> list[str]:
        swatch = "#" + "".join(f"{part:02x}" for part in colour_of(n))
        name = f'<i class="swatch" style="background:{swatch}"></i> {n}'
        share = number(100 * self._largest.get(n, 0.0), 1, " %")
        moved = _moved(row)
        if row.mesh is None:
            said = text(f"none: {row.without}" if row.without else "none")
            return [name, number(self._seen.get(n, 0)), share, said, markup.MISSING, moved]
        mesh = row.mesh
        said = f"{len(mesh.vertices):,} vertices, {len(mesh.faces):,} faces, from frame {mesh.frame}"
        said += ", watertight" if mesh.watertight else ", not watertight"
        if (share_seen := mesh.seen_share) is not None:
            said += f", {100 * share_seen:.0f} % of its surface seen"
        return [name, number(self._seen.get(n, 0)), share, said, _extent(mesh), moved]


def labelled(rgb: np.ndarray, label: np.ndarray) -> np.ndarray:
    """A frame (H, W, 3) uint8 with each object in its colour; background stays as it is."""
    colours = np.array([(0, 0, 0), *(colour_of(n) for n in range(1, 256))], np.float32)
    mixed = (1 - _STRENGTH) * rgb + _STRENGTH * colours[label]
    return np.where((label > 0)[..., None], mixed, rgb).round().astype(np.uint8)


def _moved(row: Object) -> str:
    """Return how far an object's middle gets from where it is in the frame that its poses count from."""
    if row.poses is None:
        return text(f"not known: {row.without_poses}") if row.without_poses else markup.MISSING
    away = np.linalg.norm(row.poses.path - row.poses.centre, axis=1)
    return text(f"up to {np.nanmax(away):.3g}, known in {int(row.poses.known.sum())} of {len(away)} frames")


def _extent(mesh: Mesh) -> str:
    sides = np.ptp(mesh.world_vertices, axis=0)
    return " &times; ".join(f"{side:.3g}" for side in sides)


def _spread(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, _PICTURES)).round()) if count else np.zeros(0)
