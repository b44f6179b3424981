"""What two stores hold and how they were made: settings that differ, datasets, statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from geoflow.comparison.found import Pair
from geoflow.store.info import describe
from geoflow.store.reader import Video

# Of the record of how a store was made: these follow from the others, or say how it was computed and not what.
_NOT_SETTINGS = {"fingerprint", "weight", "num_cpus", "num_gpus", "gpu_memory", "actors", "keep"}
_FACTS = ("status", "num_frames", "width", "height", "fps", "metric", "segments", "bytes", "recovered")


def setting_differences(a: Video, b: Video) -> dict[str, Pair]:
    """Return the settings that differ, such as {"camera.sources": (6, 8)}; None where one has no such setting."""
    first, second = ({**dict(_settings(video.pipeline)), **_origin(video)} for video in (a, b))
    names = dict.fromkeys([*first, *second])
    pairs = {name: (first.get(name), second.get(name)) for name in names}
    return {name: (x, y) for name, (x, y) in pairs.items() if x != y}


def _origin(video: Video) -> dict[str, Any]:
    return {"source": video.source, "source_sha256": video.source_sha256, "geoflow_version": video.version}


def _settings(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    stages = record.get("stages")
    yield from _flat("", {name: value for name, value in record.items() if name != "stages"})
    if isinstance(stages, list):
        for stage in stages:
            slot = stage.get("slot", "stage")
            yield from _flat(slot, {name: value for name, value in stage.items() if name not in ("slot", "params")})
            yield from _flat(slot, stage.get("params") or {})
    elif stages is not None:
        yield from _flat("stages", stages)


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield prefix, value
        return
    for name, inner in value.items():
        if name not in _NOT_SETTINGS:
            yield from _flat(f"{prefix}.{name}" if prefix else name, inner)


def contents(a: Video, b: Video) -> tuple[dict[str, Pair], dict[str, Pair]]:
    """Return the datasets with their forms, and the statistics of `geoflow info`; pairs of A and B."""
    summaries = describe(a), describe(b)
    forms = [{name: _form(entry) for name, entry in summary["datasets"].items()} for summary in summaries]
    return _paired(*forms), _paired(*(_statistics(summary) for summary in summaries))


def _form(entry: Mapping[str, Any]) -> str:
    unit = f" {entry['unit']}" if entry["unit"] else ""
    return f"{entry['dtype']} ({', '.join(map(str, entry['shape']))}){unit}"


def _statistics(summary: Mapping[str, Any]) -> dict[str, Any]:
    totals = dict(summary["totals"])
    seconds = {f"seconds.{slot}": value for slot, value in totals.pop("seconds", {}).items()}
    return {**{name: summary[name] for name in _FACTS}, **totals, **seconds}


def _paired(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Pair]:
    return {name: (first.get(name), second.get(name)) for name in dict.fromkeys([*first, *second])}
