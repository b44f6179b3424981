"""The export of all videos of a run, each as a task of a Ray cluster."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from geoflow.cluster.session import ray_cluster
from geoflow.curation.cutting import cut_store
from geoflow.curation.selection import selected_frames
from geoflow.errors import GeoFlowError, StoreError
from geoflow.export.formats import check_options, export_store, format_named
from geoflow.files.locations import is_remote
from geoflow.store.index import read_rows
from geoflow.store.mirror import records
from geoflow.values.plain import plain


def export_run(
    out: str | Path,
    to: str,
    folder: str | Path,
    *,
    address: str | None = None,
    where: str | None = None,
    chosen: str | Path | None = None,
    **options: Any,
) -> dict[str, Path]:
    """Write every complete video of the run in `out` as `folder`/<name>; return the paths by name.

    `where` and `chosen` choose frames of them, as `geoflow.curation.selected_frames` does. Of a video of which a part
    is chosen, each range [from, to) of frames is written as <name>_<from>-<to>.

    Raises ConfigError for an unknown format, StoreError if there is no index. Raises StoreError also for videos that
    could not be written, after all others are.
    """
    suffix = format_named(to).suffix
    check_options(to, options := plain(options, "options"))
    with records(out if is_remote(out) else Path(out).resolve(), ["index.parquet"]) as paths:
        complete = {str(row["name"]): row for row in read_rows(paths.index) if row["status"] == "complete"}
    parts: dict[str, tuple[str, tuple[int, int] | None]] = {name: (name, None) for name in complete}
    if where is not None or chosen is not None:
        parts = {}
        for name, ranges in selected_frames(out, where=where, chosen=chosen).items():
            for start, stop in ranges:
                whole = (start, stop) == (0, complete[name]["num_frames"])
                part = name if whole else f"{name}_{start:06d}-{stop:06d}"
                parts[part] = name, None if whole else (start, stop)
    targets = {part: Path(folder).resolve() / f"{part}{suffix}" for part in parts}
    with ray_cluster(address):
        import ray

        task = ray.remote(_export)
        refs = {
            part: task.remote(str(paths.store(name)), frames, to, str(targets[part]), options)
            for part, (name, frames) in parts.items()
        }
        reasons = {name: ray.get(ref) for name, ref in refs.items()}
    for name, reason in reasons.items():
        print(f"{name}: {reason or targets[name]}", file=sys.stderr)
    if failed := [f"{name}: {reason}" for name, reason in reasons.items() if reason]:
        raise StoreError("not exported:\n" + "\n".join(f"  {line}" for line in failed))
    return targets


def _export(file: str, frames: tuple[int, int] | None, to: str, out: str, options: dict[str, Any]) -> str:
    """Return why the video, or these frames of it, could not be written; "" if they were."""
    try:
        if frames is None:
            export_store(file, to, out, **options)
            return ""
        with tempfile.TemporaryDirectory(prefix="geoflow-part-") as folder:
            part = Path(folder) / Path(file).name
            cut_store(file, frames, part)
            export_store(part, to, out, **options)
    except GeoFlowError as error:
        return str(error)
    return ""
