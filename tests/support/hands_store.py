"""A store with several hands of one side, from segments that number them each in its own way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lifted_hands import rows_of, standing
from segment_fields import fields_of, make_truth

from geoflow.segments import Segment
from geoflow.stage import SegmentRecord
from geoflow.stages.stitch import Stitch
from geoflow.stages.write import Write

ROWS = 3
# Of a video whose segments share frames 10 to 15, 20 to 25, 30 to 35: where a hand stands, its frames, side, strength.
HANDS = {
    "a": (2.0, range(40), "left", 3.0),
    "b": (8.0, range(8, 28), "left", 2.0),
    "c": (14.0, range(3, 14), "right", 1.0),
    "d": (14.0, range(33, 40), "right", 1.0),
    "e": (20.0, range(22, 25), "right", 0.5),
    "f": (26.0, range(22, 25), "right", 0.4),
}


def _fields(segment: Segment) -> dict[str, np.ndarray]:
    """The hands of one segment. In every other segment "c" is the strongest and "a" is not, so that rows and numbers
    differ."""
    hands = []
    for x, frames, side, strength in HANDS.values():
        if here := [i - segment.start for i in frames if segment.start <= i < segment.stop]:
            other = 4 - strength if segment.index % 2 and strength >= 1 else strength
            hands.append(standing(x, here, len(segment), side=side, strength=other))
    return rows_of(hands, len(segment), ROWS)


def write_hands_store(out: Path, num_frames: int = 40) -> Path:
    """Stitch and write a video with HANDS below `out`; return the store."""
    truth = make_truth(num_frames)
    stitch, write = Stitch(), Write(Write.Params(out=str(out)))
    for segment in truth.segments:
        given = {n: a for n, a in fields_of(truth, segment).items() if not n.startswith("hands.")} | _fields(segment)
        done = stitch.process(segment, given)
        write.process(segment, {n: done[n] for n in (*write.inputs, *write.optional) if n in done})
    records = [SegmentRecord(s.index, s.start, s.stop, "complete", {}, {}) for s in truth.segments]
    return Path(write.finish(truth.video, records)["path"])
