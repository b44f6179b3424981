"""Sources that have changed: the change is found, and readers of pixels refuse the source."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clips
import h5py
import numpy as np
import pytest
from full_store import write_full_store

from geoflow.errors import InputError, SourceChanged, StoreError
from geoflow.export import FORMATS, export_store
from geoflow.export.frames import pictures
from geoflow.report.samples import read_samples
from geoflow.segments import Segment
from geoflow.store.reader import open_video
from geoflow.store.schema import IDENTITY
from geoflow.store.source_frames import source_remarks
from geoflow.store.verify import verify_store
from geoflow.synth import Clip
from geoflow.video import identity
from geoflow.video.frame_reader import read_frames
from geoflow.video.options import ReadOptions
from geoflow.video.probe import probe

DAY = 86400


def film(path: Path) -> Path:
    """Eight frames without compression."""
    return clips.write(path, 8, codec="rawvideo")


def dates(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_atime_ns, status.st_mtime_ns


def trim(path: Path) -> None:
    clips.write(path, 5)


def grade(path: Path) -> None:
    """Other pixels in a file of the same size."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 500] = bytes((value + 7) % 256 for value in data[middle : middle + 500])
    path.write_bytes(data)


def grade_and_hide(path: Path) -> None:
    """The same, and the dates of the original set back."""
    before = dates(path)
    grade(path)
    os.utime(path, ns=before)


def grade_between_the_blocks(path: Path) -> None:
    """What no glance and no block tells: the same size, the same dates, one byte far from every block that is read."""
    before, size = dates(path), path.stat().st_size
    with path.open("r+b") as file:
        file.seek(int(1.5 * size / 15))
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=before)


def replace_by_another(path: Path) -> None:
    path.unlink()
    clips.write(path, 30, size=(96, 64))


def replace_by_text(path: Path) -> None:
    path.write_text("no film at all")


CHANGES = [trim, grade, grade_and_hide, replace_by_another, replace_by_text]


def touch(path: Path) -> None:
    os.utime(path, (DAY, DAY))


def copy_back(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)


def nothing(path: Path) -> None:
    pass


Made = Callable[..., Path]


@pytest.fixture
def made(small_clip: Clip, tmp_path: Path) -> Made:
    """A store of eight frames without pixels, whose source is a film, and which knows it."""

    def make(source: Path, *, old: bool = False) -> Path:
        info, _ = probe(str(source), "v")
        path = tmp_path / "store.h5"
        path.unlink(missing_ok=True)
        write_full_store(path, small_clip, source=str(source))
        with h5py.File(path, "a") as file:
            del file["frames/rgb"]
            file.attrs["source_sha256"] = info.source_sha256
            if not old:
                file.attrs[IDENTITY] = info.source_identity
        return path

    return make


@pytest.mark.parametrize("old", [False, True], ids=["new", "old"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_no_pixels_of_another_source(made: Made, change: Callable[[Path], None], old: bool, tmp_path: Path) -> None:
    source = film(tmp_path / "a.avi")
    store = made(source, old=old)
    faults = verify_store(store)
    with open_video(store) as video:
        assert len(list(pictures(video, [0, 7]))) == 2 and video.show(3).shape == (48, 3 * 64, 3)
        assert source_remarks(store) == []
        change(source)
        for read in (lambda: list(pictures(video, [0, 1])), lambda: video.rgb(0), lambda: video.show(0)):
            with pytest.raises(
                StoreError, match=r"a\.avi was trimmed, graded or replaced since.*put the original back"
            ):
                read()
        (sample,) = read_samples(video, np.array([2]))
        assert sample.rgb is None and "replaced since" in sample.trouble and sample.depths
        assert "replaced since" in str(video._repr_html_())
    (remark,) = source_remarks(store)
    assert "has changed since" in remark and str(source) in remark and verify_store(store) == faults


@pytest.mark.parametrize("change", [nothing, touch, copy_back], ids=lambda change: change.__name__)
def test_the_same_content_is_the_same_source(made: Made, change: Callable[[Path], None], tmp_path: Path) -> None:
    source = film(tmp_path / "a.avi")
    store = made(source)
    with open_video(store) as video:
        before = list(pictures(video, range(8)))
        change(source)
        assert np.array_equal(before, list(pictures(video, range(8))))
    assert source_remarks(store) == []


@pytest.mark.parametrize("to", [name for name in FORMATS if name not in ("depth", "depth_video", "obj")])
def test_no_format_takes_pixels_of_another_source(made: Made, to: str, tmp_path: Path) -> None:
    source = film(tmp_path / "a.avi")
    store = made(source)
    grade(source)
    library = {"vipe": "OpenEXR", "rerun": "rerun"}.get(to)
    if library:
        pytest.importorskip(library)
    options = {"num_track_ts": 2} if to == "y2r" else {}
    with pytest.raises(StoreError, match="replaced since"):
        export_store(store, to, tmp_path / f"out{FORMATS[to].suffix}", **options)
    assert not (tmp_path / f"out{FORMATS[to].suffix}").is_file()


def test_a_glance_and_some_blocks_before_all_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal size and dates: nothing is read. Another size: neither. Other blocks: these. Only on doubt all of it."""
    path = tmp_path / "a.bin"
    path.write_bytes(os.urandom(4 << 20))
    sha256, known = identity.file_sha256(str(path)), identity.identify(str(path))
    read: list[str] = []
    for name in ("_sample", "_content"):
        real = getattr(identity, name)
        monkeypatch.setattr(identity, name, lambda *a, n=name, f=real: read.append(n) or f(*a))
    assert identity.is_same(str(path), sha256, known) and read == []
    touch(path)
    assert identity.is_same(str(path), sha256, known) and read == ["_sample", "_content"]
    read.clear()
    path.write_bytes(os.urandom(4 << 20))
    assert not identity.is_same(str(path), sha256, known) and read == ["_sample"]
    read.clear()
    path.write_bytes(b"shorter")
    assert not identity.is_same(str(path), sha256, known) and read == []


def test_a_change_that_no_block_tells_is_found_by_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(os.urandom(4 << 20))
    sha256, known = identity.file_sha256(str(path)), identity.identify(str(path))
    grade_between_the_blocks(path)
    assert identity.identify(str(path)).sample == known.sample
    assert not identity.is_same(str(path), sha256, known)
    assert identity.still_there(str(path), sha256, known.to_text(), deep=False) is None  # a quick look cannot tell
    assert identity.still_there(str(path), sha256, known.to_text()) is False


def test_what_is_no_identity_is_none() -> None:
    known = identity.Identity(3, 1, 2, "ab")
    assert identity.Identity.from_text(known.to_text()) == known
    for text in ("", "{}", "[]", "no json", json.dumps({"size": 1})):
        assert identity.Identity.from_text(text) is None


# Frame folders


def other_picture(folder: Path) -> None:
    shutil.copy(folder / "frame2.png", folder / "frame5.png")


def fewer(folder: Path) -> None:
    (folder / "frame3.png").unlink()


def another_order(folder: Path) -> None:
    (folder / "frame3.png").rename(folder / "swap")
    (folder / "frame4.png").rename(folder / "frame3.png")
    (folder / "swap").rename(folder / "frame4.png")


@pytest.mark.parametrize("change", [other_picture, fewer, another_order], ids=lambda change: change.__name__)
def test_frame_folders(made: Made, change: Callable[[Path], None], tmp_path: Path) -> None:
    folder = clips.frame_folder(tmp_path / "frames", count=8, width=64, height=48)
    store = made(folder)
    info, arrays = probe(str(folder), "v")
    with open_video(store) as video:
        assert len(list(pictures(video, range(8)))) == 8
        (folder / "notes.txt").write_text("no picture, so that nothing has changed")
        assert len(list(pictures(video, range(8)))) == 8 and source_remarks(store) == []
        change(folder)
        with pytest.raises(StoreError, match="replaced since"):
            list(pictures(video, [0]))
    assert source_remarks(store)
    with pytest.raises(InputError, match="has changed"):
        read_frames(info, arrays["video.index"], arrays["video.pts"], 2, 8)


def test_a_picture_written_over_in_place_is_seen_by_the_segment_that_reads_it(tmp_path: Path) -> None:
    folder = clips.frame_folder(tmp_path / "frames", count=8)
    info, arrays = probe(str(folder), "v")
    at = (arrays["video.index"], arrays["video.pts"])
    picture = folder / "frame6.png"
    before = dates(picture)
    time.sleep(0.02)  # a file system's clock ticks every few milliseconds
    with picture.open("r+b") as file:
        data = file.read()
        file.seek(0)
        file.write(data[:-20] + bytes(20))
    os.utime(picture, ns=before)
    assert len(read_frames(info, *at, 0, 4)) == 4  # it is not asked for yet
    with pytest.raises(SourceChanged, match="has changed"):
        read_frames(info, *at, 4, 8)


# A run


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_run_notices_that_its_source_is_another(change: Callable[[Path], None], tmp_path: Path) -> None:
    source = film(tmp_path / "a.avi")
    info, arrays = probe(str(source), "v")
    at = (arrays["video.index"], arrays["video.pts"])
    assert len(read_frames(info, *at, 0, 4)) == 4
    change(source)
    with pytest.raises(SourceChanged, match=r"a\.avi has changed.*run again"):
        read_frames(info, *at, 4, 8)


@pytest.mark.parametrize("change", [touch, copy_back], ids=lambda change: change.__name__)
def test_a_run_goes_on_where_only_dates_change(change: Callable[[Path], None], tmp_path: Path) -> None:
    source = film(tmp_path / "a.avi")
    info, arrays = probe(str(source), "v")
    change(source)
    assert len(read_frames(info, arrays["video.index"], arrays["video.pts"], 4, 8)) == 4


def test_a_source_replaced_while_a_segment_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from geoflow.video import decoding

    source = film(tmp_path / "a.avi")
    info, arrays = probe(str(source), "v")
    real = decoding.read_frames

    def slow(*args: Any, **options: Any) -> None:
        real(*args, **options)
        grade(source)

    monkeypatch.setattr(decoding, "read_frames", slow)
    with pytest.raises(SourceChanged):
        read_frames(info, arrays["video.index"], arrays["video.pts"], 0, 4)


def test_a_source_written_to_while_it_is_probed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from geoflow.video import decoding

    source = film(tmp_path / "a.avi")
    real = decoding.index_file

    def slow(*args: Any) -> Any:
        found = real(*args)
        grade(source)
        return found

    monkeypatch.setattr(decoding, "index_file", slow)
    with pytest.raises(InputError, match="written to while it was read; run again"):
        probe(str(source), "v")


def test_saved_work_is_found_again_beside_a_copy(tmp_path: Path) -> None:
    """Keys are those of the content: another date or place is no other video."""
    from geoflow.engine.graph import Graph
    from geoflow.engine.keys import Keys
    from geoflow.stages.decode import Decode

    one = film(tmp_path / "a.avi")
    two = Path(shutil.copy(one, tmp_path / "b.avi"))
    keys = Keys(Graph.build([("decode", Decode(), False)]), [{}])
    found = []
    for path in (one, two):
        info, _ = probe(str(path), "v")
        found.append((keys.of(0, Segment(info, 0, 0, 8), {}), info.source_identity))
    assert found[0][0] == found[1][0] and found[0][1] != found[1][1]


def test_a_source_that_is_gone_is_noted_where_its_pixels_are_needed(made: Made, tmp_path: Path) -> None:
    source = film(tmp_path / "a.avi")
    store = made(source)
    source.unlink()
    (remark,) = source_remarks(store)
    assert "is gone" in remark
    with open_video(store) as video:
        assert video.show(0).shape == (48, 2 * 64, 3)  # depth alone
    with h5py.File(store, "a") as file:
        file["frames/rgb"] = np.zeros((8, 48, 64, 3), np.uint8)
    assert source_remarks(store) == []


def test_remote_sources_are_compared_without_fetching_them(small_clip: Clip, tmp_path: Path) -> None:
    import fsspec

    place = "memory://identity"
    data = film(tmp_path / "a.avi").read_bytes()
    with fsspec.open(f"{place}/a.avi", "wb") as file:
        file.write(data)
    info, _ = probe(f"{place}/a.avi", "v")
    known = (info.source, info.source_sha256, info.source_identity)
    assert identity.still_there(*known) is True
    with fsspec.open(f"{place}/a.avi", "wb") as file:
        file.write(data)
    assert identity.still_there(*known) is None  # of the same size, and newer
    with fsspec.open(f"{place}/a.avi", "wb") as file:
        file.write(data[:-9])
    assert identity.still_there(*known) is False
    path = tmp_path / "store.h5"
    write_full_store(path, small_clip, source=info.source)
    with h5py.File(path, "a") as store:
        del store["frames/rgb"]
        store.attrs["source_sha256"], store.attrs[IDENTITY] = info.source_sha256, info.source_identity
    with open_video(path) as video, pytest.raises(StoreError, match="replaced since"):
        video.rgb(0)
    fsspec.filesystem("memory").rm(place, recursive=True)
    with contextlib.closing(open_video(path)) as video, pytest.raises(StoreError, match="cannot be read"):
        video.rgb(0)
    (remark,) = source_remarks(path)
    assert "gone" in remark


def test_of_a_folder_only_the_chosen_pictures_count(tmp_path: Path) -> None:
    folder = clips.frame_folder(tmp_path / "scene", 4)
    for k in range(4):
        (folder / f"frame{k + 1}.depth.png").write_bytes((folder / f"frame{k + 1}.png").read_bytes())
    info, arrays = probe(str(folder), "v", ReadOptions(pattern="*[0-9].png"))
    (folder / "frame2.depth.png").write_bytes((folder / "frame3.png").read_bytes())
    read_frames(info, arrays["video.index"], arrays["video.pts"], 0, 4)
    assert identity.still_there(str(folder), info.source_sha256, info.source_identity) is True
    (folder / "frame2.png").write_bytes((folder / "frame3.png").read_bytes())
    assert identity.still_there(str(folder), info.source_sha256, info.source_identity) is False
    with pytest.raises(SourceChanged):
        read_frames(info, arrays["video.index"], arrays["video.pts"], 0, 4)
