"""Choosing from a run on the command line: select, quality, and exports of what was chosen."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from run_folder import make_run

from geoflow.cli import main
from geoflow.export.parallel import export_run
from geoflow.store.paths import RunPaths

Ended = tuple[int, str, str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    return make_run(tmp_path_factory.mktemp("run"), "kitchen", "street")


@pytest.fixture
def geoflow(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def call(*args: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["geoflow", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return (ended.value.code, *capfd.readouterr())

    return call


def test_select_writes_a_list_and_says_what_is_in_it(run: RunPaths, geoflow: Callable[..., Ended], tmp_path: Path):
    chosen = tmp_path / "list.parquet"
    status, out, _ = geoflow("select", run.root, "--where", "video == 'street' and index > 1", "-o", chosen, "--json")
    assert status == 0 and pq.read_table(chosen).num_rows == 2
    assert json.loads(out) == {
        "of": "segments", "chosen": 2, "rows": 8, "frames": 20, "videos": {"street": [[20, 40]]},
    }  # fmt: skip
    status, out, _ = geoflow("select", run.root, "--where", "index == 0")
    assert status == 0 and "kitchen" in out and "0 to 9" in out and "2 of 8 segments, 20 frames" in out
    status, out, _ = geoflow("select", run.root, "--where", "quality > 1")
    assert status == 3 and "0 of 8 segments" in out


def test_a_condition_that_cannot_be_is_one_line_with_the_columns(run: RunPaths, geoflow: Callable[..., Ended]) -> None:
    status, out, said = geoflow("select", run.root, "--where", "qualty > 0.6")
    assert status == 2 and out == "" and said.count("\n") == 1
    assert "there is no column 'qualty'; there are: video, index," in said and "hands_visible" in said


def test_quality_has_nothing_to_do_after_a_run(run: RunPaths, geoflow: Callable[..., Ended]) -> None:
    status, out, _ = geoflow("quality", run.root, "--json")
    found = json.loads(out)
    assert status == 0 and found["measured"] == 0
    assert [row["name"] for row in found["videos"]] == ["kitchen", "street"]
    assert all(0 < row["quality"] < 1 for row in found["videos"])


def test_one_store_cannot_be_chosen_from(run: RunPaths, geoflow: Callable[..., Ended], tmp_path: Path) -> None:
    store, folder = run.video("street"), tmp_path / "depth"
    status, _, said = geoflow("export", store, "--to", "depth", "-o", folder, "--where", "quality > 0")
    assert status == 2 and "choose from a run; give its folder in the place of" in said and not folder.exists()


@pytest.mark.ray
def test_an_export_holds_the_chosen_frames_and_no_others(run: RunPaths, ray_session: None, tmp_path: Path) -> None:
    where = "video == 'kitchen' or index == 0 or index == 3"
    done = export_run(run.root, "depth", tmp_path / "depth", where=where)
    assert sorted(done) == ["kitchen", "street_000000-000010", "street_000030-000040"]
    files = {name: sorted(path.rglob("depth/GeometryCrafter/*.npy")) for name, path in done.items()}
    assert {name: len(found) for name, found in files.items()} == {
        "kitchen": 40, "street_000000-000010": 10, "street_000030-000040": 10,
    }  # fmt: skip
    whole = export_run(run.root, "depth", tmp_path / "all")["street"]
    later = sorted(whole.rglob("depth/GeometryCrafter/*.npy"))[30]
    assert np.array_equal(np.load(files["street_000030-000040"][0]), np.load(later))
