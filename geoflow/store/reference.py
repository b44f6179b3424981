"""The field table for the documentation: a row per field in words, and the table in Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from geoflow.fields import FIELDS
from geoflow.store.schema import columns, datasets
from geoflow.values.field import (
    ANYTHING,
    DEPTHS,
    DIRECTIONS,
    EITHER,
    LATER,
    LENGTHS,
    MIX,
    MOST,
    NAN,
    NEARER,
    NEVER,
    PAST,
    PLACEMENTS,
    PLACES,
    POSES,
    TOGETHER,
    WHOLE,
    Field,
)

_FADES = {
    LATER: "of the later segment",
    NEARER: "of the nearer segment that knows it",
    TOGETHER: "of the nearer segment that knows it, with all of its group",
    MIX: "mixed",
    EITHER: "True where either is",
    MOST: "the larger of both",
    WHOLE: "a point in both segments is mixed",
    PAST: "",
}
_MOVES = {
    DEPTHS: "scaled as {}",
    LENGTHS: "scaled as {}",
    PLACES: "moved with the world",
    PLACEMENTS: "moved with the world",
    POSES: "moved with the world",
    DIRECTIONS: "turned with the world",
}


@dataclass(frozen=True)
class FieldRow:
    """One field in the words of the reference."""

    name: str
    dtype: str
    shape: str
    unit: str
    meaning: str
    space: str
    invalid: str
    store: str
    seam: str


def field_rows() -> Iterator[FieldRow]:
    """Yield the rows of the field table in words, in its order."""
    for row in FIELDS.values():
        meaning = f"{row.meaning}; {row.conventions}" if row.conventions else row.meaning
        yield FieldRow(
            row.name, row.dtype, row.shape, row.unit, meaning, row.space, _invalid(row), _store(row), _seam(row)
        )


def field_table(slot: str = "") -> str:
    """Return all rows, or the rows of one slot, as a Markdown table that ends with a line break."""
    titles = FieldRow.__dataclass_fields__
    lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    for row in field_rows():
        if not slot or row.name.startswith(f"{slot}."):
            cells = asdict(row)
            cells |= {name: f"`{cells[name]}`" for name in ("name", "dtype", "shape")}
            lines.append("| " + " | ".join(text.replace("|", "\\|") for text in cells.values()) + " |")
    return "\n".join(lines) + "\n"


def _invalid(row: Field) -> str:
    """Return the value that stands for unknown, and where it is found."""
    if row.invalid == NEVER and not row.outside:
        return "all values are known"
    value = {NAN: "NaN", ANYTHING: "anything (0 in the store)"}.get(row.invalid, "0")
    value = "False" if row.dtype == "bool" else value
    if row.outside:
        return f"{value} where {row.outside} is False"
    return f"{value}; known where {row.holds} is True" if row.holds else value


def _store(row: Field) -> str:
    """Return the datasets of a field, with what they depend on; "" if a store has none."""
    for name, entry in columns().items():
        if entry.field == row.name:
            return f"a column of `segments`: `{name}`"
    said = []
    for entry in datasets().values():
        if entry.field == row.name:
            more = [entry.dtype] if entry.dtype != row.dtype else []
            more += ["depth only"] if entry.take else []
            more += [f"`write.{entry.stored.switch.name}`"] if entry.stored.switch else []
            said.append(f"`{entry.name}`" + (f" ({', '.join(more)})" if more else ""))
    return ", ".join(said)


def _seam(row: Field) -> str:
    """Return how two segments' values of a frame become one, and how the video's world and scale change them."""
    if row.fade == PAST:
        return ""
    words = [_FADES[row.fade]] if row.per_frame or row.fade == WHOLE else []
    words += [_MOVES[row.moves].format(row.branch)] if row.moves in _MOVES else []
    return "; ".join(words)
