"""A kind of Ray environment that cannot be built on nodes with NODE_CANNOT_BUILD in their environment."""

from __future__ import annotations

import os
from typing import Any

from ray._private.runtime_env.plugin import RuntimeEnvPlugin

PLUGINS = '[{"class": "fragile_env.Fragile"}]'  # for $RAY_RUNTIME_ENV_PLUGINS
_PIP_SAYS = "No matching distribution found for"


class Fragile(RuntimeEnvPlugin):
    """`fragile: <package>` in a runtime environment."""

    name = "fragile"

    @staticmethod
    def validate(runtime_env: dict[str, Any]) -> None:
        pass

    async def create(self, uri: str | None, runtime_env: Any, context: Any, logger: Any = None) -> float:
        if "NODE_CANNOT_BUILD" in os.environ:
            message = f"ERROR: {_PIP_SAYS} {runtime_env['fragile']}"
            raise RuntimeError(message)
        return 0
