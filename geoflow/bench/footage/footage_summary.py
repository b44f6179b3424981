"""What a whole bench says: before and after, median and worst clip of each figure, and clips whose store is untrue."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geoflow.errors import ConfigError
from geoflow.evaluate.score_table import fixed

if TYPE_CHECKING:
    from rich.console import RenderableType

# A store that claims valid poses and is farther off than this is untrue rather than imprecise.
MOST_ABS_REL = 0.15
MOST_ATE_PERCENT = 3.0


def percent(digits: int) -> Callable[[float], str]:
    return lambda share: f"{100 * share:.{digits}f}"


@dataclass(frozen=True)
class Figure:
    """One figure of a clip's scores: where it is, its heading, its format, and whether more is better."""

    row: str
    name: str
    heading: str
    show: Callable[[float], str]
    more_is_better: bool

    def of(self, clip: Mapping[str, Any] | None) -> float:
        """Return the figure of a clip's row in footage.json; NaN if it was not measured."""
        scores = (clip or {}).get("scores") or {}
        value = (scores.get(self.row) or {}).get(self.name)
        return math.nan if value is None else float(value)

    def worst(self, values: Mapping[str, float]) -> tuple[str, float]:
        """Return the clip with the worst of the values, and the value; none of them is NaN."""
        return (min if self.more_is_better else max)(values.items(), key=lambda item: item[1])


FIGURES = (
    Figure("poses", "frames_posed", "posed %", percent(0), True),
    Figure("poses", "ate_percent", "ATE %", fixed("", 2), False),
    Figure("poses", "focal_error", "focal %", percent(1), False),
    Figure("camera", "abs_rel", "AbsRel", fixed(""), False),
    Figure("camera", "delta1", "δ<1.25", fixed(""), True),
    Figure("camera", "coverage", "covers %", percent(0), True),
    Figure("camera", "spearman", "order", fixed("", 2), True),
    Figure("camera", "reversed_frames", "reversed %", percent(0), False),
    Figure("prior", "spearman", "prior order", fixed("", 2), True),
    Figure("prior", "reversed_frames", "prior reversed %", percent(0), False),
    Figure("geometry", "spearman", "geometry order", fixed("", 2), True),
    Figure("tracks", "error_percent", "tracks %", fixed("", 2), False),
)


def read_baseline(path: Path) -> dict[str, Any]:
    """Return the content of a footage.json. Raises ConfigError if the file is not one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--baseline {path} cannot be read: {error}; give the footage.json of an earlier bench"
        ) from None
    if not isinstance(found, dict) or not all(
        isinstance(row, dict) and "clip" in row for row in found.get("clips", [{}])
    ):
        raise ConfigError(f"--baseline {path} holds no clips; give the footage.json of an earlier bench")
    return found


def untrue(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for every clip that claims valid poses and is far from the truth, or has reversed frames."""
    found = []
    for row in rows:
        scores = row.get("scores") or {}
        poses, camera = scores.get("poses") or {}, scores.get("camera") or {}
        if not poses.get("frames_posed"):
            continue
        faults = [
            f"{heading} {show(value)}"
            for heading, value, most, show in (
                ("AbsRel", camera.get("abs_rel"), MOST_ABS_REL, fixed("", 3)),
                ("ATE", poses.get("ate_percent"), MOST_ATE_PERCENT, fixed(" %", 2)),
                ("reversed frames", camera.get("reversed_frames"), 0.0, lambda share: f"{100 * share:.0f} %"),
            )
            if value is not None and value > most
        ]
        if faults:
            found.append(
                f"{row['clip']}: {poses['frames_posed']:.0%} of the frames claim valid poses, {', '.join(faults)}"
            )
    return found


def render_summary(found: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> RenderableType:
    """Return the figures of every clip, before -> after if there is a baseline, with the median and the worst clip.

    Medians and worst clips are over the clips that have the figure in both benches, so that they compare the same.
    Below are differences in how the two were run, and the sentences of `untrue`.
    """
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    earlier = None if before is None else {row["clip"]: row for row in before["clips"]}
    figures = [figure for figure in FIGURES if any(math.isfinite(figure.of(row)) for row in found["clips"])]
    table = Table(box=SIMPLE, pad_edge=False, collapse_padding=True)
    table.add_column("clip")
    for figure in figures:
        table.add_column(figure.heading, justify="right")
    table.add_column("CPU s", justify="right")
    for row in found["clips"]:
        old = None if earlier is None else earlier.get(row["clip"])
        cells = [_change(figure.of(row), figure.of(old), figure.show, earlier is not None) for figure in figures]
        table.add_row(row["clip"], *cells, _change(_cpu(row), _cpu(old), fixed("", 2), earlier is not None))
    table.add_section()
    for line in _extremes(found["clips"], earlier, figures):
        table.add_row(*line)
    notes = [Text(f"note: {note}", style="dim") for note in _differences(found, before)]
    flags = [Text(sentence, style="red") for sentence in untrue(found["clips"])]
    head = (
        [Text(f"AbsRel above {MOST_ABS_REL}, ATE above {MOST_ATE_PERCENT:.0f} %, or reversed frames:")] if flags else []
    )
    return Group(table, *notes, *head, *flags)


def _extremes(
    rows: Sequence[Mapping[str, Any]], earlier: Mapping[str, Any] | None, figures: Sequence[Figure]
) -> list[list[str]]:
    """Return the lines "median", "worst" and "worst clip"."""
    lines = [["median"], ["worst"], ["worst clip"]]
    for figure in figures:
        now = {row["clip"]: figure.of(row) for row in rows}
        old = {name: figure.of(earlier.get(name)) for name in now} if earlier is not None else now
        shared = [name for name in now if math.isfinite(now[name]) and math.isfinite(old[name])]
        if not shared:
            for line in lines:
                line.append("—")
            continue
        now, old = ({name: values[name] for name in shared} for values in (now, old))
        (clip, worst), (_, old_worst) = figure.worst(now), figure.worst(old)
        both = earlier is not None
        lines[0].append(
            _change(float(np.median([*now.values()])), float(np.median([*old.values()])), figure.show, both)
        )
        lines[1].append(_change(worst, old_worst, figure.show, both))
        lines[2].append(clip)
    return [[*line, ""] for line in lines]


def _cpu(row: Mapping[str, Any] | None) -> float:
    seconds = (row or {}).get("cpu_seconds_per_frame")
    return sum(seconds.values()) if seconds else math.nan


def _change(now: float, before: float, show: Callable[[float], str], both: bool) -> str:
    shown, old = ("—" if not math.isfinite(value) else show(value) for value in (now, before))
    return f"{old} → {shown}" if both else shown


def _differences(found: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[str]:
    """Return sentences about what two benches do not have in common."""
    if before is None:
        return []
    notes = [
        f"{name} was {before.get(name)!r} and is {found.get(name)!r}"
        for name in ("pipeline", "slots", "settings", "frames", "max_size", "known_camera", "cpus")
        if before.get(name) != found.get(name)
    ]
    names, old = ([row["clip"] for row in bench["clips"]] for bench in (found, before))
    for missing, where in (
        ([n for n in names if n not in old], "baseline"),
        ([n for n in old if n not in names], "bench"),
    ):
        if missing:
            notes.append(f"not in the {where}: {', '.join(missing)}")
    failed = [row["clip"] for row in before["clips"] if row.get("status") not in (None, "complete")]
    return [*notes, f"failed in the baseline: {', '.join(failed)}"] if failed else notes
