"""A look at videos before a run: seconds per video, no model, no Ray. It says which inputs are worth processing."""

from __future__ import annotations

from geoflow.scanning.fitness import ScanParams
from geoflow.scanning.scan import ScannedVideo, scan_inputs

__all__ = ["ScanParams", "ScannedVideo", "scan_inputs"]
