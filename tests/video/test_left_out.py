"""What lies beside the inputs of a folder is named, with the way to take it."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoflow.video.inputs import expand_inputs
from geoflow.video.left_out import left_out


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder with a video, and below it others, of which two have the same name, and a frame folder."""
    folder = tmp_path / "videos"
    for name in ("a.mp4", "one/b.mp4", "two/b.mp4", "two/deep/c.mov", "film/1.png", "film/2.png", "text/notes.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def said(*args: str | Path) -> list[str]:
    return [reason for _, reason in left_out(args, [item.source for item in expand_inputs(args)[0]])]


def test_what_lies_in_subfolders_is_counted_with_the_remedy(videos: Path) -> None:
    (reason,) = said(videos)
    assert "3 videos and 1 frame folder in its subfolders" in reason and f"'{videos}/*'" in reason


def test_the_remedy_takes_the_next_level_without_a_clash_of_names(videos: Path) -> None:
    found, rejected = expand_inputs([f"{videos}/*"])
    assert sorted(Path(item.source).name for item in found) == ["a.mp4", "b.mp4", "b.mp4", "film"]
    assert len({item.name for item in found}) == 4
    assert [item.source for item in rejected] == [str(videos / "text")]
    assert any("1 video in its subfolders" in reason for reason in said(f"{videos}/*"))


def test_what_is_taken_by_another_input_is_not_left_out(videos: Path) -> None:
    (reason,) = said(videos, videos / "one", videos / "two" / "deep", videos / "film")
    assert "1 video in its subfolders" in reason
    assert said(videos / "a.mp4") == said(videos / "one") == said(videos / "film") == []


def test_hidden_videos_pictures_and_other_files_are_named(videos: Path) -> None:
    folder = videos / "one"
    for name in ("._b.mp4", ".c.mp4", "cover.jpg", "b.srt", "b.txt", "README"):
        (folder / name).write_bytes(b"x")
    (reason,) = said(folder)
    assert "1 hidden video" in reason and "1 picture beside its videos" in reason
    assert "3 files of no kind of video (" in reason and ".srt" in reason and "no suffix" in reason
