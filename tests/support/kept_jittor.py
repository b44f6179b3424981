"""Where tests find Jittor: in the cache of the person who runs them, so that it is compiled once, and not per run."""

from __future__ import annotations

import os
import shutil

import pytest

from geoflow.files.resources import cache_folder

# A test has a cache of its own (conftest), but modules are imported before there is a test.
CACHE = cache_folder()

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++, with which Jittor compiles its core")


def variables() -> dict[str, str]:
    """The environment of a process that is to find it."""
    return {**os.environ, "GEOFLOW_CACHE": str(CACHE)}
