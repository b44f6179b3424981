"""Live progress below the cell that runs `geoflow.run`; its last state stays in the saved notebook."""

from __future__ import annotations

import contextlib
import importlib
import threading
from typing import Any

from geoflow.notebook.drawing import WidgetBoard, as_html, as_text
from geoflow.observe.board import Board, board_of
from geoflow.observe.clock import SteadyClock
from geoflow.observe.tally import Tally

_DRAW_EVERY_S = 0.5  # in its own thread: the driver must not wait for a browser, and calls may take minutes


class NotebookProgress:
    """Observes the ledger's events and draws them; use as a context manager."""

    def __init__(self, num_inputs: int) -> None:
        self._now = SteadyClock()  # the same clock as the ledger, whose events are counted
        self._tally = Tally(num_inputs, self._now())
        self._counting = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_drawing, name="geoflow-progress", daemon=True)
        self._widget: WidgetBoard | None = None
        self._handle: Any = None

    def __enter__(self) -> NotebookProgress:
        from IPython.display import display

        board = self._board()
        with contextlib.suppress(ImportError):
            self._widget = WidgetBoard(importlib.import_module("ipywidgets"))
        if self._widget:
            self._widget.draw(board)
            self._handle = display(self._widget.root, display_id=True)
        else:
            self._handle = display(_bundle(board), raw=True, display_id=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        # Plain HTML, which is shown again without a kernel. Of a run that was refused, the error says all.
        last = _bundle(self._board()) if self._tally.run else {"text/html": "", "text/plain": ""}
        self._handle.update(last, raw=True)
        if self._widget:
            self._widget.close()

    def observe(self, row: dict[str, Any]) -> None:
        with self._counting:
            self._tally.observe(row)

    def _board(self) -> Board:
        with self._counting:
            return board_of(self._tally, self._now())

    def _keep_drawing(self) -> None:
        while not self._over.wait(_DRAW_EVERY_S):
            if self._widget:
                self._widget.draw(self._board())
            else:
                self._handle.update(_bundle(self._board()), raw=True)


def _bundle(board: Board) -> dict[str, str]:
    return {"text/html": as_html(board), "text/plain": as_text(board)}
