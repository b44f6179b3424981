"""What is written down of a run once all of its videos have ended: index.parquet, segments.parquet and run.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from geoflow.engine.state import VideoRun
from geoflow.quality.quality_columns import QUALITY_COLUMNS
from geoflow.results import RunResult, VideoResult
from geoflow.scanning import ScannedVideo
from geoflow.store.finished import Finished, Taken
from geoflow.store.index import write_index, write_segments
from geoflow.store.paths import RunPaths
from geoflow.store.whole import write_whole
from geoflow.values.plain import printable
from geoflow.video.inputs import Rejected


def result_of(
    paths: RunPaths,
    pipeline: str,
    videos: list[VideoRun],
    rejected: list[Rejected],
    taken: Mapping[str, Taken],
    unfit: Sequence[ScannedVideo] = (),
) -> RunResult:
    """Return what became of every input; `taken` are names under which OUT holds another video, `unfit` the videos that
    were left out."""
    rows = [VideoResult(printable(r.source), printable(r.source), "failed", r.reason) for r in rejected]
    for video in videos:
        done, source = video.status in ("complete", "skipped"), printable(video.input.source)
        rows.append(
            VideoResult(
                name=source if video.name in taken and not done else video.name,  # which is the other video's
                source=source,
                status="complete" if done else "failed",
                reason=video.reason,
                path=str(paths.store(video.name)) if done else "",
                seconds=max(0.0, video.ended - video.began) if video.began else 0.0,
                reused=video.status == "skipped",
                frames=video.info.num_frames if video.info else 0,
                recovered=video.result.get("recovered") or "",
                lacking=video.result.get("lacking") or "",
            )
        )
    for left in unfit:
        source = printable(left.source)
        rows.append(VideoResult(source if left.name in taken else left.name, source, "unfit", left.reason))
    return RunResult(paths.home, pipeline, tuple(rows))


def write_records(paths: RunPaths, result: RunResult, videos: list[VideoRun], stamp: str) -> None:
    """Write index.parquet, segments.parquet and run.json; videos of earlier runs in the same folder stay listed, also
    those that are unfit by what this run was asked for."""
    by_name = {video.name: video for video in videos}
    rows = [_index_row(paths, entry, by_name.get(entry.name)) for entry in result.videos]
    tables = {row["name"]: _segment_table(paths, row) for row in rows if row["status"] == "complete"}
    finished, listed = Finished(paths, stamp), {row["name"] for row in rows if row["status"] != "unfit"}
    for row in finished.others(listed):
        if row["status"] == "complete":
            tables[row["name"]] = _segment_table(paths, row)
        rows = [other for other in rows if other["name"] != row["name"]]
        rows.append(row)
    write_index(paths, rows)
    write_segments(paths, tables)
    record = {**result.to_dict(), "settings": json.loads(stamp), "inputs": [asdict(video) for video in result.videos]}
    del record["videos"]
    write_whole(paths.run, json.dumps(record, indent=1).encode())


def _index_row(paths: RunPaths, entry: VideoResult, video: VideoRun | None) -> dict[str, Any]:
    if video is not None and video.status == "skipped":
        return video.result
    row: dict[str, Any] = {
        "name": entry.name,
        "source": entry.source,
        "status": entry.status,
        "reason": entry.reason,
        "path": paths.relative(paths.video(entry.name)) if entry.path else "",
    }
    if video is None or video.info is None or entry.status == "failed":
        return row
    info, result = video.info, video.result
    row |= {key: getattr(info, key) for key in ("source_sha256", "num_frames", "fps", "height", "width", "metric")}
    told = (
        "frames_posed",
        "camera_quality",
        "geometry_coverage",
        "tracks",
        "frames_with_hands",
        "motion",
        "segments",
        "objects",
        "metric",
        "recovered",
        "lacking",
        "notes",
        "key",
        "seam_residual",
        *QUALITY_COLUMNS,
    )
    row |= {key: result[key] for key in told if key in result}
    row["incomplete_segments"] = sum(record.status != "complete" for record in video.records)
    row["seconds"] = sum(sum(record.seconds.values()) for record in video.records)
    return row


def _segment_table(paths: RunPaths, row: dict[str, Any]) -> Any:
    from geoflow.store.opening import open_h5

    with open_h5(paths.whole(row["path"])) as store:
        return store["segments"][()]
