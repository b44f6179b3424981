"""Strict validation of plain values by pydantic models: what is of another type is refused, never made to fit.

Two things fit that look different: 5.0 where an integer is wanted, and a list where a tuple is.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, Union

from pydantic import BaseModel, BeforeValidator, ValidationError

T = TypeVar("T", bound=BaseModel)


def _as_whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_as_whole)]


def validated(model: type[T], values: Mapping[str, Any]) -> T:
    """A model of plain values (`geoflow.values.plain.plain`). Raises ValidationError."""
    # Strict about JSON, which has no tuples, and not about Python: there a list would be refused for a tuple.
    return model.model_validate_json(json.dumps(values), strict=True)


def lenient(hint: Any) -> Any:
    """A type hint in which 5.0 is an integer, too."""
    if hint is int:
        return Whole
    if typing.get_origin(hint) in (Union, types.UnionType):
        kinds = typing.get_args(hint)
        return hint if float in kinds else Union[tuple(lenient(kind) for kind in kinds)]  # noqa: UP007
    return hint


def first_fault(error: ValidationError) -> tuple[str, str, Any]:
    """Where it is, as a dotted name, what pydantic says of it, and the value that was found."""
    first = error.errors()[0]
    return ".".join(map(str, first["loc"])), str(first["msg"]), first.get("input")
