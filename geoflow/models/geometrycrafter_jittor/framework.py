"""Jittor itself, for the networks here: whoever chooses the device calls `compiling.import_jittor` before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from geoflow.models.geometrycrafter_jittor.compiling import import_jittor

jt: Any = import_jittor()
nn: Any = jt.nn

if TYPE_CHECKING:
    Var: TypeAlias = Any
else:
    Var = jt.Var
