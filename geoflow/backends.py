"""Backends by name: the module's path is the registry.

`embedded.colmap` is `actors/embedded/colmap.py`; names that begin with `geoflow.` are modules of the library.
Each such module defines exactly one Stage. `package.module:Class` names a Stage that lives anywhere else.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
import typing
from typing import Any

from geoflow.errors import ConfigError
from geoflow.stage import Stage


def load(backend: str) -> type[Stage]:
    """The Stage class of a backend. Raises ConfigError when there is none, or more than one."""
    name, elsewhere, class_name = backend.partition(":")
    if not elsewhere and not name.startswith("geoflow."):
        name = f"actors.{name}"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise ConfigError(
                f"backend {backend!r} needs {error.name!r} at import time; import it inside setup() instead"
            ) from error
        if elsewhere:
            raise ConfigError(
                f"backend {backend!r}: Python finds no module {name!r}; install it, put its folder on $PYTHONPATH, or "
                "run where it lies"
            ) from None
        raise ConfigError(f"unknown backend {backend!r}; there are: {', '.join(names())}") from None
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Stage)
        and value.__module__ == name
        and class_name in ("", value.__name__)
    ]
    if len(found) != 1:
        raise ConfigError(f"{backend!r} should name exactly one Stage, found {len(found)} in {name}")
    return found[0]


def names() -> list[str]:
    """Every backend there is: the modules below `actors` and the library's own stages."""
    import actors
    import geoflow.stages

    below_actors = pkgutil.walk_packages(actors.__path__, "actors.")
    own = pkgutil.iter_modules(geoflow.stages.__path__, "geoflow.stages.")
    return sorted(
        [m.name.removeprefix("actors.") for m in below_actors if not m.ispkg] + [m.name for m in own if not m.ispkg]
    )


def make_params(stage: type[Stage], values: dict[str, Any], *, slot: str) -> Any:
    """Validate and convert parameter values into the stage's Params.

    Raises ConfigError that names the slot, the parameter, what was expected and what was found.
    """
    from pydantic import ValidationError

    declared = dataclasses.fields(stage.Params)
    try:
        valid = _params_model(stage.Params)(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([slot, *map(str, first["loc"])])
        if first["type"] == "extra_forbidden":
            known = ", ".join(row.name for row in declared) or "none"
            raise ConfigError(f"{where}: no such parameter; {slot} has: {known}") from None
        raise ConfigError(f"{where}: {first['msg']}, found {first['input']!r}") from None
    return stage.Params(**{row.name: getattr(valid, row.name) for row in declared})


@functools.cache  # building a model takes milliseconds, and stages are made anew for every fingerprint and graph
def _params_model(params: type) -> Any:
    """A pydantic model with the fields of a Params dataclass, which knows no others."""
    from pydantic import ConfigDict, create_model

    hints = typing.get_type_hints(params)
    return create_model(
        params.__qualname__,
        __config__=ConfigDict(extra="forbid", protected_namespaces=()),
        **{row.name: (hints[row.name], row.default) for row in dataclasses.fields(params)},  # type: ignore[call-overload]
    )
