"""A run's folder without a run: stores that `stitch` and `write` made of the fields of `segment_fields`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
from segment_fields import fields_of, make_truth

from geoflow.stage import SegmentRecord
from geoflow.stages.stitch import Stitch
from geoflow.stages.write import Write
from geoflow.store.finished import row_of
from geoflow.store.index import write_index, write_segments
from geoflow.store.paths import RunPaths
from geoflow.store.schema import SEGMENTS


def make_run(root: Path, *names: str, num_frames: int = 40) -> RunPaths:
    """Write a store of `num_frames` frames, in segments of 16, for each name, and the tables of the run."""
    paths, rows, tables = RunPaths(root), [], {}
    for seed, name in enumerate(names):
        truth = make_truth(num_frames, seed=seed)
        video = replace(truth.video, name=name)
        stitch, write = Stitch(), Write(Write.Params(out=str(root)))
        for segment in truth.segments:
            segment = replace(segment, video=video)
            write.process(segment, stitch.process(segment, fields_of(truth, segment)))
        write.finish(video, [SegmentRecord(s.index, s.start, s.stop, "complete", {}, {}) for s in truth.segments])
        with h5py.File(paths.video(name)) as file:
            rows.append({"name": name, "path": paths.relative(paths.video(name)), **row_of(file)})
            tables[name] = file[SEGMENTS][()]
    write_index(paths, rows)
    write_segments(paths, tables)
    return paths
