"""The rows of the engine bench as a table, on the console and for a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def _seconds(value: float) -> str:
    return f"{value:.2f}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _tenth(value: float) -> str:
    return f"{value:.1f}"


def _share(value: float) -> str:
    return f"{100 * value:.0f}%"


_COLUMNS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("startup", "start-up s", _seconds),
    ("first_output", "first output s", _seconds),
    ("steady", "steady s", _seconds),
    ("early", "early", _share),
    ("to_sim", "/ sim", _seconds),
    ("to_fluid", "/ fluid", _seconds),
    ("items_per_second", "items/s", _whole),
    ("makespan", "makespan s", _seconds),
    ("private_mb", "private MB", _whole),
    ("store_peak_mb", "store MB", _whole),
    ("spilled_mb", "spilled MB", _whole),
    ("cpu_idle", "CPU idle", _share),
    ("cpu_ms", "CPU ms/call", _tenth),
    ("wake_ups", "wake-ups/call", _tenth),
    ("repeated", "calls again", _whole),
)


def render(rows: Sequence[dict[str, Any]]) -> Table:
    """Make a section for each workload, with its bounds in the heading; what was not measured is empty."""
    from rich.table import Table

    table = Table(
        title="Engines: medians",
        caption="steady: from start-up to the end, and the early share of the work at the fluid pace",
    )
    table.add_column("engine")
    for _, heading, _ in _COLUMNS:
        table.add_column(heading, justify="right")
    table.add_column("delivered", justify="right")
    workload = None
    for row in rows:
        if row["workload"] != workload:
            workload = row["workload"]
            table.add_section()
            table.add_row(f"[bold]{workload}[/]: sim {row['sim']:.2f} s, fluid {row['fluid']:.2f} s")
        cells = [row["engine"], *(show(row[key]) if row[key] is not None else "" for key, _, show in _COLUMNS)]
        failed = f", {row['failed_runs']} failed" if row["failed_runs"] else ""
        table.add_row(*cells, f"{row['delivered'] or 0:.0f}/{row['items']}{failed}")
    return table


def markdown(rows: Sequence[dict[str, Any]], workloads: Sequence[str] = ()) -> str:
    """Return Markdown for some or all workloads: one table if stages take time, another for the others."""
    chosen = [row for row in rows if not workloads or row["workload"] in workloads]
    steady = {row["workload"] for row in chosen if row["to_fluid"] is not None}
    timed = [row for row in chosen if row["workload"] in steady]
    others = [row for row in chosen if row["workload"] not in steady]
    left_out = {"to_sim", "items_per_second", "spilled_mb", "repeated"}, {"steady", "early", "to_sim", "to_fluid"}
    tables = [_page_table(group, leave) for group, leave in zip((timed, others), left_out) if group]
    return "\n".join(tables)


def _page_table(rows: Sequence[dict[str, Any]], leave: set[str]) -> str:
    columns = [column for column in _COLUMNS if column[0] not in leave]
    head = ["workload", "engine", *(heading for _, heading, _ in columns)]
    lines = [" | ".join(head), " | ".join(["---"] * 2 + ["---:"] * len(columns))]
    before = None
    for row in rows:
        bounds = f", fluid {row['fluid']:.2f} s" if "to_fluid" not in leave else ""
        name = "" if row["workload"] == before else f"{row['workload']}{bounds}"
        before = row["workload"]
        cells = [show(row[key]) if row[key] is not None else "" for key, _, show in columns]
        failed = f" ({row['failed_runs']} of {len(row['runs'])} runs failed)" if row["failed_runs"] else ""
        lines.append(" | ".join([name, f"`{row['engine']}`{failed}", *cells]))
    return "".join(f"| {line} |\n" for line in lines)
