"""Words that depend on a number."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """Return a number of things.

    >>> counted(1, "video"), counted(2, "video"), counted(0, "video")
    ('1 video', '2 videos', '0 videos')
    """
    return f"{number} {thing}{'s' * (number != 1)}"
