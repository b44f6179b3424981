"""The table of a bench of reversals: outcomes and rates by recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from geoflow.bench.reversal.film_scores import OUTCOMES
from geoflow.bench.reversal.intervals import Rate

if TYPE_CHECKING:
    from rich.console import RenderableType


def render_reversals(found: Mapping[str, Any]) -> RenderableType:
    """Return the figures of `bench_reversal` as a rich table, all films in the last row.

    Rates are in percent, with 95 % intervals; CPU seconds are those of `reconstruct` per film.
    """
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("recipe")
    for heading in ("films", *OUTCOMES, "reversed of returned", "refused of tellable", "focal within 1, 2 sd", "CPU s"):
        table.add_column(heading, justify="right")
    for name, row in (*found["recipes"].items(), ("all", found["overall"])):
        counts = [str(row[key]) for key in ("films", *OUTCOMES)]
        rates = [str(Rate(**row[key])) for key in ("reversed_valid", "right_refused")]
        shares = [row["focal_within_one"], row["focal_within_two"]]
        within = ", ".join(f"{100 * rate['count'] / rate['of']:.0f} %" if rate["of"] else "-" for rate in shares)
        # a bracket would be read as markup
        table.add_row(
            name, *counts, *(rate.replace("[", "\\[") for rate in rates), within, f"{row['cpu_s_per_film']:.2f}"
        )
    return table
