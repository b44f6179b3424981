"""Segments cover every frame, overlap as promised and stay within their size."""

from __future__ import annotations

import itertools

import pytest

from geoflow.segments import VideoInfo, count_segments, plan_chapters, plan_segments, whole_video


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


@pytest.mark.parametrize("size", [96, 200])
@pytest.mark.parametrize("count", [50, 300, 500, 1000, 2000, 5003])
def test_every_segment_lies_in_one_chapter_as_a_whole(count: int, size: int) -> None:
    clip = video(count)
    segments = list(plan_segments(clip, size, 24))
    chapters = list(plan_chapters(clip, size, 24, length=288, reach=96))
    members = [segment.index for chapter in chapters for segment in segments[chapter.first : chapter.last + 1]]
    assert members == [segment.index for segment in segments]
    for chapter in chapters:
        inside = segments[chapter.first : chapter.last + 1]
        assert chapter.start == inside[0].start and inside[-1].stop <= chapter.stop <= count
    assert [chapter.index for chapter in chapters] == list(range(len(chapters)))
    assert len(chapters) == max(1, round((count - 96) / 288))
    frames = sum(map(len, chapters))
    assert frames == count + 96 * (len(chapters) - 1) <= max(count, 1.35 * count)


def test_segments_longer_than_a_chapter_are_chapters_of_their_own() -> None:
    clip = video(2000)
    chapters = list(plan_chapters(clip, 500, 24, length=288, reach=96))
    assert [(c.first, c.last) for c in chapters] == [(k, k) for k in range(len(chapters))]
    assert chapters[0].stop == 476 + 96 and chapters[-1].stop == 2000


def test_a_video_is_one_span() -> None:
    clip = video(2000)
    span = whole_video(clip, 96, 24)
    assert (span.start, span.stop, span.first) == (0, 2000, 0)
    assert span.last == [*plan_segments(clip, 96, 24)][-1].index
