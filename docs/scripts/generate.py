"""Fills the generated parts of the pages: tables made from the code that they describe.

    python docs/scripts/generate.py            # rewrites the pages that are stale, and names them
    python docs/scripts/generate.py --check    # names them only; exit status 1 if there are any

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`; `reference.PARTS` says which names there are.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from reference import PARTS

ROOT = Path(__file__).parents[2]
_PART = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    """Every Markdown page of the project that may hold generated parts."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def filled(text: str) -> str:
    """Return a page's text with each generated part made anew. Raises KeyError for a part that nothing makes."""
    return _PART.sub(lambda match: f"{match[1]}{PARTS[match[2]]().strip()}\n{match[3]}", text)


def stale() -> dict[Path, str]:
    """Pages that differ from what the code says now, each with the text that it should have."""
    texts = {page: filled(page.read_text(encoding="utf-8")) for page in pages()}
    return {page: text for page, text in texts.items() if text != page.read_text(encoding="utf-8")}


def main() -> int:
    check = "--check" in sys.argv[1:]
    found = stale()
    for page, text in found.items():
        print(f"{page.relative_to(ROOT)} {'is stale' if check else 'is written'}")
        if not check:
            page.write_text(text, encoding="utf-8")
    return 1 if found and check else 0


if __name__ == "__main__":
    raise SystemExit(main())
