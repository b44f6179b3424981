"""Detection of two runs that worked on one video at the same time, as far as the ledger proves it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from geoflow.observe.events import named

_ENDS = named("run_finished", "run_stopped")
_DONE = named("segment_complete", "video_complete")


def worked_on_at_once(events: Iterable[dict[str, Any]]) -> set[str]:
    """Return the videos that two runs provably worked on at the same time, and that no later run has made again.

    A run that began before the previous run had ended is no proof: the previous run may have been killed. It is proof
    if both runs ended afterwards, or if one segment or one video was completed twice.
    """
    found: set[str] = set()
    last: set[str] = set()  # videos of the latest run
    both: set[str] = set()  # of these, videos of an earlier run that had not ended when the latest run began
    ends, seen = 1, Counter[tuple[Any, ...]]()
    for row in events:
        event, video = row["event"], row.get("video", "")
        if event == "run_started":
            earlier, last = last if not ends else set(), set(row.get("videos", ()))
            both, ends, seen = earlier & last, 0, Counter()
        elif event in _ENDS:
            ends += 1
            if ends > 1:
                found |= both
        elif event in ("video_rewound", "video_postponed"):  # its segments may be done again
            seen = Counter({key: n for key, n in seen.items() if key[0] != video})
        elif event in _DONE:
            seen[key := (video, row.get("index"))] += 1
            if seen[key] > 1 and video in both:
                found.add(video)
            elif event == "video_complete":
                found.discard(video)
    return found
