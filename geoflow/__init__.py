"""GeoFlow turns videos into 3D training data: depth, camera poses, tracks and hands, on a Ray cluster."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from geoflow.errors import GeoFlowError
from geoflow.stage import Stage
from geoflow.values.version import VERSION as __version__

if TYPE_CHECKING:
    from geoflow.comparison import compare
    from geoflow.pipeline import Pipeline
    from geoflow.results import RunResult
    from geoflow.runner import run
    from geoflow.scanning import scan_inputs as scan
    from geoflow.store.reader import Video
    from geoflow.store.reader import open_video as open
    from geoflow.store.run import Run, load_run

__all__ = [
    "GeoFlowError",
    "Pipeline",
    "Run",
    "RunResult",
    "Stage",
    "Video",
    "__version__",
    "compare",
    "load_run",
    "open",
    "run",
    "scan",
]

# Imported when first used: a model's environment need not have what they import, and `geoflow-reader` has only some.
_LAZY = {
    "Pipeline": ("geoflow.pipeline", "Pipeline"),
    "Run": ("geoflow.store.run", "Run"),
    "RunResult": ("geoflow.results", "RunResult"),
    "Video": ("geoflow.store.reader", "Video"),
    "compare": ("geoflow.comparison", "compare"),
    "load_run": ("geoflow.store.run", "load_run"),
    "open": ("geoflow.store.reader", "open_video"),
    "run": ("geoflow.runner", "run"),
    "scan": ("geoflow.scanning", "scan_inputs"),
}


if not TYPE_CHECKING:  # which would take any name for one that is there

    def __getattr__(name: str) -> Any:
        if name not in _LAZY:
            raise AttributeError(f"module 'geoflow' has no attribute {name!r}")
        module, attribute = _LAZY[name]
        if not _is_here(module):
            raise AttributeError(
                f"geoflow.{name} is not part of geoflow-reader, which only reads; install geoflow-video"
            )
        value = getattr(importlib.import_module(module), attribute)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """Return the public names, also of what is not imported yet."""
    return sorted(name for name in __all__ if name not in _LAZY or _is_here(_LAZY[name][0]))


def _is_here(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
