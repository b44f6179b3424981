"""Segments cover every frame, overlap as promised and stay within their size."""

from __future__ import annotations

import itertools

import pytest

from geoflow.segments import VideoInfo, count_segments, plan_segments


def video(num_frames: int) -> VideoInfo:
    return VideoInfo("v", "v.mp4", "", num_frames, 30.0, 8, 8, 8, 8)


@pytest.mark.parametrize(("size", "overlap"), [(96, 24), (12, 4), (2, 0), (110, 25)])
def test_cover_overlap_and_size(size: int, overlap: int) -> None:
    for num_frames in [2, size - 1, size, size + 1, 2 * size, 1000]:
        if num_frames < 2:
            continue
        segments = list(plan_segments(video(num_frames), size, overlap))
        assert len(segments) == count_segments(num_frames, size, overlap)
        assert segments[0].start == 0 and segments[-1].stop == num_frames
        assert segments[-1].is_last and not any(s.is_last for s in segments[:-1])
        assert all(0 < len(s) <= size for s in segments)
        for before, after in itertools.pairwise(segments):
            shared = before.stop - after.start
            assert shared == before.overlap_after == after.overlap_before >= overlap


def test_no_short_tail() -> None:
    lengths = [len(s) for s in plan_segments(video(97), 96, 24)]
    assert min(lengths) > 48


def test_all_but_the_last_two_are_full_and_stay_when_the_video_grows() -> None:
    for num_frames in (300, 500, 777):
        segments = list(plan_segments(video(num_frames), 96, 24))
        assert [len(s) for s in segments[:-2]] == [96] * (len(segments) - 2)
        longer = list(plan_segments(video(num_frames + 1000), 96, 24))
        assert [(s.start, s.stop) for s in segments[:-2]] == [(s.start, s.stop) for s in longer[: len(segments) - 2]]


def test_planning_is_lazy() -> None:
    plan = plan_segments(video(10**9), 96, 24)
    assert next(plan).stop <= 96  # ten million segments are not made to get one
