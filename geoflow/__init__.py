"""GeoFlow turns videos into 3D training data: depth, camera poses, tracks and hands, on a Ray cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geoflow.errors import GeoFlowError
from geoflow.stage import Stage

if TYPE_CHECKING:
    from geoflow.pipeline import Pipeline
    from geoflow.runner import run
    from geoflow.store.reader import open_video as open
    from geoflow.store.run import load_run

__all__ = ["GeoFlowError", "Pipeline", "Stage", "load_run", "open", "run"]

# Imported when first used: a model's environment need not have what they import.
_LAZY = {
    "Pipeline": ("geoflow.pipeline", "Pipeline"),
    "load_run": ("geoflow.store.run", "load_run"),
    "open": ("geoflow.store.reader", "open_video"),
    "run": ("geoflow.runner", "run"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'geoflow' has no attribute {name!r}")
    import importlib

    module, attribute = _LAZY[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value
