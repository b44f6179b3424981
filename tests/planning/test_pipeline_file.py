"""A run's settings as a pipeline file: the same settings come back, and the same work is done again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import clips
import h5py
import pytest
from plain_pipeline import PLAIN

import geoflow
from geoflow.errors import ConfigError
from geoflow.pipeline import Pipeline
from geoflow.planning.pipeline_file import as_file, as_text
from geoflow.store.index import read_rows
from geoflow.store.paths import RunPaths
from geoflow.values.yaml_text import parse_yaml, write_yaml
from geoflow.video.options import ReadOptions, read_options


def again(pipe: Pipeline, reading: ReadOptions, folder: Path) -> Pipeline:
    (folder / "pipeline.yaml").write_text(as_text(pipe, reading))
    return Pipeline.load(folder / "pipeline.yaml")


@pytest.mark.parametrize("name", ["embedded", "geometry"])
def test_every_setting_comes_back(name: str, tmp_path: Path) -> None:
    pipe = Pipeline.load(name, {"segment.size": 60, "hung_after": 5})
    back = again(pipe, ReadOptions(), tmp_path)
    assert back.fingerprint() == pipe.fingerprint() and back.to_dict() == pipe.to_dict()
    assert back.model_dump(exclude={"stages"}) == pipe.model_dump(exclude={"stages"})
    for mine, other in zip(pipe.stages, back.stages):
        assert mine.model_dump(exclude={"params"}) == other.model_dump(exclude={"params"})


def test_defaults_are_written_out_and_what_the_run_fills_in_is_not() -> None:
    rows = {row["slot"]: row for row in as_file(Pipeline.load("embedded"), ReadOptions())["stages"]}
    assert rows["camera"]["params"]["chapter"] == 288
    assert set(rows["write"]["params"]) == {"compression", "rgb", "prior", "points"}


def test_how_inputs_are_read_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reading = ReadOptions(fps=10, size=(64, 48), intrinsics=[500, 501, 32, 24, -0.1], masks="masks", pattern="*.png")
    back = again(Pipeline.load("embedded"), reading, tmp_path)
    assert back.reading["masks"] == str(tmp_path / "masks"), "from whatever folder the file is used"
    assert read_options(back.reading) == ReadOptions(**{**vars(reading), "masks": str(tmp_path / "masks")})


def test_the_command_line_comes_before_the_file() -> None:
    stated = {"fps": 10, "limit": 50, "intrinsics": [1, 1, 0, 0], "distortion": [0.1]}
    found = read_options(stated, {"fps": 5, "limit": None, "intrinsics": (2, 2, 0, 0)})
    assert (found.fps, found.limit, found.intrinsics, found.distortion) == (5, 50, (2, 2, 0, 0), None)


@pytest.mark.parametrize(
    ("reading", "message"), [({"fsp": 10}, "fsp: no such option for reading; there are: fps"), ({"fps": -1}, "fps")]
)
def test_a_wrong_option_in_a_file_is_named(reading: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"reading: {message}"):
        Pipeline.from_dict({**parse_yaml(PLAIN, "PLAIN"), "reading": reading})


@pytest.mark.parametrize("value", ["1e5", "010", "1:30", "true", "null", "", "0x1F", "a: b", 1e-7, 5, None, [1, "2"]])
def test_written_values_are_read_as_the_same(value: Any) -> None:
    assert parse_yaml(write_yaml({"a": value}), "text") == {"a": value}


@pytest.mark.ray
def test_a_run_is_repeated_by_its_file(tmp_path: Path, ray_session: object) -> None:
    """The same key of the work, and the same bits; other options of the command line would make another key."""
    clips.write(tmp_path / "a.mp4", 30)
    (tmp_path / "plain.yaml").write_text(PLAIN)
    first = tmp_path / "first"
    settings = {"segment.size": 10, "segment.overlap": 3, "write.compression": 1}
    geoflow.run(tmp_path / "a.mp4", first, tmp_path / "plain.yaml", settings=settings, size=(32, 24), limit=20)
    second = geoflow.run(tmp_path / "a.mp4", tmp_path / "second", first / "pipeline.yaml")
    third = geoflow.run(tmp_path / "a.mp4", tmp_path / "third", first / "pipeline.yaml", limit=12)
    assert second.exit_status == third.exit_status == 0
    (one,), (two,), (three,) = (read_rows(RunPaths(tmp_path / name).index) for name in ("first", "second", "third"))
    assert one["key"] == two["key"] != three["key"]
    assert (two["width"], two["num_frames"], three["num_frames"]) == (32, 20, 12)
    with h5py.File(RunPaths(first).video("a")) as a, h5py.File(RunPaths(tmp_path / "second").video("a")) as b:
        assert a["frames/rgb"][:].tobytes() == b["frames/rgb"][:].tobytes()
    assert (first / "pipeline.yaml").read_text() == (tmp_path / "second" / "pipeline.yaml").read_text()
