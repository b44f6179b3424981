"""Durations as text, in the unit that people use."""

from __future__ import annotations

from datetime import timedelta


def in_words(seconds: float) -> str:
    """Write a duration in words. It is rounded before it is split, so "1 min 60 s" cannot occur.

    >>> in_words(0.0042), in_words(0.25), in_words(8.24), in_words(59.96)
    ('4 ms', '250 ms', '8.2 s', '1 min 0 s')
    >>> in_words(75), in_words(119.7), in_words(7260), in_words(7199)
    ('1 min 15 s', '2 min 0 s', '2 h 1 min', '2 h 0 min')
    """
    if 0 < seconds < 0.9995:
        return f"{1e3 * seconds:.0f} ms"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(whole / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def clock(seconds: float) -> str:
    """Write a duration as hours, minutes and seconds.

    >>> clock(75.2)
    '0:01:15'
    """
    return str(timedelta(seconds=round(seconds)))
