"""Errors of a stage in another process, described there and raised here as if they had been raised here."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from geoflow import errors
from geoflow.errors import EnvironmentBroken, GeoFlowError, StageError


class ChildDied(StageError):
    """The process in which a stage ran is gone; `killed` by a signal, or ended by itself."""

    def __init__(self, message: str, *, killed: bool = True) -> None:
        super().__init__(message)
        self.killed = killed


class InterpreterBroken(EnvironmentBroken):
    """A node cannot have the interpreter that an environment states, or GeoFlow does not start in it."""


class ForeignError(Exception):
    """An error of a kind that only the other process knows; the class that is raised has that kind's name."""


class _Traceback(Exception):
    """The traceback in the other process, as the cause of the error."""

    def __str__(self) -> str:
        return f"in the child process:\n\n{self.args[0]}"


@dataclass(frozen=True)
class Described:
    """An error in plain texts."""

    kind: str  # its class's name
    message: str
    traceback: str
    known_as: str = ""  # the nearest of GeoFlow's own classes; "" for others
    of_memory: bool = False
    origin: int | None = None  # number of an error that this process itself has sent there


def describe_error(error: BaseException) -> Described:
    own = [base.__name__ for base in type(error).__mro__ if base.__module__ == errors.__name__]
    return Described(
        type(error).__name__,
        str(error),
        "".join(traceback.format_exception(error)),
        own[0] if own else "",
        isinstance(error, MemoryError),
        getattr(error, "geoflow_origin", None),
    )


def revived(described: Described) -> Exception:
    """Return an error that has the described one's name, message and, if GeoFlow knows it, its class."""
    if described.known_as:
        known = getattr(errors, described.known_as, GeoFlowError)
        error: Exception = known(described.message)
    else:
        base = MemoryError if described.of_memory else ForeignError
        error = type(described.kind, (base,), {})(described.message)
    error.__cause__ = _Traceback(described.traceback)
    return error
