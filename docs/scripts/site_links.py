"""A hook of MkDocs: what differs between a page read in the repository and on the site."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)]+)\)")


def on_page_markdown(markdown: str, config: Any, **_: Any) -> str:
    """Links to files outside of docs/ lead into the repository where its address is known, else name the file."""
    base = (config.repo_url or "").rstrip("/")
    return _OUTSIDE.sub(rf"[\1]({base}/blob/main/\2)" if base else r"\1 (`\2`)", markdown)
