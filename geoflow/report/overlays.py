"""SVG drawings over a frame: the trails of its tracks, and the bones of its hands."""

from __future__ import annotations

import numpy as np

from geoflow.export.marks import BONES, TRAIL, degrees_of, drawn_tracks, hands_of, hue_of, is_filled
from geoflow.report.markup import text
from geoflow.store.lazy import Tracks
from geoflow.store.reader import Video

_FINE = 10  # drawn in tenths of a pixel, so that places are whole numbers


def chosen_tracks(tracks: Tracks, frames: np.ndarray) -> np.ndarray:
    """Return the numbers of the tracks to draw, the same in all frames; at most 140 are seen in any frame."""
    most = max((int(tracks.visible[int(i)].sum()) for i in frames), default=0)
    return drawn_tracks(len(tracks), most)


def tracks_overlay(tracks: Tracks, i: int, chosen: np.ndarray) -> tuple[str, int]:
    """Return the tracks seen in frame i with their last 12 frames, as an SVG group, and how many tracks are seen."""
    first = max(0, i - TRAIL)
    visible, uv = tracks.visible[first : i + 1], tracks.uv[first : i + 1]
    seen = visible[:, chosen] & np.isfinite(uv[:, chosen]).all(-1)
    return trails(uv[:, chosen], seen, hue_of(chosen, len(tracks))), int(visible[-1].sum())


def trails(uv: np.ndarray, seen: np.ndarray, hue: np.ndarray) -> str:
    """Draw trails that end in the last of K frames: uv (K, N, 2) px, seen (K, N), hue (N,) 0 to 11. A group per hue.

    A trail goes back to the last frame in which its point was hidden.
    """
    hidden = ~seen
    first = np.where(hidden.any(0), len(seen) - np.argmax(hidden[::-1], axis=0), 0)
    places = np.rint(_FINE * np.where(seen[..., None], uv, 0))[::-1].astype(int)  # the last frame first
    steps = np.diff(places, axis=0).transpose(1, 0, 2).tolist()
    groups = []
    for k in np.unique(hue[seen[-1]]):
        lines, dots = [], []
        for n in np.flatnonzero((hue == k) & seen[-1]):
            start = "M{} {}".format(*places[0, n])
            dots.append(f"{start}h0")
            trail = " ".join(f"{dx} {dy}" for dx, dy in steps[n][: len(seen) - 1 - first[n]])
            lines.append(f"{start}l{trail}" if trail else "")
        colour = f"hsl({degrees_of(k)} 95% 62%)"
        groups.append(f'<g stroke="{colour}"><path d="{"".join(lines)}"/><path class="dot" d="{"".join(dots)}"/></g>')
    return "".join(groups)


def hands_overlay(video: Video, i: int) -> tuple[str, list[str]]:
    """Return the hands of frame i as SVG groups, and their captions."""
    parts, words = [], []
    for side, hand, where in hands_of(video, i):
        filled = is_filled(hand, where)
        parts.append(f'<g class="{side}{" filled" if filled else ""}">{skeleton(hand.uv[where])}</g>')
        words.append(f"{side} hand " + ("between two sights" if filled else f"{100 * hand.confidence[where]:.0f} %"))
    return "".join(parts), words


def skeleton(uv: np.ndarray) -> str:
    """Draw joints (21, 2) px as lines and dots; joints that are not finite are left out.

    >>> skeleton(np.full((21, 2), np.nan))
    ''
    """
    known = np.isfinite(uv).all(1)
    place = np.rint(_FINE * np.where(known[:, None], uv, 0)).astype(int)
    lines = "".join("M{} {}L{} {}".format(*place[a], *place[b]) for a, b in BONES if known[a] and known[b])
    dots = "".join(f"M{x} {y}h0" for (x, y), there in zip(place, known) if there)
    return f'<path class="rim" d="{lines}"/><path d="{lines}"/><path class="dot" d="{dots}"/>' if dots else ""


def picture(uri: str, size: tuple[int, int], tracks: str, hands: str, label: str) -> str:
    """Return a frame with the drawings over it; `size` is (width, height) of the pixels that the drawings use."""
    width, height = size
    stroke = _FINE * max(width, height) / 320
    # Pixel centres lie at integers, so the picture begins half a pixel before them.
    return (
        f'<svg viewBox="-0.5 -0.5 {width} {height}" role="img" aria-label="{text(label)}">'
        f'<image href="{uri}" x="-0.5" y="-0.5" width="{width}" height="{height}" preserveAspectRatio="none"/>'
        f'<g class="drawn" transform="scale({1 / _FINE:g})" style="--stroke:{stroke:.1f}">'
        f'<g class="tracks">{tracks}</g><g class="hands">{hands}</g></g></svg>'
    )
