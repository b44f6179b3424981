"""The export of all videos of a run, each as a task of a Ray cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from geoflow.cluster.session import ray_cluster
from geoflow.errors import GeoFlowError, StoreError
from geoflow.export.formats import check_options, export_store, format_named
from geoflow.files.locations import is_remote
from geoflow.store.index import read_rows
from geoflow.store.mirror import records
from geoflow.values.plain import plain


def export_run(
    out: str | Path, to: str, folder: str | Path, *, address: str | None = None, **options: Any
) -> dict[str, Path]:
    """Write every complete video of the run in `out` as `folder`/<name>; return the paths by name.

    Raises ConfigError for an unknown format, StoreError if there is no index. Raises StoreError also for videos that
    could not be written, after all others are.
    """
    suffix = format_named(to).suffix
    check_options(to, options := plain(options, "options"))
    with records(out if is_remote(out) else Path(out).resolve(), ["index.parquet"]) as paths:
        names = [str(row["name"]) for row in read_rows(paths.index) if row["status"] == "complete"]
    targets = {name: Path(folder).resolve() / f"{name}{suffix}" for name in names}
    with ray_cluster(address):
        import ray

        task = ray.remote(_export)
        refs = {name: task.remote(str(paths.store(name)), to, str(target), options) for name, target in targets.items()}
        reasons = {name: ray.get(ref) for name, ref in refs.items()}
    for name, reason in reasons.items():
        print(f"{name}: {reason or targets[name]}", file=sys.stderr)
    if failed := [f"{name}: {reason}" for name, reason in reasons.items() if reason]:
        raise StoreError("not exported:\n" + "\n".join(f"  {line}" for line in failed))
    return targets


def _export(file: str, to: str, out: str, options: dict[str, Any]) -> str:
    """Return why the video could not be written; "" if it was."""
    try:
        export_store(file, to, out, **options)
    except GeoFlowError as error:
        return str(error)
    return ""
