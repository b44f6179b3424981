"""The plan on the console: a table of stages, a table of videos, and the total in sentences."""

from __future__ import annotations

import itertools
from typing import Any

from geoflow.pipeline import AUTO
from geoflow.planning.plan import OWN_ENVIRONMENT
from geoflow.segments import OBJECT
from geoflow.values.durations import in_words
from geoflow.values.listing import render_entries

_UNKNOWN = "unknown"


def render_plan(plan: dict[str, Any]) -> Any:
    """Show what `make_plan` returned."""
    from rich.console import Group
    from rich.text import Text

    return Group(_stages(plan), _needs(plan), _videos(plan), Text("\n".join([*plan["left_out"], *summary(plan)])))


def summary(plan: dict[str, Any]) -> list[str]:
    """Return the total work, one line for each question."""
    found, lines = plan["total"], _gpus(plan) + _memory(plan)
    if not found["video_hours"]:
        return [*lines, "no input can be read: nothing to do"]
    at_most = "at most " if found["at_most"] else ""
    if found["unknown"]:
        unknown = ", ".join(found["unknown"])
        lines.append(
            f"time: {_UNKNOWN}; no earlier run from this machine has measured {unknown} on frames of this size"
        )
    else:
        lines.append(
            f"time: {at_most}{in_words(found['seconds'])} of work by all actors; "
            f"{found['limited_by']} is the limit, with {in_words(found['limit_seconds'])} for the actors listed above"
        )
    if all(row["device"] == "CPU" for row in plan["stages"]):
        return [*lines, "GPU hours: 0; no stage uses a GPU"]
    hours = found["gpu_hours"]
    lines.append(f"GPU hours: {_UNKNOWN if hours is None else f'{at_most}{hours:.3g}, of GPUs that never wait'}")
    return [*lines, *_cost(found, at_most)]


def _memory(plan: dict[str, Any]) -> list[str]:
    """Return a warning if a segment does not fit into this machine's object store."""
    largest = max((row for row in plan["videos"] if "problem" not in row), key=_segment_bytes, default=None)
    budget = plan["machine"]["budget_bytes"]
    if largest is None or _segment_bytes(largest) <= budget:
        return []
    size, overlap = plan["segment"]["size"], plan["segment"]["overlap"]
    fits = int(min(size, largest["frames"]) * budget / _segment_bytes(largest))
    remedy = f"--set segment.size={fits}" if fits >= 2 * overlap else "smaller frames (--size)"
    takes = f"a segment of {largest['name']} takes {_segment_bytes(largest) / 1e9:.1f} GB"
    return [
        f"memory: {takes}, and {budget / 1e9:.1f} GB of this machine's object store are for segments in flight, "
        f"so that segments go one at a time and Ray may spill to disk; use {remedy}, or more memory"
    ]


def _segment_bytes(row: dict[str, Any]) -> int:
    return int(row["segment_bytes"])


def _cost(found: dict[str, Any], at_most: str) -> list[str]:
    if "cost" not in found:
        return []
    rate = f"at ${found['gpu_cost_per_hour']:g} per GPU and hour"
    if found["cost"] is None:
        return [f"cost: {_UNKNOWN}, {rate}"]
    each = f"${found['cost_per_video_hour']:.2f} per hour of video"
    return [f"cost: {at_most}${found['cost']:.2f} for {found['video_hours']:.3g} h of video, {each}, {rate}"]


def _gpus(plan: dict[str, Any]) -> list[str]:
    needing = [row["slot"] for row in plan["stages"] if row["device"] == "GPU"]
    if not needing:
        return []
    lines = _loaded(plan)
    if not plan["machine"]["gpus"]:
        lines.insert(
            0, f"{', '.join(needing)} need a GPU, and this machine has none: the plan is for a machine with GPUs"
        )
    return [*lines, *_worth(plan)]


def _loaded(plan: dict[str, Any]) -> list[str]:
    """Return what the GPUs keep loaded; GPUs with the same models share a line."""
    lines, measured = [], not any(AUTO in (row["gpu_share"], row["gpu_memory"]) for row in plan["stages"])
    for slots, group in itertools.groupby(enumerate(plan["gpus"]), key=lambda row: row[1]):
        numbers = [number for number, _ in group]
        several = len(numbers) > 1
        word = "to" if len(numbers) > 2 else "and"
        which = f"GPUs {numbers[0]} {word} {numbers[-1]}" if several else f"GPU {numbers[0]}"
        if slots:
            lines.append(f"{which} keep{'' if several else 's'} loaded: {', '.join(slots)}")
        elif measured:
            lines.append(f"{which} ha{'ve' if several else 's'} no work: no stage can use another copy")
        else:
            lines.append(f"{which} begin{'' if several else 's'} empty: the first segment shows how many models fit")
    return lines


def _worth(plan: dict[str, Any]) -> list[str]:
    """Return how many GPUs pay off."""
    counts, segments = plan["gpu_counts"], sum(row.get("segments", 0) for row in plan["videos"])
    if not counts:
        cut = "1 segment, which goes" if segments == 1 else f"{segments} segments, each of which goes"
        return [
            f"how many GPUs pay off: {_UNKNOWN} until a run has measured the stages; there {_are(segments)} {cut} "
            "through one GPU at a time"
        ]
    at_most = "at most " if plan["total"]["at_most"] else ""
    told = [f"{row['gpus']} GPU{'s' if row['gpus'] > 1 else ''}: {at_most}{in_words(row['seconds'])}" for row in counts]
    return [f"{'; '.join(told)}; more do not help (if no GPU ever waits)"]


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _stages(plan: dict[str, Any]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table("slot", "device", "actors", title=f"pipeline {plan['pipeline']}", box=box.SIMPLE)
    table.add_column("s/segment", justify="right")
    for row in plan["stages"]:
        also = (", per object" if row["span"] == OBJECT else "") + (" (optional)" if row["optional"] else "")
        seconds = _UNKNOWN if row["seconds_per_segment"] is None else f"{row['seconds_per_segment']:.2f}"
        actors = f"{row['actors']} of {row['threads']} thread{'s' if row['threads'] > 1 else ''}"
        table.add_row(row["slot"] + also, _device(row), actors, seconds)
    return table


def _needs(plan: dict[str, Any]) -> Any:
    """Return what the stages need that do not belong to GeoFlow itself."""
    return render_entries(
        (
            f"{row['slot']}: {row['backend']}",
            {
                "licence": _licence(row),
                "environment": "" if row["environment"] == OWN_ENVIRONMENT else row["environment"],
                "runs in": row["interpreter"] or "",
                "weights": "\n".join(_weights(held) for held in row["weights"]),
                "memory": row["memory"] or "",
            },
        )
        for row in plan["stages"]
        if not row["backend"].startswith("geoflow.")
    )


def _videos(plan: dict[str, Any]) -> Any:
    """Return a table of the inputs that can be read, and below it a line for each remark and for each other input."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table("video", title="inputs", box=box.SIMPLE)
    for title in ("frames", "size", "segments", "MB per segment", "work"):
        table.add_column(title, justify="right")
    table.columns[0].overflow = "fold"
    lines = []
    for row in plan["videos"]:
        if "problem" in row:
            lines.append(Text(f"{row['name']} cannot be used: {row['problem']}", style="red"))
            continue
        megabytes = f"{row['segment_bytes'] / 1e6:.0f}"
        cells = (str(row["frames"]), row["size"], str(row["segments"]), megabytes, _work(row))
        table.add_row(Text(row["name"]), *cells)
        for slot, spans in row["spans"].items():
            whole = f"{spans['count']} {spans['kind']}{'s' if spans['count'] > 1 else ''}"
            lines.append(Text(f"{row['name']}: {slot} surveys {whole}, {spans['frames']} frames together", style="dim"))
        lines += [Text(f"{row['name']}: {note}", style="yellow") for note in row["notes"]]
    return Group(table, *lines)


def _work(row: dict[str, Any]) -> str:
    if row["seconds"] is None:
        return _UNKNOWN
    return ("at most " if row["at_most"] else "") + in_words(row["seconds"])


def _device(row: dict[str, Any]) -> str:
    if row["device"] == "CPU":
        return "CPU"
    return f"GPU: {_share(row['gpu_share'])} compute, {_share(row['gpu_memory'])} memory"


def _share(share: float | str) -> str:
    return "auto" if isinstance(share, str) else f"{share:.2g}"


def _licence(row: dict[str, Any]) -> str:
    return _UNKNOWN if row["licence"] is None else row["licence"] + ("" if row["commercial"] else " (not commercial)")


def _weights(held: dict[str, str]) -> str:
    state = "" if held["state"] in ("told", "unknown") else f" ({held['state']})"
    return f"{held['name']}: {held['place']}{state}" if held["name"] else held["place"]
