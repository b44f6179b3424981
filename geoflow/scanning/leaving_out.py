"""`run --skip-unfit`: inputs are looked at first, and those that are unfit are left out of the run."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from geoflow.errors import ConfigError
from geoflow.scanning.fitness import ScanParams
from geoflow.scanning.scan import ScannedVideo, scan_items
from geoflow.values.plain import flag
from geoflow.video.inputs import Input
from geoflow.video.options import ReadOptions


def wanted_scan(skip_unfit: Any, fit: Mapping[str, Any] | None) -> ScanParams | None:
    """Return the parameters of the scan that a run should begin with; None: no scan.

    Raises ConfigError for parameters that cannot be, or that nothing would use.
    """
    if not flag(skip_unfit, "skip_unfit"):
        if fit:
            raise ConfigError("--fit says what --skip-unfit leaves out; add --skip-unfit, or leave --fit out")
        return None
    return ScanParams.of(fit)


def without_unfit(
    items: Sequence[Input], options: ReadOptions, params: ScanParams
) -> tuple[list[Input], list[ScannedVideo]]:
    """Return the inputs that a run should take, and what a scan said of the others.

    What cannot be read stays among the inputs: the run names it as failed, as without a scan.
    """
    if sys.stderr.isatty():
        print(f"geoflow: looking at {len(items)} inputs, to leave out what is unfit", file=sys.stderr, flush=True)
    videos = scan_items(items, options, params)
    unfit = [video for video in videos if video.unfit and not video.is_broken]
    left = {video.name for video in unfit}
    return [item for item in items if item.name not in left], unfit
