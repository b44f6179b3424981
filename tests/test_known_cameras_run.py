"""A rendered clip with its exact cameras given: what comes out has these cameras, in their world and in their unit."""

from __future__ import annotations

import io
from pathlib import Path

import camera_formats as formats
import numpy as np
import pytest
from rich.console import Console

import geoflow
from actors.embedded.colmap import Colmap
from geoflow import fields as field_table
from geoflow.pipeline import Pipeline
from geoflow.planning.stated import as_heeded, heeds
from geoflow.segments import plan_segments
from geoflow.stages.stitch import Stitch
from geoflow.store.verify import verify_store
from geoflow.synth import load_ground_truth, render_clip
from geoflow.video import frame_reader
from geoflow.video.options import ReadOptions
from geoflow.video.probe import probe

COUNT, FPS, SIZE = 24, 15.0, (160, 120)
KINDS = ("TUM", "COLMAP", "ViPE", "store")
LACKING = 7  # a frame whose pose the TUM file does not have
PIPELINE = """
name: posed
segment: {size: 14, overlap: 4}
stages:
  - {slot: decode, backend: geoflow.stages.decode, num_cpus: 0.3}
  - {slot: camera, backend: embedded.colmap, num_cpus: 0.5}
  - {slot: tracks, backend: embedded.klt, num_cpus: 0.3}
  - {slot: stitch, backend: geoflow.stages.stitch, num_cpus: 0.3}
  - {slot: write, backend: geoflow.stages.write, num_cpus: 0.3}
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exact")
    render_clip(
        folder / "clip.mp4", folder / "gt.h5", num_frames=COUNT, width=SIZE[0], height=SIZE[1], fps=FPS, moving=0
    )
    return folder


def _truth(clip: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with load_ground_truth(clip / "gt.h5") as truth:
        return truth.cam_from_world.astype(float), truth.intrinsics[0].astype(float), truth.depth[:]


def _write(kind: str, folder: Path, poses: np.ndarray, k: np.ndarray) -> tuple[Path, dict]:
    numbers = np.arange(COUNT)
    if kind == "TUM":
        has = numbers != LACKING
        path = formats.write_tum(folder / "p.txt", poses[has], numbers[has] / FPS + 0.004)
        return path, {"intrinsics": (k[0, 0], k[1, 1], k[0, 2], k[1, 2]), "scale": 1.0}
    if kind == "COLMAP":
        return formats.write_colmap(folder, poses, k, SIZE, numbers), {"scale": 1.0}
    if kind == "ViPE":
        return formats.write_vipe(folder, poses, k, SIZE, numbers), {"scale": 1.0}
    return formats.write_store(folder / "p.h5", poses, k, SIZE, numbers, metric=True), {}


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_exact_cameras_in_each_format_come_out_as_they_went_in(clip: Path, tmp_path: Path, kind: str) -> None:
    poses, k, depth = _truth(clip)
    path, options = _write(kind, tmp_path, poses, k)
    info, probed = probe(str(clip / "clip.mp4"), "clip", ReadOptions(cameras=str(path), **options))
    info = as_heeded(info, heeds(Pipeline.load("embedded")))
    assert info.metric and info.given_world
    stage, stitch, state, joined = Colmap(), Stitch(), {}, []
    for segment in plan_segments(info, 14, 4):
        rgb = frame_reader.read_frames(info, probed["video.index"], probed["video.pts"], segment.start, segment.stop)
        found = stage.process(segment, {**probed, "frames.rgb": rgb})
        field_table.check(found, stage.outputs, optional=stage.optional_outputs, who="camera", num_frames=len(segment))
        index = probed["video.index"][segment.start : segment.stop]
        stitch.restore(state)
        times = {"frames.index": index, "frames.time": probed["video.time"][segment.start : segment.stop]}
        joined.append(stitch.process(segment, {**times, **found}))
        state = stitch.state()
    assert len(joined) == 2 and all(part["stitch.scale"][0] == 1 for part in joined)
    valid, got, z = (
        np.concatenate([part[f"camera.{name}"] for part in joined]) for name in ("valid", "cam_from_world", "depth")
    )
    without = [LACKING] if kind == "TUM" else []
    assert np.flatnonzero(~valid).tolist() == without and np.isnan(got[without]).all() and not z[without].any()
    np.testing.assert_allclose(got[valid], poses[valid], atol=2e-6)  # float32, of the truth and of the store
    known = (z > 0) & (depth > 0)
    assert known[valid].mean() > 0.6
    for i in np.flatnonzero(valid):  # in metres, frame by frame: the scale is the same everywhere
        assert np.median(z[i][known[i]] / depth[i][known[i]]) == pytest.approx(1, abs=0.02)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_run_keeps_to_known_cameras_and_says_what_does_not(clip: Path, tmp_path: Path) -> None:
    poses, k, _ = _truth(clip)
    (tmp_path / "p.yaml").write_text(PIPELINE)
    cameras, options = _write("TUM", tmp_path, poses, k)
    options["intrinsics"] = [*options["intrinsics"], 1e-6]  # a lens that bends nothing that could be seen
    said = io.StringIO()
    result = geoflow.run(
        clip / "clip.mp4", tmp_path / "out", tmp_path / "p.yaml", cameras=cameras, **options,
        console=Console(file=said, width=200),
    )  # fmt: skip
    assert result.exit_status == 0, result.to_dict()
    sentence = "tracks (embedded.klt) does not use the known distortion of the lens"
    assert sentence in said.getvalue()
    path = tmp_path / "out" / "videos" / "clip.h5"
    with geoflow.open(path) as video:
        assert video.metric and video.status == "complete" and sentence in video.notes
        assert np.flatnonzero(~video.cameras.valid).tolist() == [LACKING]
        has = video.cameras.valid
        np.testing.assert_allclose(video.cameras.cam_from_world[has], poses[has], atol=2e-6)
        assert np.isnan(video.cameras.cam_from_world[LACKING]).all()
    assert verify_store(path) == []
    again = geoflow.run(clip / "clip.mp4", tmp_path / "out", tmp_path / "p.yaml", cameras=cameras, **options)
    assert again.videos[0].reused
