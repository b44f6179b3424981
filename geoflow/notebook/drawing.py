"""Drawing of a `Board`: as HTML that is replaced in place, as ipywidgets, or as text. Nothing is decided here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from geoflow.observe.board import Board, StageBar
from geoflow.report.markup import text

# Readable on light and on dark themes: text keeps the theme's colour.
_BLUE, _GREEN, _RED, _TRACK = "#3b82c4", "#2e9e5b", "#d9534f", "rgba(128,128,128,.25)"
_SOFT = "opacity:.7"
_FILL = {"done": _GREEN, "left out": _TRACK}


def as_text(board: Board) -> str:
    """Return lines for frontends without HTML."""
    rows = [board.headline]
    if not board.over:
        rows += [f"  {bar.slot:<10} {round(100 * bar.share):3d} %  {bar.detail}" for bar in _bars(board)]
    rows += [f"  failed: {line}" for line in board.failures] + [f"  {line}" for line in board.remarks]
    return "\n".join(rows)


def as_html(board: Board) -> str:
    """Return the board with bars; it is folded when the run is over."""
    rows = "".join(_row(bar) for bar in _bars(board))
    table = (
        f'<div style="display:grid;grid-template-columns:max-content minmax(8em,22em) auto;gap:2px 12px">{rows}</div>'
    )
    if board.over:
        table = f'<details><summary style="cursor:pointer;{_SOFT}">stages</summary>{table}</details>' if rows else ""
    return f'<div style="font-size:13px;line-height:1.5">{head_html(board)}{table}{notes_html(board)}</div>'


@dataclass(frozen=True)
class _Whole:
    """The bar of the whole run, in the form of the bar of a stage."""

    share: float
    detail: str
    state: str
    slot: str = "all"


def _bars(board: Board) -> list[StageBar | _Whole]:
    state = "done" if board.state == "finished" else "working"
    return [_Whole(board.share, board.subject, state), *board.stages] if board.stages else []


def head_html(board: Board) -> str:
    colour = f"color:{_RED}" if board.failed or board.state == "stopped" else ""
    return f'<div style="font-weight:600;{colour}">{text(board.headline)}</div>'


def notes_html(board: Board) -> str:
    failures = "".join(f'<div style="color:{_RED}">failed: {text(line)}</div>' for line in board.failures)
    return failures + "".join(f'<div style="{_SOFT}">{text(line)}</div>' for line in board.remarks)


def _row(bar: StageBar | _Whole) -> str:
    fill = _FILL.get(bar.state, _BLUE)
    return (
        f"<span>{text(bar.slot)}</span>"
        f'<span style="align-self:center;height:9px;border-radius:5px;overflow:hidden;background:{_TRACK}">'
        f'<span style="display:block;height:100%;width:{100 * bar.share:.0f}%;background:{fill}"></span></span>'
        f'<span style="{_SOFT}">{text(bar.detail)}</span>'
    )


class WidgetBoard:
    """The board as ipywidgets, which frontends redraw without flicker."""

    def __init__(self, widgets: Any) -> None:
        self._widgets = widgets
        self._head, self._notes, self._rows = widgets.HTML(), widgets.HTML(), widgets.VBox()
        self._bars: dict[str, tuple[Any, Any]] = {}  # slot -> bar and the text beside it
        self.root = widgets.VBox([self._head, self._rows, self._notes])

    def draw(self, board: Board) -> None:
        self._head.value, self._notes.value = head_html(board), notes_html(board)
        bars = _bars(board)
        if len(self._bars) != len(bars):
            self._rows.children = [self._add(bar.slot) for bar in bars]
        for bar in bars:
            progress, label = self._bars[bar.slot]
            progress.value, label.value = bar.share, f'<span style="{_SOFT}">{text(bar.detail)}</span>'
            progress.bar_style = "success" if bar.state == "done" else ""

    def close(self) -> None:
        """Free the resources that kernel and frontend hold for the board."""
        waiting = [self.root]
        while waiting:
            widget = waiting.pop()
            waiting += getattr(widget, "children", ())
            widget.close()

    def _add(self, slot: str) -> Any:
        w = self._widgets
        name = w.HTML(text(slot), layout=w.Layout(width="7em"))
        self._bars[slot] = w.FloatProgress(min=0, max=1, layout=w.Layout(width="22em")), w.HTML()
        return w.HBox([name, *self._bars[slot]])
