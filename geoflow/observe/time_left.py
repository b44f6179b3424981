"""The time left of a run, from measured seconds: steady between events, and without jumps when one arrives.

The work left is counted in actor-seconds: for each stage the segments to come times its seconds per segment, and the
frames that are still to be surveyed times its seconds per surveyed frame. Divided by how many actors work at the same
time on average, it gives the time left. Stages that were not measured in this run count as earlier runs measured them,
or in proportion to the pipeline's weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

_ASSUMED_S = 15.0  # for this long the number of CPUs counts as much as what was measured of the parallelism
_SETTLES_S = 3.0  # in this time what is shown comes nearer to a new estimate by the factor e
_SETTLES_SHARE = 0.1  # of what is shown, if that is longer
_LEAST_S = 1.0  # ratios of less than this do not matter
_SILENT_SHARE = 0.5  # of the time that news are overdue: at least this is left
_LEAST_LEFT = 0.5  # of the expectation for a stage whose surveys took longer than expected for everything


@dataclass(slots=True)
class StageWork:
    """What is known of one stage at a moment."""

    slot: str
    segments_left: float
    segments: int = 0  # measured in this run
    segment_seconds: float = 0.0  # of these together
    frames_left: float = 0.0  # to be surveyed, if the stage surveys
    frames: int = 0  # surveyed in this run
    survey_seconds: float = 0.0  # of these together
    segment_frames: float = 0.0  # frames of a usual segment

    @property
    def survey_each(self) -> float:
        """Return the seconds of surveys per segment."""
        return self.survey_seconds * self.segment_frames / self.frames if self.frames else 0.0


def seconds_left(
    work: list[StageWork], expected: Mapping[str, float], weights: Mapping[str, float]
) -> dict[str, float] | None:
    """Return the actor-seconds to come, by slot; None if no stage was measured in this run or an earlier one.

    `expected` are seconds per segment of earlier runs, surveys included; `weights` are relative.

    >>> camera = StageWork("camera", segments_left=3, segments=1, segment_seconds=4.0)
    >>> seconds_left([camera, StageWork("tracks", 4)], {}, {"camera": 0.4, "tracks": 0.1})
    {'camera': 12.0, 'tracks': 4.0}
    """
    both = [row for row in work if row.segments and expected.get(row.slot)]
    usual = sum(expected[row.slot] for row in both)
    pace = sum(_measured(row) for row in both) / usual if usual else 1.0
    known = {row.slot: _measured(row) or pace * expected.get(row.slot, 0.0) for row in work}
    known = {slot: seconds for slot, seconds in known.items() if seconds}
    if not known:
        return None
    weighed = [slot for slot in known if weights.get(slot)]
    scale = sum(known[slot] for slot in weighed) / sum(weights[slot] for slot in weighed) if weighed else 0.0
    average = sum(known.values()) / len(known)
    found = {}
    for row in work:
        seconds = known.get(row.slot) or scale * weights.get(row.slot, 0.0) or average
        if row.segments:
            surveys = row.frames_left * row.survey_seconds / row.frames if row.frames else 0.0
            found[row.slot] = row.segments_left * (seconds - row.survey_each) + surveys
        else:  # surveys may have been done already, as part of what was expected
            whole = row.segments_left * max(seconds, pace * expected.get(row.slot, 0.0))
            found[row.slot] = max(whole - row.survey_seconds, _LEAST_LEFT * whole)
    return found


def _measured(row: StageWork) -> float:
    """Return the seconds per segment, surveys included, that this run has measured so far; 0 if nothing yet."""
    return row.survey_each + (row.segment_seconds / row.segments if row.segments else 0.0)


def parallelism(busy_seconds: float, wall_seconds: float, assumed: float) -> float:
    """Return how many actors work at the same time on average. At first that is what is `assumed`.

    >>> round(parallelism(0.0, 0.0, 2.0), 2), round(parallelism(4000.0, 1000.0, 2.0), 2)
    (2.0, 3.97)
    """
    return (busy_seconds + _ASSUMED_S * assumed) / (wall_seconds + _ASSUMED_S)


class SteadyTimeLeft:
    """What is shown of the time left: it counts down with the clock, and follows new estimates little by little.

    Readers see the same at the same moment, however often they look: only `follow` changes it.
    """

    def __init__(self) -> None:
        self._estimate = self._shown = self._at = math.nan

    @property
    def known(self) -> bool:
        return not math.isnan(self._at)

    def follow(self, estimate: float, now: float) -> None:
        """Take in a new estimate of the seconds left at the moment `now`."""
        self._shown = self.at(now) if self.known else estimate
        self._estimate, self._at = estimate, now if not self.known else max(now, self._at)

    def at(self, now: float) -> float:
        """Return the seconds left to show at a moment.

        Without news both the estimate and what is shown run down, ever more slowly when it is overdue. What is shown
        approaches the estimate as a ratio, so that it never jumps. A call that has run for long may run for longer.
        """
        passed = max(0.0, now - self._at)
        if not passed:
            return self._shown
        estimate, shown = _run_down(self._estimate, passed), _run_down(self._shown, passed)
        settles = max(_SETTLES_S, _SETTLES_SHARE * min(self._shown, self._estimate))
        ratio = (estimate + _LEAST_S) / (shown + _LEAST_S)
        near = (shown + _LEAST_S) * ratio ** (1.0 - math.exp(-passed / settles)) - _LEAST_S
        return max(near, self._overdue(now))

    def _overdue(self, now: float) -> float:
        return max(0.0, _SILENT_SHARE * (now - self._at - self._estimate))

    def due(self, now: float) -> float:
        """Return the moment, `now` at the latest, until which the time left ran down since the last estimate."""
        begin, end = self._at, now
        if not self._overdue(now) or self.at(now) > self._overdue(now):
            return now
        for _ in range(20):  # bisection, to a millionth of the time without news
            middle = (begin + end) / 2
            begin, end = (begin, middle) if self.at(middle) <= self._overdue(middle) else (middle, end)
        return end


def _run_down(seconds: float, passed: float) -> float:
    """Count down by the clock for the first half, then ever more slowly: work that is overdue is not over.

    >>> [round(_run_down(10.0, passed), 1) for passed in (0, 2, 5, 8, 20)]
    [10.0, 8.0, 5.0, 2.7, 0.2]
    """
    half = seconds / 2
    if passed <= half or not half:
        return seconds - passed if half else 0.0
    return half * math.exp(-(passed - half) / half)
