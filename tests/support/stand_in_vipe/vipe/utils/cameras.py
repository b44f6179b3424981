"""Kinds of cameras."""

from __future__ import annotations

from enum import Enum


class CameraType(Enum):
    """Of which the stand-in knows one."""

    PINHOLE = "pinhole"
