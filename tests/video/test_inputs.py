from __future__ import annotations

import os
from pathlib import Path

import clips
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geoflow.video.inputs import NAME_BYTES, expand_inputs, safe_name


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder with clip2, clip10, something hidden, notes, and a folder of frames; contents do not matter here."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("clip10.mp4", "clip2.MP4", "._clip2.mp4", "notes.md", "clip2.srt"):
        (folder / name).write_bytes(b"x")
    clips.frame_folder(folder / "scene.v1", 2)
    return folder


def names(*args: str | Path) -> list[str]:
    found, rejected = expand_inputs(args)
    assert rejected == []
    return [item.name for item in found]


def reason(*args: str | Path) -> str:
    found, rejected = expand_inputs(args)
    assert found == [] and len(rejected) == 1, (found, rejected)
    return rejected[0].reason


def test_files_and_folders(videos: Path) -> None:
    assert names(videos / "clip10.mp4") == ["clip10"]
    assert names(videos) == ["clip2", "clip10"]  # natural order; videos win over anything else
    assert names(videos / "scene.v1") == ["scene.v1"]  # a frame folder is one video
    assert names(f"{videos}/scene.v1/") == ["scene.v1"]
    assert names((videos / "clip10.mp4").as_uri()) == ["clip10"]


def test_sources_are_absolute(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(videos)
    found, _ = expand_inputs(["clip10.mp4", "../videos/clip10.mp4", str(videos / "clip10.mp4"), "."])
    assert [item.source for item in found] == [str(videos / "clip10.mp4"), str(videos / "clip2.MP4")]


def test_globs(videos: Path) -> None:
    assert names(f"{videos}/*.mp4") == ["clip10"]
    assert names(f"{videos}/*") == ["clip2", "clip10", "scene.v1"]
    assert "matches nothing" in reason(f"{videos}/*.mov")
    assert "none of them a video" in reason(f"{videos}/c*2.sr?")
    assert "give the folder that holds the frames" in reason(f"{videos}/scene.v1/*.png")
    (videos / "take[1].mp4").write_bytes(b"x")
    assert names(videos / "take[1].mp4") == ["take_1_"]  # a file's own name comes before any pattern


def test_manifests(videos: Path, tmp_path: Path) -> None:
    text = tmp_path / "list.txt"
    text.write_text("# ours\n\nvideos/clip2.MP4\n  videos/scene.v1  \nvideos/*10.mp4\nmemory://bucket/far.mp4\n")
    assert names(text) == ["clip2", "scene.v1", "clip10", "far"]
    table = tmp_path / "list.csv"
    table.write_text('\ufeffid, path\n1,"videos/clip10.mp4"\n2,\n')
    assert names(table) == ["clip10"]
    pq.write_table(pa.table({"n": [1, 2], "uri": ["videos/clip2.MP4", None]}), tmp_path / "list.parquet")
    assert names(tmp_path / "list.parquet") == ["clip2"]


def test_bad_manifests(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("file\nvideos/clip2.MP4\n")
    assert "column named path, uri or video; its columns are: file" in reason(tmp_path / "list.csv")
    (tmp_path / "list.parquet").write_bytes(b"no parquet")
    assert "not a Parquet table" in reason(tmp_path / "list.parquet")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    assert "lists no videos" in reason(tmp_path / "empty.txt")
    (tmp_path / "latin.csv").write_bytes(b"path\n\xe9.mp4\n")
    assert "UTF-8" in reason(tmp_path / "latin.csv")
    (tmp_path / "loop.txt").write_text("loop.txt\n*.txt\nvideos/none.mp4\nvideos/clip2.MP4\n")
    found, rejected = expand_inputs([tmp_path / "loop.txt"])
    assert [item.name for item in found] == ["clip2"]
    assert sorted({item.reason[:12] for item in rejected}) == ["does not exi", "is a manifes"]


def test_what_is_no_video_is_rejected_by_name(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "bare" / "inner").mkdir(parents=True)
    assert "holds no video and no pictures" in reason(tmp_path / "bare" / "inner")
    assert "give" in reason(tmp_path / "bare") and f"{tmp_path}/bare/*" in reason(tmp_path / "bare")
    assert "does not exist" in reason(tmp_path / "none.mp4")
    assert "single picture" in reason(videos / "scene.v1" / "frame1.png")
    assert "is empty" in reason("")
    assert "does not exist" in reason("a\0b.mp4")
    found, rejected = expand_inputs([tmp_path / "none.mp4", videos, tmp_path / "none.mp4"])
    assert len(found) == 2 and [item.source for item in rejected] == [str(tmp_path / "none.mp4")]


def test_a_dangling_link_is_not_silently_missing(tmp_path: Path) -> None:
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    assert names(tmp_path) == ["gone"]  # probing it says what is wrong


HOSTILE = [
    "with space.mp4",
    'it\'s "quoted".mp4',
    "日本語 ビデオ.mp4",
    "clip;rm -rf.mp4",
    "$(reboot)`id`.mp4",
    "..mp4",
    "...mp4",
    ".hidden.mp4",
    "   .mp4",
    "-o.mp4",
    "new\nline\x1b[31m.mp4",
    "back\\slash.mp4",
    "c:d*e?.mp4",
    "x" * 240 + ".mp4",
    "é" * 120 + ".mp4",
    os.fsdecode(b"latin-\xe9.mp4"),
]


@pytest.mark.parametrize("base", HOSTILE, ids=range(len(HOSTILE)))
def test_names_are_safe(tmp_path: Path, base: str) -> None:
    (tmp_path / base).write_bytes(b"x")
    found, rejected = expand_inputs([tmp_path / base, tmp_path / base])
    assert rejected == [] and [item.source for item in found] == [str(tmp_path / base)]
    name = found[0].name
    assert name and not name.startswith(".") and name == name.strip()
    assert not set(name) & set("/\\;'\"`$()*?:\n\x1b\0")
    assert len(name.encode()) <= NAME_BYTES  # and encodes at all
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f"{name}.h5").write_bytes(b"")
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_names_keep_what_is_readable() -> None:
    assert safe_name("/v/日本語 ビデオ.mp4") == "日本語 ビデオ"
    assert safe_name("/v/a.b-c_d.tar.mp4") == "a.b-c_d.tar"
    assert safe_name("https://host/x/My%20clip.mp4?token=secret") == "My clip"
    assert safe_name("s3://bucket/..%2F..%2Fetc%2Fpasswd") == "passwd"


def test_duplicates_get_names_that_do_not_depend_on_order(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "clip.mp4", tmp_path / "b" / "clip.mov", tmp_path / "c" / "CLIP.mkv", tmp_path / "d.mp4"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    forward = {item.source: item.name for item in expand_inputs(paths)[0]}
    backward = {item.source: item.name for item in expand_inputs(paths[::-1])[0]}
    assert forward == backward
    found = list(forward.values())
    assert found[3] == "d" and all(len(name) == len("clip-") + 8 for name in found[:3])
    assert len({name.casefold() for name in found}) == 4  # also on file systems that ignore case


def test_a_name_may_look_like_a_suffixed_one(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "clip.mp4").write_bytes(b"x")
    taken = names(tmp_path / "a", tmp_path / "b")[0]
    (tmp_path / f"{taken}.mp4").write_bytes(b"x")
    assert len(set(names(tmp_path / "a", tmp_path / "b", tmp_path / f"{taken}.mp4"))) == 3


def test_uri_patterns() -> None:
    import fsspec

    for name in ("v10.mp4", "v9.mp4", "v.txt"):
        with fsspec.open(f"memory://pattern/{name}", "wb") as file:
            file.write(b"x")
    found, rejected = expand_inputs(["memory://pattern/*", "https://host/watch?v=*"])
    assert rejected == [] and [item.name for item in found] == ["v9", "v10", "watch"]
    assert found[0].source.startswith("memory://")
    assert "matches no video" in reason("memory://pattern/*.mov")
    assert "cannot be listed" in reason("nonsense://bucket/*.mp4")
