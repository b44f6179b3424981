"""What a backend declares so that other programs can start it as a worker.

    class MyWorker(BackendWorker):
        "Depth of a picture: prints {"depth": FILE}."

        @dataclass(frozen=True)
        class Request:
            picture: str = argument("PNG", "the picture")
            near: float | None = option("M", "nearest depth", default=None)

        def answer(self, request):
            return {"depth": ...}

It stands beside the backend's Stage, in the same module. `geoflow worker NAME PICTURE.png --near 0.5` asks for one
answer; with `persistent`, {"picture": "PICTURE.png", "near": 0.5} on a line of stdin asks for the next.
"""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from dataclasses import dataclass
from typing import Any, ClassVar

from geoflow.backends import loading
from geoflow.errors import ConfigError


class BackendWorker:
    """Answers requests with one stage, which is set up once.

    The docstring's first line is the help of the command. A request goes through `read`, which may refuse it and runs
    before the model is loaded, and `answer`, whose result is printed as JSON. What they raise is the answer: an exit
    status and a message, or {"error": "…"} of a persistent worker.
    """

    persistent: ClassVar[bool] = False  # without arguments, it answers lines of stdin until that ends
    writes: ClassVar[tuple[str, ...]] = ()  # arguments that name files which must be there after an answer

    @dataclass(frozen=True)
    class Request:
        """Typed arguments; subclass it and add fields made with `argument` and `option`."""

    def __init__(self, stage: Any) -> None:
        self.stage = stage

    def read(self, request: Any) -> Any:
        """Return what `answer` needs of a request. Raises InputError for what cannot be used."""
        return request

    def answer(self, request: Any) -> dict[str, Any]:
        """Return plain values that JSON has."""
        raise NotImplementedError

    @staticmethod
    def log(message: str) -> None:
        """Tell whoever started the worker how far it is."""
        print(f"[worker] {message}", file=sys.stderr, flush=True)


def argument(metavar: str, help: str) -> Any:
    """A value that stands by itself on the command line, and that every request has."""
    return dataclasses.field(metadata={"metavar": metavar, "help": help, "positional": True})


def option(metavar: str, help: str, *, default: Any = dataclasses.MISSING, in_requests_only: bool = False) -> Any:
    """A value that is named, `--like_this` on the command line; required where there is no default.

    `in_requests_only`: on lines of stdin, not on the command line.
    """
    metadata = {"metavar": metavar, "help": help, "positional": False, "in_requests_only": in_requests_only}
    return dataclasses.field(default=default, metadata=metadata, kw_only=True)


def find(backend: str) -> type[BackendWorker]:
    """Return the worker that a backend declares. Raises ConfigError when there is none, or no such backend."""
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
    """Return the Request with these values; what it does not know is passed over.

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
    """Return how a request looks: {"input": "IN.npy"}, with "fov_x" in degrees where that is known."""
    rows = dataclasses.fields(worker.Request)
    must = ", ".join(f'"{row.name}": "{row.metadata["metavar"]}"' for row in rows if is_required(row))
    may = "".join(f', with "{row.name}" {row.metadata["help"]}' for row in rows if not is_required(row))
    return f"{{{must}}}{may}"


def is_required(row: dataclasses.Field[Any]) -> bool:
    """Whether every request has this value."""
    return row.default is dataclasses.MISSING


def kind_of(hint: Any) -> type:
    """Return the plain type of a field of a Request, which may also be None."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    (kind,) = [option for option in options if option is not type(None)]
    return typing.cast(type, kind)
