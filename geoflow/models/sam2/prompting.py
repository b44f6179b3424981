"""Which objects a user shows in which frames of a video: by boxes, points and words, and by label images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from geoflow.geometry.labels import numbers_in
from geoflow.models.sam2.object_session import Shown
from geoflow.segments import Prompt

Prompts = dict[int, dict[int, Shown]]  # by frame, counted from 0 among those that are processed, then by object


def prompts_by_frame(prompts: Sequence[Prompt], index: np.ndarray) -> Prompts:
    """Return a video's boxes and points by frame; `index` (F,) are the source numbers of its frames.

    Points of one object in one frame go together; of its boxes the last one counts.
    """
    found: defaultdict[int, dict[int, Shown]] = defaultdict(dict)
    for prompt in prompts:
        if not prompt.text:
            t = int(np.searchsorted(index, prompt.frame))
            before = found[t].get(prompt.object, Shown())
            found[t][prompt.object] = Shown(prompt.box or before.box, (*before.points, *prompt.points))
    return dict(found)


def words_by_frame(prompts: Sequence[Prompt], index: np.ndarray) -> dict[int, dict[int, str]]:
    """Return the user's words for objects, by frame and object."""
    found: defaultdict[int, dict[int, str]] = defaultdict(dict)
    for prompt in prompts:
        if prompt.text:
            found[int(np.searchsorted(index, prompt.frame))][prompt.object] = prompt.text
    return dict(found)


def labelled(label: np.ndarray) -> dict[int, Shown]:
    """Return the objects that a label image (H, W) uint8 shows."""
    return {number: Shown(mask=label == number) for number in numbers_in([label])}


def first_shown(prompts: Prompts, after: int = -1) -> dict[int, tuple[int, Shown]]:
    """Return for each object the first frame with a prompt, and the prompt; without those up to frame `after`.

    >>> sorted(first_shown({4: {7: Shown()}, 2: {7: Shown(), 1: Shown()}, 9: {5: Shown()}}, after=2))
    [5]
    """
    found: dict[int, tuple[int, Shown]] = {}
    for t, rows in sorted(prompts.items()):
        for number, shown in rows.items():
            found.setdefault(number, (t, shown))
    return {number: row for number, row in found.items() if row[0] > after}


def together(*given: Mapping[int, Mapping[int, Shown]]) -> Prompts:
    """Return prompts of several sources; where two show one object in one frame, the later source counts."""
    found: defaultdict[int, dict[int, Shown]] = defaultdict(dict)
    for prompts in given:
        for t, rows in prompts.items():
            found[t].update(rows)
    return dict(found)
