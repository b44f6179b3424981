"""The backends `moge` and `geometrycrafter` without Ray: fields in, fields out, with small made-up weights."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("safetensors", reason="safetensors is not installed")

import small_moge
from small_crafter import make_video, publish, small_networks, trusting

from geoflow import fields
from geoflow.backends import contract, loading
from geoflow.engine.actor.splitting import can_split
from geoflow.errors import ConfigError, InputError
from geoflow.geometry.cameras import assumed_intrinsics, pinhole, unproject
from geoflow.models.geometrycrafter.priors import estimate_intrinsics, rays
from geoflow.segments import Segment, VideoInfo

pytestmark = pytest.mark.long

Crafter = loading.load("geometrycrafter")
MoGe = loading.load("moge")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("weights")
    for model_type in ("diff", "determ"):
        publish(trusting(small_networks(model_type)), folder / "crafter", folder / "base")
    return {"weights": str(folder / "crafter"), "base_weights": str(folder / "base")}


def segment(frames: int, height: int, width: int, **known: Any) -> Segment:
    return Segment(VideoInfo("v", "v.mp4", "", frames, 30.0, height, width, height, width, **known), 0, 0, frames)


def given(frames: int, height: int, width: int) -> dict[str, np.ndarray]:
    rgb, points, mask = make_video(frames, height, width)
    intrinsics = np.tile(pinhole(0.9 * width, height, width), (frames, 1, 1))
    made = {"frames.rgb": rgb, "prior.points": points.astype(np.float16), "prior.mask": mask}
    return made | {"prior.intrinsics": intrinsics}


def crafter(folders: dict[str, str], **options: Any) -> Any:
    stage = Crafter(Crafter.Params(**{"model_type": "determ", "window_size": 4, "overlap": 2, **folders, **options}))
    stage.setup()
    return stage


@pytest.mark.parametrize("model_type", ["diff", "determ"])
def test_the_contract_is_kept(folders: dict[str, str], model_type: str) -> None:
    """On small networks; on grey frames it gives nothing, as its prior does."""
    params = {"model_type": model_type, "window_size": 4, "overlap": 2, **folders}
    assert contract.problems("geometrycrafter", params) == []


@pytest.mark.parametrize("frames", [1, 3, 7])
@pytest.mark.parametrize("model_type", ["diff", "determ"])
def test_short_videos_of_odd_sizes(folders: dict[str, str], model_type: str, frames: int) -> None:
    stage = crafter(folders, model_type=model_type, num_inference_steps=2)
    found = stage.process(segment(frames, 53, 75), given(frames, 53, 75))
    fields.check(found, Crafter.outputs, who="geometrycrafter", num_frames=frames)
    points, mask, k = (found[f"geometry.{name}"].astype(np.float32) for name in ("points", "mask", "intrinsics"))
    assert mask.mean() > 0.5 and np.isfinite(points).all() and (points[mask == 0] == 0).all()
    assert (points[..., 2][mask == 1] > 0).all()
    again = unproject(points[..., 2], k)
    np.testing.assert_allclose(again, points, rtol=2e-3, atol=1e-3, err_msg="points and intrinsics say the same")


def test_the_same_segment_gives_the_same_bits_in_another_actor(folders: dict[str, str]) -> None:
    here, rows = segment(5, 60, 60), given(5, 60, 60)
    first, second = (crafter(folders, model_type="diff", num_inference_steps=1).process(here, rows) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_known_camera_is_kept(folders: dict[str, str]) -> None:
    here = segment(2, 54, 72, intrinsics=(80.0, 82.0, 36.0, 26.0))
    found = crafter(folders).process(here, given(2, 54, 72))
    assert (found["geometry.intrinsics"] == here.video.known_intrinsics).all()
    depth = found["geometry.points"][..., 2].astype(np.float32)
    wanted = unproject(depth, here.video.known_intrinsics)
    np.testing.assert_allclose(found["geometry.points"].astype(np.float32), wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("focal", [{"force_fixed_focal": False}, {"force_projection": False}])
def test_focal_lengths_per_frame_and_per_pixel(folders: dict[str, str], focal: dict[str, bool]) -> None:
    found = crafter(folders, **focal).process(segment(3, 64, 64), given(3, 64, 64))
    assert (found["geometry.intrinsics"][:, 0, 0] > 1).all()
    assert np.isfinite(found["geometry.points"]).all() and found["geometry.mask"].any()


def test_a_prior_that_knows_nothing_gives_nothing(folders: dict[str, str]) -> None:
    rows = given(3, 64, 64)
    rows["prior.mask"] = np.zeros_like(rows["prior.mask"])
    found = crafter(folders).process(segment(3, 64, 64), rows)
    assert not found["geometry.mask"].any() and not found["geometry.points"].any()
    np.testing.assert_array_equal(found["geometry.intrinsics"], rows["prior.intrinsics"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_a_valid_point_must_be_a_point(folders: dict[str, str], value: float) -> None:
    rows = given(3, 64, 64)
    rows["prior.points"][1, 40, 40] = value
    assert rows["prior.mask"][1, 40, 40]
    with pytest.raises(InputError, match="the prior of frame 1 has 1 valid pixels"):
        crafter(folders).process(segment(3, 64, 64), rows)
    rows["prior.mask"][1, 40, 40] = False
    assert np.isfinite(crafter(folders).process(segment(3, 64, 64), rows)["geometry.points"]).all()


def test_points_of_invalid_pixels_are_not_missed() -> None:
    """The networks are told of the rays of all pixels; those that MoGe masks out lie on the camera of the others."""
    import torch

    _, points, mask = make_video(2, 48, 64)
    whole, cut = torch.from_numpy(points), torch.from_numpy(np.where(mask[..., None], points, 0).astype(np.float16))
    told = (estimate_intrinsics(rays(p.float(), torch.from_numpy(mask))) for p in (whole, cut))
    torch.testing.assert_close(*told, rtol=2e-4, atol=2e-4)


def test_rungs_that_would_not_be_cheaper_are_left_out() -> None:
    assert [*Crafter().ladder[0]] == ["low_memory_usage"] and len(Crafter().ladder) == 4
    small = Crafter(Crafter.Params(window_size=40, overlap=12, decode_chunk_size=4, low_memory_usage=True))
    assert small.ladder == ({"decode_chunk_size": 2, "window_size": 32, "overlap": 8},)
    assert not can_split(small), "halves would have a scale each"
    for rung in Crafter().ladder:
        loading.make_params(Crafter, rung, slot="geometry")


def test_options_are_refused_before_anything_is_loaded() -> None:
    for wrong, message in (({"height": 540}, "multiples of 64"), ({"window_size": 20}, "below window_size")):
        with pytest.raises(ConfigError, match=message):
            loading.make_params(Crafter, wrong, slot="geometry")
    assert {row.name for row in dataclasses.fields(Crafter.Params)} >= {"seed", "downsample_ratio", "guidance_scale"}


@pytest.fixture(scope="module")
def moge_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("moge")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOFLOW_CACHE", str(folder / "cache"))
        for version in ("v1", "v2"):
            small_moge.make(folder / version / "model.pt", version)
        yield folder


@pytest.fixture
def with_moge(moge_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEOFLOW_CACHE", str(moge_folder / "cache"))
    monkeypatch.syspath_prepend(str(small_moge.package()))
    return moge_folder


@pytest.mark.env
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_moge_gives_points_masks_and_cameras(with_moge: Path, version: str) -> None:
    stage = MoGe(MoGe.Params(model_version=version, weights=str(with_moge / version), batch_size=2))
    stage.setup()
    rgb = make_video(3, 54, 72)[0]
    found = stage.process(segment(3, 54, 72), {"frames.rgb": rgb})
    fields.check(found, MoGe.outputs, who="moge", num_frames=3)
    points, mask = found["prior.points"].astype(np.float32), found["prior.mask"]
    assert mask.mean() > 0.5 and (points[~mask] == 0).all() and (points[mask][:, 2] > 0).all()
    again = unproject(points[..., 2], found["prior.intrinsics"])
    np.testing.assert_allclose(again, points, rtol=3e-3, atol=1e-3, err_msg="points and intrinsics say the same")
    np.testing.assert_allclose(found["prior.intrinsics"][:, :2, 2], [[35.5, 26.5]] * 3, atol=1e-4)
    known = segment(3, 54, 72, intrinsics=(90.0, 90.0, 35.5, 26.5))
    told = stage.process(known, {"frames.rgb": rgb})
    np.testing.assert_allclose(told["prior.intrinsics"], np.tile(known.video.known_intrinsics, (3, 1, 1)), rtol=1e-4)
    assert contract.problems("moge", {"model_version": version, "weights": str(with_moge / version)}) == []


@pytest.mark.env
def test_a_checkpoint_of_the_other_version_is_told(with_moge: Path) -> None:
    for path in (with_moge / "v2", with_moge / "v1"):
        version = {"v1": "v2", "v2": "v1"}[path.name]
        with pytest.raises(ConfigError, match=r"model\.pt is not a checkpoint of this model.*model_version"):
            MoGe(MoGe.Params(model_version=version, weights=str(path))).setup()


def test_of_a_frame_without_a_possible_camera_nothing_is_known() -> None:
    """MoGe fits a focal length to its points, which is negative where these are turned inside out."""
    import torch

    class Model:
        def infer(self, images: Any, **options: Any) -> dict[str, Any]:
            count, _, height, width = images.shape
            cameras = torch.eye(3).repeat(count, 1, 1)
            cameras[1, 0, 0], cameras[2, 1, 1] = -1.0, float("nan")
            found = {"points": torch.ones((count, height, width, 3)), "intrinsics": cameras}
            return {**found, "mask": torch.ones((count, height, width), dtype=torch.bool)}

    stage = MoGe()
    stage.use(Model(), "cpu")
    found = stage.process(segment(4, 8, 12), {"frames.rgb": np.zeros((4, 8, 12, 3), np.uint8)})
    assert found["prior.mask"].all((1, 2)).tolist() == [True, False, False, True]
    assert not found["prior.mask"][1:3].any() and not found["prior.points"][1:3].any()
    assert (found["prior.intrinsics"][[1, 2]] == assumed_intrinsics(8, 12)).all()
    assert found["prior.intrinsics"][0, 0, 0] == 12


def worker(with_moge: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "geoflow", "worker", "moge", *arguments, "--set", f"weights={with_moge / 'v1'}"]
    paths = {"PYTHONPATH": str(small_moge.package())}
    return subprocess.run(command, env=small_moge.os.environ | paths, input=stdin, capture_output=True, text=True)


@pytest.mark.env
def test_the_one_shot_worker(with_moge: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((2, 3, 48, 64), np.float32)
    np.save(tmp_path / "in.npy", images)
    done = worker(with_moge, str(tmp_path / "in.npy"))
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    found = {key: np.load(path) for key, path in json.loads(line).items()}
    assert found["p"].shape == (2, 48, 64, 3) and found["p"].dtype == np.float32
    assert found["m"].shape == (2, 48, 64) and found["m"].dtype == bool
    assert "[worker] ready" in done.stderr
    for path in json.loads(line).values():
        Path(path).unlink()
    np.save(tmp_path / "bad.npy", images * 255)
    done = worker(with_moge, str(tmp_path / "bad.npy"))
    assert done.returncode == 2 and done.stdout == "" and "should be in 0..1" in done.stderr


@pytest.mark.env
def test_the_persistent_worker_answers_line_by_line(with_moge: Path, tmp_path: Path) -> None:
    one = np.random.default_rng(1).random((3, 48, 64), np.float32)
    np.save(tmp_path / "one.npy", one)
    np.save(tmp_path / "double.npy", one.astype(float))
    np.save(tmp_path / "flat.npy", one[0])
    np.save(tmp_path / "nan.npy", np.full((3, 8, 8), np.nan, np.float32))
    requests = [
        json.dumps({"input": str(tmp_path / "one.npy")}),
        json.dumps({"input": str(tmp_path / "one.npy"), "fov_x": 70}),
        json.dumps({"input": str(tmp_path / "none.npy")}),
        json.dumps({"input": str(tmp_path / "double.npy")}),
        json.dumps({"input": str(tmp_path / "flat.npy")}),
        json.dumps({"input": str(tmp_path / "nan.npy")}),
        '{"path": 3}',
        "not JSON",
    ]
    done = worker(with_moge, stdin="\n".join(requests) + "\n")
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and len(replies) == len(requests)
    plain, told = (np.load(reply["p"]) for reply in replies[:2])
    assert plain.shape == told.shape == (1, 48, 64, 3) and not np.allclose(plain, told)
    expected = ["cannot be read", "should hold float32", "should be (B, 3, H, W)", "0..1, found nan", *["one line"] * 2]
    for reply, words in zip(replies[2:], expected):
        assert words in reply["error"], reply
    for path in [path for reply in replies[:2] for path in reply.values()]:
        Path(path).unlink()


def test_without_its_package_the_backend_says_what_to_do(folders: dict[str, str], tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.zeros((3, 8, 8), np.float32))
    command = [sys.executable, "-m", "geoflow", "worker", "moge", str(tmp_path / "in.npy")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "install dlr-moge and torch" in done.stderr and "Traceback" not in done.stderr
