"""The declaration with which a backend lets other programs start it as a worker.

    class MyWorker(BackendWorker):
        "Depth of a picture: prints {"depth": FILE}."

        @dataclass(frozen=True)
        class Request:
            picture: str = argument("PNG", "the picture")
            near: float | None = option("M", "nearest depth", default=None)

        def answer(self, request):
            return {"depth": ...}

It is in the same module as the backend's Stage. `geoflow worker NAME PICTURE.png --near 0.5` requests one answer. With
`persistent`, each line {"picture": "PICTURE.png", "near": 0.5} on stdin requests one.
"""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from geoflow.backends import loading
from geoflow.errors import ConfigError


class BackendWorker:
    """Answers requests with one stage, which is set up once.

    The docstring's first line is the help of the command. A request goes first through `read`, which may refuse it and
    runs before the model is loaded. Then it goes through `answer`, whose result is printed as JSON. An exception
    becomes the answer: an exit status and a message, or {"error": "…"} from a persistent worker.
    """

    persistent: ClassVar[bool] = False  # without arguments, it answers lines of stdin until stdin ends
    writes: ClassVar[tuple[str, ...]] = ()  # arguments that name files which must exist after an answer
    needs_model: ClassVar[bool] = True  # the stage is set up first; otherwise `stage` is None

    @dataclass(frozen=True)
    class Request:
        """Typed arguments; subclass it and add fields made with `argument` and `option`."""

    def __init__(self, stage: Any, settings: Sequence[str] = ()) -> None:
        """`settings` are the values of `--set` as they stand, for a worker without a model of its own."""
        self.stage, self.settings = stage, tuple(settings)

    def read(self, request: Any) -> Any:
        """Return what `answer` needs from a request. Raises InputError for a request that cannot be used."""
        return request

    def answer(self, request: Any) -> dict[str, Any]:
        """Return plain values of JSON types."""
        raise NotImplementedError

    @staticmethod
    def log(message: str) -> None:
        """Report progress to the program that started the worker."""
        print(f"[worker] {message}", file=sys.stderr, flush=True)


def argument(metavar: str, help: str) -> Any:
    """Declare a positional argument of the command line; every request has it."""
    return dataclasses.field(metadata={"metavar": metavar, "help": help, "positional": True})


def option(
    metavar: str,
    help: str,
    *,
    default: Any = dataclasses.MISSING,
    in_requests_only: bool = False,
    spelt_out: bool = False,
) -> Any:
    """Declare a named value, `--like_this` on the command line; required if there is no default.

    `in_requests_only`: allowed on lines of stdin, not on the command line. `spelt_out`: a bool that is written
    `--like_this True`, or False; without a value it is true.
    """
    metadata = {"metavar": metavar, "help": help, "positional": False}
    metadata |= {"in_requests_only": in_requests_only, "spelt_out": spelt_out}
    return dataclasses.field(default=default, metadata=metadata, kw_only=True)


def find(backend: str) -> type[BackendWorker]:
    """Return the worker that a backend declares. Raises ConfigError if there is none, or no such backend."""
    if ":" not in backend and backend not in loading.names():
        raise ConfigError(f"no worker {backend!r}; there are: {', '.join(names())}")
    found = loading.defined_in(loading.module_of(backend)[0], BackendWorker)
    if len(found) != 1:
        there = ", ".join(names())
        raise ConfigError(
            f"backend {backend!r} should declare one BackendWorker, found {len(found)}; there are: {there}"
        )
    return found[0]


def names() -> list[str]:
    """Return the backends below `actors` that declare a worker."""
    return [name for name in loading.names() if loading.defined_in(loading.module_of(name)[0], BackendWorker)]


def request_of(worker: type[BackendWorker], values: Any) -> Any:
    """Return the Request with these values; unknown names are ignored.

    Raises TypeError, ValueError or KeyError for values that do not fit.
    """
    if not isinstance(values, dict):
        raise TypeError
    hints, given = typing.get_type_hints(worker.Request), {}
    for row in dataclasses.fields(worker.Request):
        if row.name not in values and not is_required(row):
            continue
        value, kind = values[row.name], kind_of(hints[row.name])
        if kind is bool and not isinstance(value, bool):
            raise ValueError
        given[row.name] = None if value is None and kind is not hints[row.name] else kind(value)
    return worker.Request(**given)


def form(worker: type[BackendWorker]) -> str:
    """Return the form of a request as text: {"input": "IN.npy"}, with "fov_x" in degrees where that is known."""
    rows = dataclasses.fields(worker.Request)
    must = ", ".join(f'"{row.name}": "{row.metadata["metavar"]}"' for row in rows if is_required(row))
    may = "".join(f', with "{row.name}" {row.metadata["help"]}' for row in rows if not is_required(row))
    return f"{{{must}}}{may}"


def is_required(row: dataclasses.Field[Any]) -> bool:
    """Return whether every request must have this value."""
    return row.default is dataclasses.MISSING


def kind_of(hint: Any) -> type:
    """Return the plain type of a field of a Request, which may also be None."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    (kind,) = [option for option in options if option is not type(None)]
    return typing.cast(type, kind)
