"""Frames of a video beside their depth: rows that the page's script shows one at a time, all panels together."""

from __future__ import annotations

import numpy as np

from geoflow.report.markup import text
from geoflow.report.overlays import chosen_tracks, hands_overlay, picture, tracks_overlay
from geoflow.report.pictures import data_uri, depth_legend, depth_uri
from geoflow.report.samples import Sample, depths_of
from geoflow.store.depth_colours import Ends, inverse_range
from geoflow.store.reader import Video


class Viewer:
    """The rows, collected as the frames are read, so that only one frame is in memory."""

    def __init__(self, video: Video, frames: np.ndarray, ends: Ends | None) -> None:
        self._video, self._ends, self._depths = video, ends, depths_of(video)
        self._rows: list[str] = []
        self._size = (video.width, video.height)
        self._tracks = chosen_tracks(video.tracks, frames) if video.tracks is not None and len(video.tracks) else None
        self._trouble = ""  # why pictures are left out
        self._hands = False
        self._own_prior = False

    def add(self, sample: Sample) -> None:
        """Add a frame; frames come in rising order."""
        panels = [self._colour(sample)]
        for name, depth in sample.depths.items():
            own = self._ends is None or (name == "prior" and sample.factor is None)
            self._own_prior |= own and name == "prior"
            ends = inverse_range([depth]) if own or self._ends is None else self._ends
            scale = f" &times; {sample.factor:.3g}" if name == "prior" and sample.factor is not None else ""
            share = f"{100 * float((depth > 0).mean()):.0f} %"
            alt = f"{name} depth of frame {self._number(sample.i)}, known on {share} of the pixels"
            image = f'<img src="{depth_uri(depth, ends)}" alt="{text(alt)}" decoding="async">'
            panels.append(_figure(image, name + scale, share))
        shown = self._label(sample.i)
        at = f'data-i="{sample.i}" data-number="{self._number(sample.i)}" data-label="{text(shown)}"'
        self._rows.append(f'<div class="frame" {at}><p class="frame-label">{text(shown)}</p>{"".join(panels)}</div>')

    def html(self) -> str:
        """Return the section; "" without a frame."""
        video = self._video
        if not self._rows:
            return ""
        if self._trouble and not self._depths:
            return f'<section id="frames"><h2>Frames</h2><p class="warn">{text(self._trouble)}</p></section>'
        wide = video.width >= video.height
        panels = 1 + len(self._depths)
        columns = min(2, panels) if wide else panels
        style = f"--panels:{panels};--columns:{columns};--aspect:{video.width}/{video.height}"
        gone = f'<p class="warn">{text(self._trouble)}</p>' if self._trouble else ""
        legend = depth_legend(self._ends, "m" if video.metric else "scene units") if self._depths else ""
        return (
            f'<section id="frames" class="viewer"><h2>Frames and depth</h2>{gone}'
            f'<div class="frames" style="{style}" tabindex="0" role="group" aria-label="frames">{"".join(self._rows)}'
            f"</div>{self._controls()}{legend}{self._notes()}</section>"
        )

    def _colour(self, sample: Sample) -> str:
        rgb = sample.rgb
        if rgb is None:
            self._trouble = sample.trouble
            rgb = np.full((self._size[1], self._size[0], 3), 40, np.uint8)
        trails, seen = ("", 0)
        if self._tracks is not None and self._video.tracks is not None:
            trails, seen = tracks_overlay(self._video.tracks, sample.i, self._tracks)
        hands, words = hands_overlay(self._video, sample.i)
        self._hands |= bool(words)
        said = ([f"{seen:,} tracks"] if self._tracks is not None else []) + words
        label = f"frame {self._number(sample.i)}" + (f" with {', '.join(said)}" if said else "")
        return _figure(picture(data_uri(rgb), self._size, trails, hands, label), "colour", ", ".join(said))

    def _number(self, i: int) -> int:
        return int(self._video.frame_index[i])

    def _label(self, i: int) -> str:
        return f"frame {self._number(i)} · {float(self._video.frame_time[i]):.2f} s"

    def _controls(self) -> str:
        toggles = [("tracks", self._tracks is not None), ("hands", self._hands)]
        boxes = "".join(
            f'<label><input type="checkbox" data-layer="{name}" checked> {name}</label>'
            for name, there in toggles
            if there
        )
        return (
            '<div class="controls scripted"><button type="button" class="play" aria-pressed="false">Play</button>'
            f'<input type="range" class="slider" min="0" max="{len(self._rows) - 1}" value="0" step="1" '
            f'aria-label="frame"><output class="where"></output>{boxes}</div>'
        )

    def _notes(self) -> str:
        shown = len(self._rows)
        notes = [f"{shown} of {len(self._video)} frames." if shown < len(self._video) else "Every frame."]
        depths = self._depths
        if depths:
            notes.append("Percentages: pixels with depth.")
        if self._ends is not None:
            notes.append("One range of colours for all frames and branches.")
        if "prior" in depths and self._ends is not None:
            notes.append("The prior's scale is free in each frame: &times; is the factor to the others' median.")
            notes.append("A prior that only judges the camera's depth is empty in most frames.")
        if self._own_prior:
            notes.append("Depth without a scale in common with other frames has its own range of colours.")
        if self._tracks is not None:
            notes.append("Trails show where a point was in the last 12 frames.")
        if self._hands:
            notes.append("Hands: left blue, right orange, dashed where interpolated between two observations.")
        return f'<p class="soft">{" ".join(notes)}</p>'


def _figure(image: str, name: str, fact: str) -> str:
    """Make a panel; image and name are HTML."""
    aside = f"<span>{text(fact)}</span>" if fact else ""
    return f"<figure>{image}<figcaption><b>{name}</b>{aside}</figcaption></figure>"
