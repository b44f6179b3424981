"""A store in the formats of other tools. At most one frame, or a few tens of frames of tracks, is in memory at a time.

What a format cannot hold is left out, never made up: frames without a pose where poses are needed, pixels without
depth.
"""

from __future__ import annotations

from geoflow.export.formats import FORMATS, Exported, Format, export_store

__all__ = ["FORMATS", "Exported", "Format", "export_store"]
