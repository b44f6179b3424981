"""Remote places, piece by piece, on fsspec's memory: stores read in place, fetched inputs, a run's records."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from full_store import write_full_store
from ledger_events import one_run
from ledger_events import write as write_events

import geoflow
from geoflow.errors import ConfigError, InputError, StoreError
from geoflow.export import export_store
from geoflow.files import locations, resources
from geoflow.files.hashing import file_sha256
from geoflow.observe.ledger import read_events
from geoflow.observe.status import read_status
from geoflow.store import opening
from geoflow.store.delivery import clear_parts, deliver, deliver_kept, gather_parts, share_part
from geoflow.store.info import describe
from geoflow.store.mirror import files_of_videos, is_run, kept_elsewhere, records, run_paths
from geoflow.store.paths import RunPaths
from geoflow.store.verify import verify
from geoflow.synth import Clip
from geoflow.video import fetched as fetching
from geoflow.video.fetched import fetched, forget
from geoflow.video.inputs import expand_inputs


@pytest.fixture(autouse=True)
def place() -> Iterator[str]:
    """An empty folder of the memory file system."""
    yield "memory://place"
    fsspec.filesystem("memory").store.clear()


def write(uri: str, data: bytes) -> None:
    with fsspec.open(uri, "wb") as file:
        file.write(data)


def read(uri: str) -> bytes:
    with fsspec.open(uri, "rb") as file:
        return file.read()


# Stores


def test_a_store_is_read_in_place(
    place: str, small_clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "BLOCK", 4096)
    write_full_store(tmp_path / "a.h5", small_clip)
    uri = f"{place}/videos/a.h5"
    locations.put(tmp_path / "a.h5", uri)
    with geoflow.open(tmp_path / "a.h5") as here, geoflow.open(uri) as there:
        assert there.name == "a" and str(there.path) == uri and there.path.name == "a.h5"
        assert (there.depth[5] == here.depth[5]).all() and (there.rgb(2) == here.rgb(2)).all()
        assert np.array_equal(there.cameras.cam_from_world, here.cameras.cam_from_world, equal_nan=True)
        assert {**describe(there), "path": ""} == {**describe(here), "path": ""}
    for deep in (True, False):  # of an uncompressed file that a test wrote there is something to say
        assert verify(uri, deep=deep) == verify(tmp_path / "a.h5", deep=deep)
    done = export_store(uri, "tapip3d", tmp_path / "a.npz")
    assert done.frames == len(small_clip.frames) - 1  # one has no pose
    with pytest.raises(StoreError, match=r"memory://place/none\.h5 does not exist"):
        geoflow.open(f"{place}/none.h5")
    assert verify(f"{place}/none.h5") == [f"{place}/none.h5 is not a file"]
    with pytest.raises(ConfigError, match="exports are written to a local disk"):
        export_store(uri, "tapip3d", "s3://bucket/a.npz")


def test_only_the_blocks_asked_for_are_fetched(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "BLOCK", 100)
    data = os.urandom(10_050)
    write(f"{place}/x", data)
    file = opening.BlockFile(f"{place}/x")
    for start, stop in ((0, 50), (30, 90), (5000, 5250), (10_000, 10_100), (5040, 5100)):
        file.seek(start)
        assert file.read(stop - start) == data[start:stop]
    assert (file.fetched, file.requests) == (100 + 300 + 50, 3)
    file.seek(0)
    assert file.read(10_050) == data
    write(f"{place}/x", data[:9000])
    later = opening.BlockFile(f"{place}/x")
    write(f"{place}/x", data[:100])
    later.seek(8000)
    with pytest.raises(OSError, match="it was changed"):
        later.read(10)


# Inputs


def test_folders_and_manifests_of_uris(place: str, tmp_path: Path) -> None:
    for name in ("in/b10.mp4", "in/b9.mp4", "in/.hidden.mp4", "in/notes.md", "in/deep/c.mp4", "pictures/1.png"):
        write(f"{place}/{name}", b"x")
    write(f"{place}/list.txt", b"# ours\nin/b9.mp4\n./in/deep/../b10.mp4\nmemory://other/far.mp4\n/disk/none.mp4\n")

    def found(*args: str) -> tuple[list[str], list[str]]:
        items, rejected = expand_inputs(args)
        return [item.name for item in items], [entry.reason for entry in rejected]

    assert found(f"{place}/in/") == found(f"{place}/in") == (["b9", "b10"], [])
    assert found(f"{place}/in/**") == (["b9", "b10", "c"], [])
    names, reasons = found(f"{place}/list.txt")
    assert names == ["b9", "b10", "far"] and len(reasons) == 1 and "does not exist" in reasons[0]
    assert "frame folders are read from a local disk" in found(f"{place}/pictures")[1][0]
    assert "single picture" in found(f"{place}/pictures/1.png")[1][0]
    assert "does not exist" in found(f"{place}/none.txt")[1][0]
    write(f"{place}/empty/notes.md", b"x")
    assert "holds no video" in found(f"{place}/empty")[1][0]


def test_fetched_copies_are_of_what_was_asked_for(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, folder = f"{place}/a.mp4", resources.cache_folder() / "inputs"
    write(uri, b"first")
    first = Path(fetched(uri))
    digest = file_sha256(str(first))
    assert fetched(uri, digest) == str(first) and first.suffix == ".mp4"
    write(uri, b"second")
    with pytest.raises(InputError, match="has changed"):
        fetched(uri, digest)
    assert Path(fetched(uri)).read_bytes() == b"second"
    assert len(list(folder.iterdir())) == 1  # the first went away
    monkeypatch.setattr(fetching, "CACHE_BYTES", 12)
    os.utime(fetched(uri), (1, 1))
    write(f"{place}/b.mp4", b"another")
    Path(fetched(f"{place}/b.mp4"))
    assert [path.read_bytes() for path in folder.iterdir()] == [b"another"]
    forget([f"{place}/b.mp4"])
    assert not list(folder.iterdir())
    with pytest.raises(InputError, match="is a folder"):
        fetched(place)


# Output


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "get_filesystem_class", absent)
    with pytest.raises(ConfigError, match=r"s3:// needs a package that is not installed here: pip install s3fs"):
        locations.require_packages(["/disk/a.mp4", "s3://bucket/a.mp4"])
    with pytest.raises(ConfigError, match="pip install s3fs"):
        expand_inputs(["s3://bucket/*.mp4"])


def test_the_ledger_goes_on_where_it_was_last_written(place: str, tmp_path: Path) -> None:
    out = f"{place}/out/"
    paths = run_paths(out)
    assert paths.remote == f"{place}/out" and run_paths(tmp_path) == RunPaths(tmp_path)
    assert run_paths(tmp_path.as_uri()) == RunPaths(tmp_path)
    with pytest.raises(ConfigError, match="give it as text"):
        run_paths(Path("s3://bucket/out"))
    with pytest.raises(ZeroDivisionError), kept_elsewhere(paths):
        write_events(paths.events, one_run()[:5])
        raise ZeroDivisionError
    assert len(read_events(paths.events)) == 5  # still here, and there:
    with records(out, ["events.jsonl"]) as there:
        assert len(read_events(there.events)) == 5 and there.home == f"{place}/out"
    write_events(paths.events, one_run()[:7])  # two more were not copied: killed
    with kept_elsewhere(paths):
        assert len(read_events(paths.events)) == 7
    assert not paths.root.exists()  # all is there
    with kept_elsewhere(paths):
        assert len(read_events(paths.events)) == 7
        write_events(paths.events, one_run())
        (paths.root / ".work" / "a").mkdir(parents=True)
        (paths.root / ".work" / "a" / "finished.jsonl").write_text("{}")
    assert [path.name for path in paths.root.rglob("*") if path.is_file()] == ["finished.jsonl"]
    assert read_status(out)["state"] == "finished"
    assert is_run(out) and not is_run(f"{place}/out/videos/a.h5")


def test_a_file_system_that_can_rename_never_shows_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, seen = f"local://{tmp_path}/disk", []
    (tmp_path / "x").write_bytes(b"new")
    locations.check_writable(place)
    kind = fsspec.get_filesystem_class("local")
    move = kind.mv

    def watched(self: Any, *args: Any, **options: Any) -> Any:
        seen.append(sorted(path.name for path in (tmp_path / "disk" / "videos").iterdir()))
        return move(self, *args, **options)

    monkeypatch.setattr(kind, "mv", watched)
    for _ in range(2):
        locations.put(tmp_path / "x", f"{place}/videos/a.h5")
    assert seen == [["a.h5.part"], ["a.h5", "a.h5.part"]]
    assert [locations.basename(uri) for uri in locations.listing(f"{place}/videos")] == ["a.h5"]
    locations.fetch(f"{place}/videos/a.h5", tmp_path / "y")
    assert (tmp_path / "y").read_bytes() == b"new"


def test_another_node_may_assemble(place: str, tmp_path: Path) -> None:
    one, two = RunPaths(tmp_path / "one", f"{place}/out"), RunPaths(tmp_path / "two", f"{place}/out")
    parts = [(one, 0, b"zero"), (one, 1, b"one"), (two, 1, b"stale"), (two, 2, b"two")]
    for paths, index, data in [*parts, (one, 0, b"of other work")]:
        part = paths.part("a", index, "beef" if data == b"of other work" else "f00d")
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        if paths is one:
            share_part(one, part)
    gather_parts(two, "a", "f00d", {0, 1, 2}, own={2})
    assert [path.read_bytes() for path in two.finished_parts("a", "f00d").values()] == [b"zero", b"one", b"two"]
    assert two.finished_parts("a", "beef") == {}
    two.videos.mkdir()
    two.video("a").write_bytes(b"whole")
    deliver(two, "a")
    assert read(f"{place}/out/videos/a.h5") == b"whole" and not two.video("a").exists()
    assert not fsspec.filesystem("memory").find("/place/out/.work") and files_of_videos(two) == ["a.h5"]
    for name in "ab":
        write(f"{place}/out/.work/{name}/segment_00000.h5", b"left by a run that was killed")
    clear_parts(two, {"a"})
    assert fsspec.filesystem("memory").find("/place/out/.work") == ["/place/out/.work/b/segment_00000.h5"]


def test_what_could_not_be_uploaded_is_kept(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def broken(self: Any, *args: Any, **options: Any) -> None:
        tries.append(args)
        raise OSError("the network is down") if len(tries) < 6 else PermissionError("no more")

    paths = RunPaths(tmp_path, f"{place}/out")
    paths.videos.mkdir()
    paths.video("a").write_bytes(b"whole")
    monkeypatch.setattr(locations, "_WAITS_S", (0.0, 0.0, 0.0))
    with monkeypatch.context() as patch:
        patch.setattr(fsspec.get_filesystem_class("memory"), "put_file", broken)
        with pytest.raises(StoreError, match=r"the network is down.*kept as .*a\.h5 on .*run again to upload it"):
            deliver(paths, "a")
        assert len(tries) == 4
        assert "no more" in deliver_kept(paths)["a"] and len(tries) == 6  # what cannot change is not tried again
    assert paths.video("a").exists() and deliver_kept(paths) == {}
    assert read(f"{place}/out/videos/a.h5") == b"whole" and not paths.video("a").exists()
    paths.video("a").write_bytes(b"older")
    os.utime(paths.video("a"), (1, 1))
    assert deliver_kept(paths) == {} and read(f"{place}/out/videos/a.h5") == b"whole"
