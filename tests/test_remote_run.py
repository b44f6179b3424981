"""Runs from and to a real S3 server, on a real Ray cluster: their results, the cost of a kill, their messages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import counting_stages
import fsspec
import h5py
import numpy as np
import pytest
import yaml
from counting_stages import calls
from plain_pipeline import PLAIN
from typer.testing import CliRunner

import geoflow
from geoflow.cli import app
from geoflow.errors import ConfigError
from geoflow.files import locations
from geoflow.observe.status import read_status
from geoflow.pipeline import Pipeline
from geoflow.report import write_report
from geoflow.store.mirror import run_paths
from geoflow.store.verify import verify
from geoflow.synth import render_clip

pytest.importorskip("s3fs")
pytest.importorskip("moto.server")
pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


@pytest.fixture(scope="module")
def clips(refuse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of twelve frames, here and below s3://bucket/in; and a pipeline file."""
    folder = tmp_path_factory.mktemp("clips")
    for seed, name in enumerate(("a", "refused")):
        truth = folder / f"{name}.gt.h5"
        render_clip(folder / f"{name}.mp4", truth, num_frames=12, width=64, height=48, seed=seed)
        locations.put(folder / f"{name}.mp4", f"s3://bucket/in/{name}.mp4")
    (folder / "plain.yaml").write_text(PLAIN)
    return folder


def there(uri: str) -> list[str]:
    fs, path = fsspec.core.url_to_fs(uri)
    fs.invalidate_cache()
    return sorted(name.removeprefix(f"{path}/") for name in fs.find(path))


def pixels(path: Any) -> np.ndarray:
    with geoflow.open(path) as video:
        return np.stack([video.rgb(i) for i in range(len(video))])


def test_from_s3_to_s3(clips: Path) -> None:
    out = "s3://bucket/out"
    result = geoflow.run("s3://bucket/in/", out, clips / "plain.yaml")
    assert result.exit_status == 0 and result.out == out
    assert [video.path for video in result.videos] == [f"{out}/videos/a.h5", f"{out}/videos/refused.h5"]
    here = geoflow.run(clips / "a.mp4", clips / "out", clips / "plain.yaml")
    assert (pixels(result.videos[0].path) == pixels(here.videos[0].path)).all()
    with h5py.File(here.videos[0].path) as local, geoflow.open(result.videos[0].path) as far:
        assert far.source == "s3://bucket/in/a.mp4" and far.source_sha256 == local.attrs["source_sha256"]
    assert write_report(out) == f"{out}/report.html"
    names = ["events.jsonl", "index.parquet", "pipeline.yaml", "report.html"]
    names += ["report/a.html", "report/refused.html", "run.json", "segments.parquet", "trace.json"]
    assert there(out) == [*names, "videos/a.h5", "videos/refused.h5"]
    assert verify(out) == [] and read_status(out)["counts"]["complete"] == 2
    loaded = geoflow.load_run(out)
    assert len(loaded.videos["a"]) == 12 and len(loaded.segments) == 4
    uri = f"{out}/videos/a.h5"
    assert json.loads(CliRunner().invoke(app, ["info", uri, "--json"]).stdout)["path"] == uri
    assert CliRunner().invoke(app, ["verify", uri]).stdout == f"{uri}: no problems\n"
    assert CliRunner().invoke(app, ["verify", "s3://bucket/in"]).exit_code == 3
    again = geoflow.run("s3://bucket/in/a.mp4", out, clips / "plain.yaml")
    assert [video.reused for video in again.videos] == [True]
    assert len(geoflow.load_run(out).videos) == 2 and read_status(out)["run"] == 2
    cache = Path(os.environ["GEOFLOW_CACHE"])
    assert not run_paths(out).root.exists() and not list(cache.glob("inputs/*"))


@pytest.mark.slow
def test_a_killed_run_goes_on_there_and_elsewhere(clips: Path, tmp_path: Path) -> None:
    import ray

    out = f"s3://bucket/{tmp_path.name}"
    settings = {"prior__seconds": 0.3, "segment": {"size": 6, "overlap": 2}}  # three segments each
    config = tmp_path / "counted.yaml"
    config.write_text(yaml.safe_dump(counting_stages.pipeline(tmp_path, **settings)))
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, counting_stages.__file__, address, "run", "s3://bucket/in", "-o", out]
    driver = subprocess.Popen([*command, "--pipeline", str(config)], stderr=subprocess.PIPE, text=True)
    journal = run_paths(out).finished("refused")
    while not (journal.is_file() and "videos/a.h5" in there(out)):
        assert driver.poll() is None, driver.stderr and driver.stderr.read()
        time.sleep(0.01)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert "videos/refused.h5" not in there(out)
    assert read_status(out)["state"] in ("running", "killed")  # its ledger is there, too
    elsewhere = f"{out}-of-another-machine"  # a machine that has nothing of this run in its cache
    fsspec.filesystem("s3").copy(out, elsewhere, recursive=True)
    pipe = Pipeline.from_dict(yaml.safe_load(config.read_text()))
    for place, at_least, at_most in ((elsewhere, 3, 3), (out, 0, 2)):
        before = Counter(calls(tmp_path))
        result = geoflow.run("s3://bucket/in", place, pipe)
        assert result.exit_status == 0 and [video.reused for video in result.videos] == [True, False]
        again = sum(slot == "prior" for slot, _ in (Counter(calls(tmp_path)) - before).elements())
        assert at_least <= again <= at_most
        assert verify(place) == [] and not [name for name in there(place) if ".work" in name]
        assert read_status(place)["run"] == 2 and not run_paths(place).root.exists()


@pytest.mark.slow
def test_a_refused_upload_costs_that_video_until_the_next_run(clips: Path, refuse: Path) -> None:
    out = "s3://bucket/out3"
    refuse.touch()
    try:
        for words in ("Access Denied", "finished by an earlier run, and still not uploaded"):
            result = geoflow.run("s3://bucket/in/", out, clips / "plain.yaml", settings={"write.compression": 1})
            assert [video.status for video in result.videos] == ["complete", "failed"] and result.exit_status == 3
            assert words in result.failed[0].reason
        kept = run_paths(out).video("refused")
        assert str(kept) in result.failed[0].reason and kept.is_file()
        assert there(out)[-1] == "videos/a.h5" and geoflow.load_run(out).failures
    finally:
        refuse.unlink()
    result = geoflow.run("s3://bucket/in/", out, clips / "plain.yaml", settings={"write.compression": 1})
    assert [video.reused for video in result.videos] == [True, True] and result.exit_status == 0
    assert not kept.exists() and verify(out) == []


def test_what_cannot_work_is_told_before_it_starts(clips: Path, refuse: Path, s3_settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"s3://nobucket/out cannot be written: .*bucket.*check the address"):
        geoflow.run(clips / "a.mp4", "s3://nobucket/out", clips / "plain.yaml")
    refuse.touch()
    try:
        with pytest.raises(ConfigError, match=r"cannot be written: Access Denied.*permissions there"):
            geoflow.run(clips / "a.mp4", "s3://bucket/refused", clips / "plain.yaml")
    finally:
        refuse.unlink()
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    env |= {"AWS_ENDPOINT_URL_S3": s3_settings["AWS_ENDPOINT_URL_S3"], "AWS_EC2_METADATA_DISABLED": "true"}
    env["AWS_SHARED_CREDENTIALS_FILE"] = env["AWS_CONFIG_FILE"] = os.devnull
    command = [sys.executable, "-m", "geoflow", "run", str(clips / "a.mp4"), "-o", "s3://bucket/out5"]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 2 and "Unable to locate credentials" in done.stderr and "Traceback" not in done.stderr
