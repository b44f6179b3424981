"""A walk that returns, through the backend `lingbot`, `places`, `stitch` and `write`: its loops are closed."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

from actors.embedded.places import Places
from geoflow.backends import loading
from geoflow.bench.loops.closing_bench import path_error
from geoflow.bench.loops.drifting_cameras import DriftingCameras
from geoflow.bench.loops.ring_walk import LAP, RingWalk
from geoflow.geometry.rigid import invert
from geoflow.models.lingbot.fitting import Fit
from geoflow.models.lingbot.streamer import FrameResult
from geoflow.segments import Segment, Span
from geoflow.stage import Fields, SegmentRecord, shared_fields
from geoflow.stages.stitch import Stitch
from geoflow.stages.write import Write
from geoflow.store.paths import RunPaths
from geoflow.store.schema import LOOPS
from geoflow.store.verify import verify_store

pytestmark = pytest.mark.long

Lingbot = loading.load("lingbot")
FASTER, SIDE, CHAPTERS = 4, 112, 2


class _FasterWalk(RingWalk):
    """The same walk in a quarter of the frames."""

    def cam_from_world(self, frame: int) -> np.ndarray:
        return super().cam_from_world(FASTER * frame)

    @functools.lru_cache(maxsize=LAP)  # noqa: B019 - a walk lives as long as its test
    def picture(self, frame: int) -> np.ndarray:
        return super().picture(frame)


class _Drifting:
    """In the network's place: it knows the walk, in a world and unit of each chapter's own, and drifts."""

    def __init__(self, cameras: DriftingCameras) -> None:
        self._cameras = cameras
        self._span = cameras.spans[0]
        self._seen = 0

    def begin(self, span: Span) -> None:
        self._span, self._seen = span, 0

    def run(self, frames: Iterable[np.ndarray], *_: Any, **options: Any) -> Iterator[FrameResult]:
        chapter = self._cameras._chapters[self._span.index]
        first = chapter.cam_from_world[self._seen]
        for rgb in frames:
            size = Fit.of((rgb.shape[0], rgb.shape[1]), options["side"]).picture
            rows, columns = (((np.arange(n) + 0.5) * side / n).astype(int) for n, side in zip(size, rgb.shape))
            depth = self._cameras.walk.depth(self._span.start + self._seen)[rows[:, None], columns]
            depth = (depth * chapter.units[self._seen]).astype(np.float32)
            pose = (chapter.cam_from_world[self._seen] @ invert(first)).astype(np.float32)
            self._seen += 1
            lens = self._cameras.walk.intrinsics.astype(np.float32)
            yield FrameResult(pose, lens, depth, np.full(size, 2, np.float32))


def stage_fields(cameras: DriftingCameras) -> Iterator[tuple[Segment, Fields]]:
    """Yield what LingBot's stage gives of each segment, with its frames."""
    made = Lingbot(Lingbot.Params(side=SIDE, max_points=200, geometry=True))
    network = _Drifting(cameras)
    made.use(network, "cpu")
    shared: dict[int, Fields] = {}
    for segment in cameras.segments:
        span = next(span for span in cameras.spans if span.first <= segment.index <= span.last)
        if span.index not in shared:
            network.begin(span)

            def read(span: Span = span) -> Iterator[Fields]:
                for t in range(span.start, span.stop):
                    yield {"frames.rgb": cameras.walk.picture(t)[None], "frames.index": np.array([t])}

            shared[span.index] = shared_fields(made.survey(span, read), span, "lingbot")
        rgb = np.stack([cameras.walk.picture(t) for t in range(segment.start, segment.stop)])
        yield segment, {"frames.rgb": rgb, **made.process(segment, {"frames.rgb": rgb, **shared[span.index]})}


def test_loops_between_chapters_are_closed(tmp_path: Path) -> None:
    cameras = DriftingCameras(_FasterWalk(), LAP // FASTER + 24, CHAPTERS, seed=1, drift=FASTER)
    stitch, write = Stitch(Stitch.Params(camera_unit=("camera", "geometry"))), Write(Write.Params(out=str(tmp_path)))
    stitched = []
    for segment, found in stage_fields(cameras):
        found |= Places().process(segment, found)
        assert len(found["places.frame"]) > 0
        del found["frames.rgb"]
        numbers = np.arange(segment.start, segment.stop)
        joined = stitch.process(segment, {**found, "frames.index": numbers, "frames.time": numbers / 15})
        stitched.append(joined["camera.cam_from_world"])
        write.process(segment, joined)
    records = [SegmentRecord(s.index, s.start, s.stop, "complete", {}, {}) for s in cameras.segments]
    write.finish(cameras.video, records)
    path = RunPaths(tmp_path).video(cameras.video.name)
    assert verify_store(path) == []
    with h5py.File(path) as file:
        loops = json.loads(file.attrs[LOOPS])
        poses, depth = file["camera/cam_from_world"][()], file["camera/depth"][()]
        assert file["camera/valid"][()].all() and (depth > 0).mean() > 0.99
        np.testing.assert_array_equal(file["geometry/depth"][()], depth)
    assert loops and all(row["again"] - row["first"] > LAP / FASTER / 2 for row in loops)
    one, other = cameras.spans
    assert any(row["first"] < other.start and row["again"] >= one.stop for row in loops), "across chapters"
    before, after = path_error(np.concatenate(stitched), cameras.truth), path_error(poses, cameras.truth)
    assert after < 0.3 * before, "0.199 and 0.031 m measured"
