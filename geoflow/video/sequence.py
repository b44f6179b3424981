"""A check whether the pictures of a folder make one film, and the order of these pictures."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise, takewhile

from geoflow.errors import InputError
from geoflow.video.source import IMAGE_SUFFIXES, suffix_of

_NUMBER = re.compile(r"(?<![^_=(\[,])-\d+|\d+")  # a minus counts at the start, or after a separator
_CLOCK = re.compile(r"(\d{9,})(?:\.(\d+))?")  # seconds since 1970 and their fraction
_SECONDS = re.compile(r"(\d+)(?:\.(\d+))?")
_FRACTION = re.compile(r"(?<![\d.])\d+\.(\d+)(?!\.?\d)")
_BESIDE_FRAMES = ("depth", "mask", "label", "seg", "normal", "conf", "disp", "alpha", "right", "ir", "infra")
_SAME = {".jpeg": ".jpg", ".tiff": ".tif"}
_LONGEST_TURN = 4  # the longest cycle of picture kinds that is looked for
_SHOWN = 3  # names per group in a message


@dataclass(frozen=True)
class _Name:
    """A picture's name: its text without numbers, and the numbers."""

    name: str
    shape: str
    numbers: tuple[float, ...]

    @classmethod
    def of_all(cls, names: Sequence[str]) -> list[_Name]:
        """Parse names.

        Digits after a point are a fraction if all names together show it: then 5.25 comes before 5.3.
        """
        seconds = _SECONDS if _have_fractions(names) else _CLOCK
        found = []
        for name in names:
            stem, suffix = os.path.splitext(name.casefold())
            suffix = _SAME.get(suffix, suffix)
            whole = seconds.sub(lambda m: f"{m[1]}{(m[2] or '')[:9]:0<9}", stem)  # nanoseconds
            numbers = tuple(int(number) for number in _NUMBER.findall(whole))
            found.append(cls(name, _NUMBER.sub("#", whole) + suffix, numbers))
        return found


def _have_fractions(names: Sequence[str]) -> bool:
    """Return whether digits after a point are a fraction, not a counter.

    Fractions have different lengths, and some begin with 0 or none ends with 0. Counters do neither.
    """
    digits = [part for name in names for part in _FRACTION.findall(os.path.splitext(name)[0])]
    several = len({len(part) for part in digits}) > 1
    starts = any(part.startswith("0") and len(part) > 1 for part in digits)
    return several and (starts or not any(part.endswith("0") and len(part) > 1 for part in digits))


def in_order(names: Sequence[str]) -> list[str]:
    """Sort names of pictures as a person would: by their words, and by their numbers as numbers.

    >>> in_order(["f_10.png", "f_2.png", "F_01.png", "f_-1.png", "f_-2.png"])
    ['f_-2.png', 'f_-1.png', 'F_01.png', 'f_2.png', 'f_10.png']
    """

    def key(seen: _Name) -> tuple[object, ...]:
        words = seen.shape.split("#")
        pieces: list[tuple[int, float | str]] = []
        for k, word in enumerate(words):
            pieces.append((-1, word))
            if k < len(seen.numbers):
                pieces.append((0, seen.numbers[k]))
        return (*pieces, (-2, seen.name))

    return [seen.name for seen in sorted(_Name.of_all(names), key=key)]


def matching(names: Sequence[str], pattern: str | None) -> list[str]:
    """Return the names that match; upper and lower case are the same."""
    return [n for n in names if pattern is None or fnmatchcase(n.casefold(), pattern.casefold())]


def list_images(folder: str, pattern: str | None = None) -> list[str]:
    """The pictures of a folder in the order of their numbers, as full paths, or those whose names match `pattern`.

    Hidden files (macOS leaves `._x.png`) do not count.
    """
    names = [n for n in os.listdir(folder) if suffix_of(n) in IMAGE_SUFFIXES and not n.startswith(".")]
    return [os.path.join(folder, name) for name in in_order(matching(names, pattern))]


def check_names(folder: str, names: Sequence[str], *, chosen: bool) -> None:
    """Raise InputError unless pictures of these names can be one film.

    With `chosen` the user selected the names by a pattern: then single names that differ are accepted.
    """
    seen = _Name.of_all(names)
    groups: dict[str, list[_Name]] = defaultdict(list)
    for name in seen:
        groups[name.shape].append(name)
    _check_numbers(folder, groups)
    if len(groups) > 1 and _are_films(groups) and not (chosen and _stand_out(groups)):
        raise InputError(_mixed(folder, list(groups.values())))
    if _share_words(groups):
        raise InputError(_mixed(folder, [seen]))
    if not chosen and len(groups) == 1 and (column := _column_of_films(seen)) is not None:
        films: dict[float, list[_Name]] = defaultdict(list)
        for name in seen:
            films[name.numbers[column]].append(name)
        raise InputError(_mixed(folder, list(films.values()), "; if they are one film nevertheless: --pattern '*'"))


def _check_numbers(folder: str, groups: dict[str, list[_Name]]) -> None:
    for group in groups.values():
        numbers = Counter(name.numbers for name in group if name.numbers)
        if twice := next((n for n, count in numbers.items() if count > 1), None):
            both = [name.name for name in group if name.numbers == twice][:2]
            raise InputError(
                f"{folder} holds two pictures of the same number, {both[0]} and {both[1]}: their order is "
                "unknown; rename or remove one, or choose pictures with --pattern GLOB"
            )


def _are_films(groups: dict[str, list[_Name]]) -> bool:
    """Return whether a shape of names comes more than once, or two shapes have the same numbers."""
    numbers = Counter(name.numbers for group in groups.values() for name in group if name.numbers)
    return any(len(group) > 1 for group in groups.values()) or any(count > 1 for count in numbers.values())


def _stand_out(groups: dict[str, list[_Name]]) -> bool:
    """Return whether all names are of one shape, except a few single ones."""
    return sum(len(group) > 1 for group in groups.values()) == 1


def _share_words(groups: dict[str, list[_Name]]) -> bool:
    """Return whether several unnumbered names exist again with the same word added: a, a_mask; b, b_mask."""
    stems = {os.path.splitext(shape)[0] for shape in groups}
    if any("#" in stem for stem in stems):
        return False
    words: Counter[tuple[str, str]] = Counter()
    for stem in stems:
        for k in range(1, len(stem)):
            words[stem[k:], "end"] += stem[:k] in stems
            words[stem[:k], "start"] += stem[k:] in stems
    suffixes = {suffix_of(shape) for shape in groups}
    return len(stems) < len(groups) or (len(suffixes) == 1 and any(n > 1 and len(w) > 2 for (w, _), n in words.items()))


def _column_of_films(seen: list[_Name]) -> int | None:
    """Return which number separates several films: few values, each with exactly the same other numbers."""
    count = len(seen[0].numbers)
    for column in range(count if count > 1 else 0):
        rest: dict[float, set[tuple[float, ...]]] = defaultdict(set)
        for name in seen:
            rest[name.numbers[column]].add(name.numbers[:column] + name.numbers[column + 1 :])
        values, sets = sorted(rest), list(rest.values())
        close = all(b - a == 1 for a, b in pairwise(values))
        if 1 < len(values) <= 8 and close and len(sets[0]) > len(values) and all(s == sets[0] for s in sets):
            return column
    return None


def check_kinds(folder: str, names: Sequence[str], kinds: Sequence[str]) -> None:
    """Raise InputError if picture kinds (bit depth and colours) alternate, or 16-bit grey is mixed with others."""
    different = list(dict.fromkeys(kinds))
    turn = next((k for k in range(2, _LONGEST_TURN + 1) if _repeats(kinds, k)), None)
    deep = Counter(kind == "16-bit grey" for kind in kinds)
    if len(different) > 1 and (turn is not None or min(deep[True], deep[False]) > 1):
        examples = "; ".join(f"{names[kinds.index(kind)]} is {kind}" for kind in different[:_SHOWN])
        raise InputError(
            f"{folder} cannot be one film: its pictures are of different kinds ({examples}), as colour, depth and "
            "masks are; choose those of one kind with --pattern GLOB, or put each kind into a folder of its own"
        )


def _repeats(kinds: Sequence[str], length: int) -> bool:
    return len(kinds) >= 2 * length and all(kind == kinds[k % length] for k, kind in enumerate(kinds))


def _mixed(folder: str, groups: Sequence[Sequence[_Name]], remedy: str = "") -> str:
    groups = sorted(groups, key=lambda group: (-len(group), any(w in group[0].shape for w in _BESIDE_FRAMES)))
    seen = "; ".join(
        ", ".join(name.name for name in group[:_SHOWN]) + (f" ({len(group)} such)" if len(group) > _SHOWN else "")
        for group in groups[:_SHOWN]
    )
    more = f"; and {len(groups) - _SHOWN} more kinds of names" if len(groups) > _SHOWN else ""
    choice = _pattern(groups[0], [name for group in groups[1:] for name in group])
    how = f"--pattern '{choice}'" if choice else "--pattern GLOB"
    return f"{folder} cannot be one film: it holds {seen}{more}; choose the frames with {how}{remedy}"


def _pattern(wanted: Sequence[_Name], others: Sequence[_Name]) -> str | None:
    """Return a pattern that matches the wanted names, of one shape, and none of the others; None if none is found."""
    names, shape = [name.name for name in wanted], wanted[0].shape
    if "#" not in shape or any(name.shape != shape for name in wanted):
        return None
    start = re.sub(r"\d+$", "", _common_start(names))
    end = re.sub(r"^\d+", "", _common_start([name[::-1] for name in names])[::-1])
    before, after = shape.split("#")[0], shape.split("#")[-1]
    tries = [f"*{after}", f"{before}*", shape.replace("#", "*"), shape.replace("#", "*[0-9]"), f"{start}*", f"*{end}"]
    for pattern in tries:
        if not matching([name.name for name in others], pattern) and len(matching(names, pattern)) == len(names):
            return pattern
    return None


def _common_start(names: Sequence[str]) -> str:
    letters = [column[0] for column in takewhile(lambda column: len(set(column)) == 1, zip(*names))]
    return "".join(letters)
