"""What is kept of an export that was stopped, and what is refused."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import pytest
from dataset_run import write_dataset_run
from exported import export
from interrupted_export import Deadly
from typer.testing import CliRunner

from geoflow.cli import app
from geoflow.errors import ConfigError, StoreError
from geoflow.export.dataset.finished_episodes import _RECORD
from geoflow.export.dataset.registry import dataset_kind
from geoflow.export.dataset.webdataset import WebDataset
from geoflow.export.dataset.writing import RECORD, export_dataset

pytestmark = pytest.mark.long


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_dataset_run(tmp_path / "run", 6)
    return tmp_path / "run"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The episodes that are written from now on; the fourth is interrupted as by Ctrl-C while `limit` is set."""
    names: list[str] = []
    original = WebDataset.write

    def write(self: Any, passage: Any, episode: Any, folder: Path, shared: Any) -> Any:
        if names and names[0] == "stop" and len(names) == 4:
            (folder / "half.tar").write_bytes(b"half")
            raise KeyboardInterrupt
        names.append(episode.name)
        return original(self, passage, episode, folder, shared)

    monkeypatch.setattr(WebDataset, "write", write)
    return names


def contents(out: Path) -> dict[str, bytes]:
    found = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if name != RECORD}


def parts(out: Path) -> list[Path]:
    return sorted(out.with_name(out.name + ".part").glob(f"parts/*/{_RECORD}"))


def test_an_export_that_was_stopped_goes_on(run: Path, tmp_path: Path, written: list[str]) -> None:
    export_dataset(run, WebDataset(), tmp_path / "whole", processes=1)
    assert len(written) == 6
    out = tmp_path / "out"
    written[:] = ["stop"]
    with pytest.raises(KeyboardInterrupt):
        export_dataset(run, WebDataset(), out, processes=1)
    assert not out.exists() and len(parts(out)) == 3
    # One of the finished parts is damaged, another one has lost its file: both are seen, and written again.
    damaged, lost, _ = parts(out)
    tar = damaged.parent / "files" / "episode.tar"
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.write_bytes(data)
    (lost.parent / "files" / "episode.tar").unlink()
    written.clear()
    done = export_dataset(run, WebDataset(), out, processes=1)
    assert len(written) == 5 and len(done.episodes) == 6
    assert contents(out) == contents(tmp_path / "whole")
    assert not out.with_name("out.part").exists()


def test_parts_of_a_store_that_changed_are_not_taken(run: Path, tmp_path: Path, written: list[str]) -> None:
    out = tmp_path / "out"
    written[:] = ["stop"]
    with pytest.raises(KeyboardInterrupt):
        export_dataset(run, WebDataset(), out, processes=1)
    with h5py.File(run / "videos" / f"{written[1]}.h5", "a") as file:
        file["frames/rgb"][:] = 0
    again = written[1]
    written.clear()
    export_dataset(run, WebDataset(), out, processes=1)
    assert again in written and len(written) == 4
    # Other options make other parts, another side of the split the same.
    shutil.rmtree(out)
    written[:] = ["stop"]
    with pytest.raises(KeyboardInterrupt):
        export_dataset(run, WebDataset(), out, processes=1)
    written.clear()
    export_dataset(run, WebDataset(quality=80), out, processes=1, val=0.5)
    assert len(written) == 6


def test_a_killed_export_goes_on(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "geoflow", "export", str(run), "--to", "lerobot", "-o", str(out), "--processes=2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    end = time.monotonic() + 120
    while not parts(out) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = len(parts(out))
    assert finished and not out.exists()
    status, said, stderr = export(run, "lerobot", out)
    assert status == 3 and said["videos"] == 6
    assert f"{finished} of {said['episodes']} episodes are finished already" in stderr


def test_a_process_that_dies_is_said_and_costs_nothing_finished(run: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"a process of the export was killed.*finished episodes are kept"):
        export_dataset(run, Deadly(), tmp_path / "out", processes=2)
    assert not (tmp_path / "out").exists()


def test_two_exports_into_one_folder(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def second(*_: object) -> None:
        export_dataset(run, WebDataset(), tmp_path / "out", processes=1)

    monkeypatch.setattr(WebDataset, "assemble", second)
    with pytest.raises(StoreError, match=r"another export writes .*out now"):
        export_dataset(run, WebDataset(), tmp_path / "out", processes=1)


def test_nothing_is_overwritten(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(StoreError, match="out exists already"):
        export_dataset(run, WebDataset(), tmp_path / "out")
    with pytest.raises(ConfigError, match="written to a local disk"):
        export_dataset(run, WebDataset(), "s3://bucket/out")


def test_a_run_of_which_nothing_is_chosen(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing of .* is chosen by --where 'index > 90'"):
        export_dataset(run, WebDataset(), tmp_path / "out", where="index > 90", processes=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "lerobot", "--set", "metres_per_unit=2"], "a dataset of lerobot has no such option; it has: task=''"),
        (["--to", "webdataset", "--set", "quality=high"], "takes a int here, such as 95"),
        (["--to", "webdataset", "--set", "picture=bmp"], "expected one of jpg, png"),
        (["--to", "lerobot", "--set", "state=feet"], "expected one of hands, left, right"),
        (["--to", "lerobot", "--set", "texts=none.csv"], "--set texts=none.csv: it cannot be read"),
        (["--to", "webdataset", "--val", "1.5"], "--val 1.5: expected the share"),
    ],
)
def test_wrong_usage_of_the_command(run: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["export", str(run), "-o", str(tmp_path / "out"), "--processes", "1", *arguments])
    assert isinstance(done.exception, ConfigError) and message in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_a_format_of_datasets_is_not_for_one_store(run: Path, tmp_path: Path) -> None:
    store = run / "videos" / "00_plain.h5"
    done = CliRunner().invoke(app, ["export", str(store), "-o", str(tmp_path / "out"), "--to", "zarr"])
    assert "--to zarr is a dataset of a run; give a run's folder" in str(done.exception)


def test_every_option_of_every_dataset_is_described() -> None:
    from geoflow.export.dataset.registry import DATASETS
    from geoflow.export.formats import FORMATS

    for to, kind in DATASETS.items():
        described = (kind.__doc__ or "") + ((FORMATS[to].function.__doc__ or "") if to in FORMATS else "")
        for option in kind.defaults():
            assert f"`{option}`" in described, f"{to}: {option}"
        assert dataset_kind(to, {}) == kind()


def test_the_record_is_json_that_says_what_is_in_it(run: Path, tmp_path: Path) -> None:
    export(run, "lerobot", tmp_path / "out")
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    assert record["videos"]["04_gap"] == {"frames": 8, "of": 8}
    assert [e["name"] for e in record["episodes"] if e["video"] == "04_gap"] == [
        "04_gap_000000_000005",
        "04_gap_000005_000008",
    ]
    assert record["format"] == "LeRobotDataset" and record["options"]["crf"] == 12
