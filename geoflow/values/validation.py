"""Strict validation of plain values by pydantic models: a value of another type is refused, never converted.

There are two exceptions: 5.0 where an integer is expected, and a list where a tuple is.
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
    """Make a model from plain values (`geoflow.values.plain.plain`). Raises ValidationError."""
    # Strict for JSON, which has no tuples, so that a list is accepted for a tuple; strict Python input would refuse it.
    return model.model_validate_json(json.dumps(values), strict=True)


def lenient(hint: Any) -> Any:
    """Return a type hint in which 5.0 counts as an integer, too."""
    if hint is int:
        return Whole
    if typing.get_origin(hint) in (Union, types.UnionType):
        kinds = typing.get_args(hint)
        return hint if float in kinds else Union[tuple(lenient(kind) for kind in kinds)]  # noqa: UP007
    return hint


def first_fault(error: ValidationError) -> tuple[str, str, Any]:
    """Return the first error's place as a dotted name, pydantic's message, and the value found."""
    first = error.errors()[0]
    return ".".join(map(str, first["loc"])), str(first["msg"]), first.get("input")
