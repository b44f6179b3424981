"""What a run can say without Ray: nothing is started for inputs that need no work, or for a wrong address."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import geoflow
from geoflow.errors import ConfigError
from geoflow.observe.ledger import read_events


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def refuse(*args: Any) -> Iterator[None]:
        pytest.fail("Ray is started")
        yield

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("geoflow.runner.ray_cluster", refuse)


@pytest.mark.usefixtures("no_ray")
def test_inputs_that_are_all_refused_need_no_ray(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.mp4").write_bytes(b"no video" * 50)
    result = geoflow.run([tmp_path / "one.mp4", tmp_path / "two.mp4"], tmp_path / "out")
    assert result.exit_status == 3 and len(result.failed) == 2
    assert all("is not a video that can be read" in video.reason for video in result.failed)
    events = [row["event"] for row in read_events(tmp_path / "out" / "events.jsonl")]
    assert events == ["run_started", "video_failed", "video_failed", "run_finished"]


def test_an_address_without_a_cluster_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoflow.cluster.session.is_up", lambda: False)  # else no address matters
    (tmp_path / "one.mp4").write_bytes(b"no video")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ConfigError, match="nothing listens there"):
            geoflow.run(tmp_path / "one.mp4", tmp_path / "out", address=f"127.0.0.1:{unused.getsockname()[1]}")
    assert not (tmp_path / "out").exists()
