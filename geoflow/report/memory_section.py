"""Memory over the time of a run, from its ledger: the object stores, the driver, and the actors of each stage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from geoflow.report.curve_figure import DRIVER, curve_figure
from geoflow.report.markup import text

_MOST_BINS = 512  # bins of a series; if there would be more, bins become twice as wide
_MB = 1e6
_STORE = {"held": "store_bytes", "promised": "promised_bytes"}


class Series:
    """A series over time, in bins that keep their largest value; bins get wider, so a long run needs no more memory.

    >>> series = Series()
    >>> for second in range(3000): series.add(second, second % 7)
    >>> len(series.curve(2999)[0]) <= 512, float(series.curve(2999)[1].max())
    (True, 6.0)
    """

    def __init__(self) -> None:
        self._width = 1.0  # seconds
        self._bins: dict[int, float] = {}

    def add(self, seconds: float, value: float) -> None:
        k = int(seconds / self._width)
        self._bins[k] = max(self._bins.get(k, 0.0), float(value))
        while k >= _MOST_BINS:
            self._width *= 2
            merged: dict[int, float] = {}
            for at, largest in self._bins.items():
                merged[at // 2] = max(merged.get(at // 2, 0.0), largest)
            self._bins, k = merged, k // 2

    def curve(self, until: float) -> tuple[np.ndarray, np.ndarray]:
        """Return seconds and values from the beginning to `until`.

        A value holds until the next one; it is NaN before the first.
        """
        count = int(until / self._width) + 1
        values = np.full(count, np.nan)
        for k, value in self._bins.items():
            values[min(k, count - 1)] = value
        known = np.where(np.isfinite(values), np.arange(count), -1)
        last = np.maximum.accumulate(known)
        return self._width * np.arange(count), np.where(last >= 0, values[last], np.nan)


class Memory:
    """The memory figures in the events of one run."""

    def __init__(self) -> None:
        self._began = self._ended = 0.0
        self._store_size = 0
        self._stores = {name: Series() for name in _STORE}
        self._driver = Series()
        self._actors: dict[tuple[str, int], Series] = {}
        self._died: dict[int, float] = {}
        self._told = False

    def add(self, row: dict[str, Any]) -> None:
        """Add an event; events come in their order."""
        self._began = self._began or row["time"]
        self._ended = max(self._ended, row["time"])
        seconds = max(0.0, row["time"] - self._began)
        if row["event"] == "memory":
            self._told = True
            self._store_size = max(self._store_size, row["store_size"])
            for name, key in _STORE.items():
                self._stores[name].add(seconds, row[key])
            self._driver.add(seconds, row["driver_bytes"])
        elif row["event"] == "stage_done" and "private_bytes" in row:
            self._actors.setdefault((row["slot"], row["actor"]), Series()).add(seconds, row["private_bytes"])
        elif row["event"] == "actor_died" and "actor" in row:
            self._died[row["actor"]] = seconds

    def html(self, slots: Iterable[str]) -> str:
        """Return two drawings; "" if the ledger has no memory figures.

        `slots`: all stages in order, for the colours.
        """
        if not self._told and not self._actors:
            return ""
        until = self._ended - self._began
        figures = [self._store_figure(until), self._process_figure(until, list(slots))]
        body = "".join(f"<div>{figure}</div>" for figure in figures if figure)
        size = f" The stores hold {self._store_size / 1e9:.1f} GB at most." if self._store_size else ""
        note = (
            "Object store: what all nodes hold, and what is reserved for segments in flight."
            f"{size} Processes: private memory of a stage's actors at their last call, and of the driver."
        )
        return f'<h3>Memory</h3><div class="curves">{body}</div><p class="soft">{text(note)}</p>'

    def _store_figure(self, until: float) -> str:
        if not self._told:
            return ""
        curves = {name: series.curve(until) for name, series in self._stores.items()}
        places = next(iter(curves.values()))[0]
        lines = {name: values / _MB for name, (_, values) in curves.items()}
        return curve_figure("Object store, MB", places, lines, seconds=True, colours={"held": 0, "promised": 1})

    def _process_figure(self, until: float, slots: list[str]) -> str:
        places = np.linspace(0, until, 300)
        lines: dict[str, np.ndarray] = {}
        for (slot, actor), series in sorted(self._actors.items(), key=lambda item: slots.index(item[0][0])):
            at, values = series.curve(until)
            own = values[np.clip(np.searchsorted(at, places, side="right") - 1, 0, None)] / _MB
            own = np.where(places > self._died.get(actor, until), 0.0, own)
            before = lines.get(slot, np.full(len(places), np.nan))
            known = np.isfinite(before) | np.isfinite(own)
            lines[slot] = np.where(known, np.nan_to_num(before) + np.nan_to_num(own), np.nan)
        if self._told:
            at, values = self._driver.curve(until)
            lines["driver"] = values[np.clip(np.searchsorted(at, places, side="right") - 1, 0, None)] / _MB
        colours = {slot: k for k, slot in enumerate(slots)} | {"driver": DRIVER}
        return curve_figure("Processes, MB", places, lines, seconds=True, colours=colours)
