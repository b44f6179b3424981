"""What a user states of the camera: the stages that do not keep to it are named, and only kept statements count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from geoflow.pipeline import Pipeline
from geoflow.planning.stated import as_heeded, heeds
from geoflow.segments import VideoInfo

PLAIN = VideoInfo("v", "v.mp4", "", 20, 30.0, 48, 64, 48, 64)
PINHOLE = (60.0, 60.0, 31.5, 23.5)
BENT = replace(PLAIN, intrinsics=PINHOLE, distortion=(-0.1, 0.0, 0.0, 0.0, 0.0))
POSED = replace(PLAIN, intrinsics=PINHOLE, cameras="p", cameras_sha256="x")


def test_nothing_stated_changes_nothing() -> None:
    assert as_heeded(PLAIN, heeds(Pipeline.load("embedded"))) is PLAIN


def test_stages_that_take_no_distortion_are_named() -> None:
    found = as_heeded(BENT, heeds(Pipeline.load("embedded")))
    assert found.notes == (
        "prior (embedded.motion_stereo) does not use the known distortion of the lens",
        "tracks (embedded.klt) does not use the known distortion of the lens",
        "hands (embedded.mediapipe_hands) does not use the known distortion of the lens",
        "frames keep the lens's distortion; camera/intrinsics are of the pinhole camera nearest to the lens",
    )
    fused = as_heeded(BENT, heeds(Pipeline.load("embedded", {"geometry.from_camera": False, "prior.every": 1})))
    assert "geometry (embedded.temporal_fusion) does not use the known distortion of the lens" in fused.notes


@pytest.mark.parametrize("metric", [True, False])
def test_a_pipeline_that_keeps_to_known_poses_has_their_world_and_unit(metric: bool) -> None:
    found = as_heeded(replace(POSED, cameras_metric=metric), heeds(Pipeline.load("embedded")))
    assert found.notes == () and found.given_world and found.metric is metric


def test_poses_that_nothing_keeps_to_make_no_metres(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "name: p\nstages:\n  - {slot: decode, backend: geoflow.stages.decode}\n"
        "  - {slot: prior, backend: embedded.motion_stereo}\n"
        "  - {slot: write, backend: geoflow.stages.write}\n"
    )
    found = as_heeded(replace(POSED, cameras_metric=True), heeds(Pipeline.load(tmp_path / "p.yaml")))
    assert found.notes == ("no stage of the pipeline uses the known poses",)
    assert not found.given_world and not found.metric
    deaf = tuple(replace(row, honours=frozenset({"intrinsics"})) for row in heeds(Pipeline.load("embedded")))
    found = as_heeded(replace(POSED, cameras_metric=True), deaf)
    assert not found.given_world and not found.metric
    assert found.notes == (
        "camera (embedded.colmap) does not use the known poses",
        "camera (embedded.colmap) does not use the known scale",
    )
