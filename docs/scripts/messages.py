"""Every message with which GeoFlow raises an error on purpose, read from its sources.

    python docs/scripts/messages.py     # those that no row of docs/troubleshooting.md covers

What a message fills in is written `…`. A row of the page covers the messages that begin like one of its quotes; a `…`
in a quote stands for anything.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from geoflow import errors

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "troubleshooting.md"
FILLED_IN = "…"
KINDS = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
_NOT_USERS = ("geoflow/bench/",)  # read by those who measure, who have the code before them


@dataclass(frozen=True)
class Message:
    """One call that makes an error: its class, where it stands, and its text."""

    kind: str
    where: str
    text: str


@functools.cache  # the sources do not change meanwhile
def messages() -> list[Message]:
    """All of them, in the order of the sources; a message that says one of two things is there twice."""
    trees = _trees()
    constants = {name: text for tree in trees.values() for name, text in _constants(tree)}
    found = []
    for path, tree in trees.items():
        known = {**constants, **dict(_constants(tree))}
        where = path.relative_to(ROOT).as_posix()
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in KINDS and call.args:
                place = f"{where}:{call.lineno}"
                found += [Message(call.func.id, place, text) for text in _texts(call.args[0], known)]
    return found


@functools.cache
def texts() -> list[str]:
    """Every text of the sources, whatever it is for: messages that are put together elsewhere are among them."""
    found: list[str] = []
    for tree in _trees().values():
        known = dict(_constants(tree))
        for node in ast.walk(tree):
            if isinstance(node, (ast.Constant, ast.JoinedStr)):
                found += _texts(node, known)
    return found


@functools.cache
def _trees() -> dict[Path, ast.Module]:
    paths = [path for folder in ("geoflow", "actors") for path in sorted((ROOT / folder).rglob("*.py"))]
    ours = [path for path in paths if not path.relative_to(ROOT).as_posix().startswith(_NOT_USERS)]
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in ours}


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Module-level names of texts."""
    for row in tree.body:
        if isinstance(row, ast.Assign) and isinstance(row.targets[0], ast.Name) and isinstance(row.value, ast.Constant):
            yield row.targets[0].id, str(row.value.value)


def _texts(node: ast.expr, known: dict[str, str]) -> list[str]:
    """What an expression may read as."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.Name):
        return [known.get(node.id, FILLED_IN)]
    if isinstance(node, ast.IfExp):
        return _texts(node.body, known) + _texts(node.orelse, known)
    if isinstance(node, ast.FormattedValue):
        return _texts(node.value, known) if isinstance(node.value, (ast.Name, ast.IfExp)) else [FILLED_IN]
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add)):
        parts = node.values if isinstance(node, ast.JoinedStr) else [node.left, node.right]
        texts = [""]
        for part in parts:
            texts = [before + text for before in texts for text in _texts(part, known)]
        return texts
    return [FILLED_IN]


def quotes(page: str) -> dict[str, list[str]]:
    """Quotes of the page by section: the code in the first column of its tables."""
    found: dict[str, list[str]] = {}
    kind = ""
    for line in page.splitlines():
        if line.startswith("## "):
            kind = line[3:].strip("` ")
        elif line.startswith("| `"):
            cell = line[2:].split(" | ")[0]
            found.setdefault(kind, []).extend(text for _, text in re.findall(r"(`+)(.+?)\1(?!`)", cell))
    return found


def covers(quote: str, text: str) -> bool:
    """Whether a message begins like a quote.

    >>> covers("… is cut off", "… is cut off: it ends early"), covers("is damaged", "… is damaged")
    (True, False)
    """
    first, *others = quote.split(FILLED_IN)
    if not text.startswith(first):
        return False
    place = len(first)
    for part in others:
        found = text.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return True


def uncovered(page: str) -> list[Message]:
    """Messages that no quote in the section of their class covers, except those that only pass on another's words."""
    known = quotes(page)
    return [
        row
        for row in messages()
        if says_something(row.text) and not any(covers(quote, row.text) for quote in known.get(row.kind, []))
    ]


def says_something(text: str) -> bool:
    """Whether there are words between what is filled in.

    >>> says_something("… is empty"), says_something("…: …, found …"), says_something("…:// …")
    (True, True, False)
    """
    return re.search(r"[a-z]{2}", text) is not None


if __name__ == "__main__":
    for row in uncovered(PAGE.read_text(encoding="utf-8")):
        print(f"{row.where}: {row.kind}: {row.text}")
