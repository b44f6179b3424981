"""The version of GeoFlow. Both distributions take it from here when they are built."""

from __future__ import annotations

VERSION = "0.1.0"
