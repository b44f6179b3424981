"""The page of errors: a section for each class, quotes that the code still says, few messages without a row."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from geoflow import errors
from geoflow.errors import GeoFlowError

ROOT = Path(__file__).parents[2]
_LEAST_COVERED = 0.9  # of the messages; new ones get their rows with the next change of the page


@pytest.fixture(scope="module")
def messages() -> ModuleType:
    sys.path.insert(0, str(ROOT / "docs" / "scripts"))
    try:
        import messages
    finally:
        del sys.path[0]
    return messages


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


def test_every_error_class_has_its_section(page: str) -> None:
    kinds = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, GeoFlowError)]
    assert len(kinds) >= 8
    for kind in kinds:
        if kind is not GeoFlowError:
            assert f"\n## {kind.__name__}\n" in page
            assert f"| [{kind.__name__}](#{kind.__name__.lower()}) |" in page


def test_what_is_quoted_is_what_the_code_says(messages: ModuleType, page: str) -> None:
    found, texts = messages.messages(), messages.texts()
    for kind, quotes in messages.quotes(page).items():
        for quote in quotes:
            assert messages.says_something(quote), f"{quote!r} would cover anything"
            said_by = {row.kind for row in found if messages.covers(quote, row.text)}
            put_together = not said_by and any(messages.covers(quote, text) for text in texts)
            assert kind in said_by or put_together, f"no {kind} says {quote!r} any more"


def test_most_messages_have_a_row(messages: ModuleType, page: str) -> None:
    lacking, every = messages.uncovered(page), messages.messages()
    assert len(every) > 200
    listed = "\n".join(f"{row.where}: {row.kind}: {row.text}" for row in lacking)
    assert len(lacking) <= (1 - _LEAST_COVERED) * len(every), f"add rows to docs/troubleshooting.md:\n{listed}"


def test_messages_are_read_from_the_sources(messages: ModuleType) -> None:
    """Constants, and what is filled in: three known messages."""
    texts = {(row.kind, row.text) for row in messages.messages()}
    assert ("InputError", "… is empty (0 bytes); copy or record it again") in texts
    assert any(kind == "InputError" and text.endswith("ffmpeg -i IN -c:v libx264 OUT.mp4") for kind, text in texts)
    assert ("ConfigError", "--size …: width and height should be positive") in texts
