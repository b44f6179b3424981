"""transformers without torchvision, which it would import wherever it finds it.

Nothing here needs torchvision. One that was built for another torch cannot be imported ("operator torchvision::nms does
not exist"), and with it no model of transformers. An environment made on top of a Python that has torchvision sees it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from geoflow.errors import EnvironmentBroken

_HIDDEN = "torchvision"
_NUMBERS = ".position_ids"
_NAMED = 4  # keys of a kind, at most


@contextlib.contextmanager
def without_torchvision() -> Iterator[None]:
    """Hide torchvision from imports within the block, unless it is imported already.

    transformers looks for it once, so it does without it also afterwards. Raises EnvironmentBroken that names
    torchvision if it was looked for before and cannot be imported.
    """
    hide = _HIDDEN not in sys.modules
    if hide:
        sys.modules[_HIDDEN] = None  # type: ignore[assignment]  # how Python says that there is none
    try:
        yield
    except (RuntimeError, ImportError) as error:
        if _HIDDEN not in str(error):
            raise
        raise EnvironmentBroken(
            f"torchvision {_version(_HIDDEN)} does not fit torch {_version('torch')}: uninstall it, since nothing here "
            f"needs it ({str(error).splitlines()[0]})"
        ) from error
    finally:
        if hide:
            sys.modules.pop(_HIDDEN, None)


def unlike_published(found: Mapping[str, Any]) -> str:
    """Return which weights are missing, unknown or of another shape, in words; "" if all are the network's.

    `found` is the loading info of transformers' `from_pretrained`. Numbers of positions, which older files hold beside
    the weights, do not count.
    """
    rows = {kind: sorted(str(key) for key in keys) for kind, keys in found.items()}
    rows = {kind: [key for key in keys if not key.endswith(_NUMBERS)] for kind, keys in rows.items()}
    return "; ".join(f"{kind.replace('_', ' ')}: {keys[:_NAMED]}" for kind, keys in rows.items() if keys)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"
