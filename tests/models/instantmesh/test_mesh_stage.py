"""InstantMesh in a pipeline and as a worker: the best view, the place of the mesh, and what other programs call."""

from __future__ import annotations

import dataclasses
import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("PIL", reason="pillow is not installed")

import cv2  # noqa: E402
import yaml  # noqa: E402
from lumpy_body import depth_of, lumpy  # noqa: E402
from small_object_models import (  # noqa: E402
    RECONSTRUCTOR,
    components,
    publish,
    round_picture,
    save_lightning,
    small_network,
)

from actors.instantmesh import InstantMesh, InstantMeshWorker, best_view, starts  # noqa: E402
from geoflow import fields  # noqa: E402
from geoflow.backends import contract  # noqa: E402
from geoflow.errors import ConfigError, InputError, StageError  # noqa: E402
from geoflow.geometry.cameras import pinhole  # noqa: E402
from geoflow.geometry.rigid import Sim3, invert  # noqa: E402
from geoflow.models.instantmesh import EmptyField, Mesh  # noqa: E402
from geoflow.models.instantmesh.config_file import read_config_file  # noqa: E402
from geoflow.segments import VideoInfo  # noqa: E402
from geoflow.stage import Fields  # noqa: E402
from geoflow.workers import declaration  # noqa: E402

SIZE = (120, 160)
LENS = pinhole(150.0, *SIZE)
NUMBER = 2
VIDEO = VideoInfo("made", "made.mp4", "", 4, 30.0, *SIZE, *SIZE)


class StandIn:
    """Gives a mesh, or raises an error, in the place of the networks."""

    def __init__(self, given: Mesh | Exception) -> None:
        self.given = given

    def make(self, rgba: np.ndarray) -> tuple[np.ndarray, Mesh]:
        self.seen = rgba
        if isinstance(self.given, Exception):
            raise self.given
        return np.zeros((960, 640, 3), np.uint8), self.given


def stage_with(given: Mesh | Exception) -> InstantMesh:
    stage = InstantMesh()
    stage.use(StandIn(given), "cpu")
    return stage


@functools.cache
def body(seed: int = 1, count: int = 20_000) -> Mesh:
    vertices, faces = lumpy(seed, count)
    vertices = vertices / np.abs(vertices).max()
    return Mesh(vertices.astype(np.float32), faces.astype(np.int32), np.full(vertices.shape, 99, np.uint8))


def scene(mesh: Mesh, elevation: int, off: float = 12.0) -> tuple[Fields, np.ndarray]:
    """Four frames in which the body is at one place, seen from between two of the starts; and its world_from_mesh."""
    aim = starts(np.array([[0.0, 0.0, 3.0]]))[(elevation + 30) // 15]
    turn = cv2.Rodrigues(np.radians([off, 5.0, 0]))[0]
    pose = Sim3(0.5, turn @ aim, np.array([0.1, 0.05, 3.0]))
    depth = depth_of(mesh.vertices.astype(np.float64), mesh.faces, pose, LENS.astype(np.float64), SIZE)
    depth[depth > 0] *= 1 + 0.003 * np.random.default_rng(0).normal(size=(depth > 0).sum())
    cam_from_world = np.eye(4, dtype=np.float32)
    cam_from_world[:3, :3] = cv2.Rodrigues(np.array([0.3, -0.2, 0.1]))[0]
    cam_from_world[:3, 3] = (1, 2, 3)
    cam_from_mesh = np.eye(4)
    cam_from_mesh[:3, :3], cam_from_mesh[:3, 3] = pose.scale * pose.rotation, pose.translation
    rng = np.random.default_rng(1)
    piece: Fields = {
        "frames.rgb": rng.integers(0, 255, (4, *SIZE, 3), np.uint8),
        "frames.index": np.arange(4) * 3,
        "objects.label": np.repeat((depth > 0).astype(np.uint8)[None] * NUMBER, 4, 0),
        "camera.depth": np.repeat(depth[None], 4, 0).astype(np.float16),
        "camera.intrinsics": np.repeat(LENS[None], 4, 0),
        "camera.cam_from_world": np.repeat(cam_from_world[None], 4, 0),
        "camera.valid": np.ones(4, bool),
    }
    return piece, invert(cam_from_world.astype(np.float64)) @ cam_from_mesh


@pytest.mark.long
@pytest.mark.parametrize("elevation", [-15, 30])
def test_the_mesh_of_an_object_comes_to_lie_where_its_depth_is(elevation: int) -> None:
    mesh = body()
    piece, wanted = scene(mesh, elevation)
    stage = stage_with(mesh)
    found = stage.process_object(VIDEO, NUMBER, lambda: iter([piece]))
    fields.check(found, stage.outputs, who="instantmesh")
    corners = np.array([[1, 1, 1, 1], [-1, 1, -1, 1], [1, -1, -1, 1], [-1, -1, 1, 1]]) * [0.7, 0.7, 0.7, 1]
    off = np.linalg.norm((corners @ (found["mesh.world_from_mesh"] - wanted).T)[:, :3], axis=1)
    assert off.max() < 0.05 * 2 * 0.5, "5 % of the body's size"
    opaque = stage.model.seen[..., 3] == 255
    assert opaque.sum() == (piece["camera.depth"][0] > 0).sum(), "the picture is the object's alone"


@pytest.mark.long
def test_a_mesh_that_fits_nowhere_is_refused() -> None:
    piece, _ = scene(body(1), 30)
    other = body(7)
    flat = dataclasses.replace(other, vertices=other.vertices * np.float32([1, 1, 0.1]))
    with pytest.raises(StageError, match=r"object 2 has a mesh \(frame \d\) that fits its depth nowhere.*max_residual"):
        stage_with(flat).process_object(VIDEO, NUMBER, lambda: iter([piece]))


def test_an_empty_field_leaves_the_object_without_a_mesh() -> None:
    piece, _ = scene(body(), 30)
    with pytest.raises(StageError, match=r"object 2.*nothing there"):
        stage_with(EmptyField("nothing there")).process_object(VIDEO, NUMBER, lambda: iter([piece]))


def test_an_object_that_is_small_or_without_depth_has_no_mesh() -> None:
    piece, _ = scene(body(), 30)
    small = np.zeros_like(piece["objects.label"])
    small[:, 40:50, 40:50] = NUMBER
    for change in (
        {"objects.label": small},
        {"camera.valid": np.zeros(4, bool)},
        {"camera.depth": np.zeros_like(piece["camera.depth"])},
    ):
        with pytest.raises(StageError, match="nowhere seen large enough"):
            stage_with(body()).process_object(VIDEO, NUMBER, lambda change=change: iter([{**piece, **change}]))


def test_the_best_view_is_whole_and_sharp_and_large() -> None:
    rng = np.random.default_rng(2)
    sharp = rng.integers(0, 255, (*SIZE, 3), np.uint8)
    frames = np.stack([sharp, cv2.GaussianBlur(sharp, (0, 0), 2), sharp, sharp])
    label = np.zeros((4, *SIZE), np.uint8)
    label[0, 30:80, 30:80] = label[1, 30:90, 30:90] = label[2, :60, 30:90] = label[3, 30:86, 30:86] = NUMBER
    piece = {
        "frames.rgb": frames,
        "frames.index": np.arange(4) + 10,
        "objects.label": label,
        "camera.depth": np.full((4, *SIZE), 2, np.float16),
        "camera.intrinsics": np.repeat(LENS[None], 4, 0),
        "camera.cam_from_world": np.repeat(np.eye(4, dtype=np.float32)[None], 4, 0),
        "camera.valid": np.ones(4, bool),
    }
    halves = ({name: array[part] for name, array in piece.items()} for part in (slice(0, 2), slice(2, 4)))
    found = best_view(halves, NUMBER)
    assert found is not None and found.frame == 13, "not the blurred one, nor the one that the border cuts"
    assert found.rgba.shape == (56, 56, 4) and len(found.points) == 52 * 52


def test_starts_look_at_the_object_from_the_views_side() -> None:
    level = starts(np.array([[0.0, 0.0, 5.0]]))[2]
    assert np.allclose(level @ [1, 0, 0], [0, 0, -1], atol=1e-6), "the input view is on the mesh's +x side"
    assert np.allclose(level @ [0, 0, 1], [0, -1, 0], atol=1e-6), "z is up"
    aside = starts(np.array([[3.0, 0.0, 3.0]]))[2]
    assert np.allclose(aside @ [1, 0, 0], np.array([-1, 0, -1]) / 2**0.5, atol=1e-6)
    assert all(np.isclose(np.linalg.det(start), 1) for start in starts(np.array([[1.0, 2.0, 5.0]])))


# -- configuration files and the worker -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small networks in the original's layout, a configuration file for them, and a picture."""
    home = tmp_path_factory.mktemp("instantmesh")
    networks = components()
    publish(home / "zero", networks)
    (home / "ckpts").mkdir()
    save_lightning(small_network(), home / "ckpts/instant_mesh_small.ckpt")
    torch.save(networks["unet"].state_dict(), home / "ckpts/diffusion_pytorch_model.bin")
    sizes = dataclasses.asdict(RECONSTRUCTOR)
    sizes["encoder_config"] = sizes.pop("encoder")
    config = {
        "model_config": {"target": "src.models.lrm_mesh.InstantMesh", "params": {"encoder_feat_dim": 32, **sizes}},
        "infer_config": {
            "unet_path": "ckpts/diffusion_pytorch_model.bin",
            "model_path": "ckpts/instant_mesh_small.ckpt",
            "texture_resolution": 1024,
        },
    }
    (home / "small.yaml").write_text(yaml.safe_dump(config))
    cv2.imwrite(str(home / "cup.png"), cv2.cvtColor(round_picture(), cv2.COLOR_RGBA2BGRA))
    cv2.imwrite(str(home / "opaque.png"), np.full((40, 40, 3), 9, np.uint8))
    return home


def test_a_configuration_file_of_the_original_is_understood(home: Path, tmp_path: Path) -> None:
    files = read_config_file(home / "small.yaml")
    assert files.config == RECONSTRUCTOR and files.name == "" and files.model == home / "ckpts/instant_mesh_small.ckpt"
    held = yaml.safe_load((home / "small.yaml").read_text())
    base = {"transformer_layers": 12, "triplane_dim": 40, "grid_res": 128, "grid_scale": 2.1}
    held["model_config"]["params"] = base
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(held))
    files = read_config_file(tmp_path / "base.yaml")
    assert (files.name, files.model, files.unet) == ("base", None, None), "files that are not there are the published"


def test_a_pipeline_takes_a_configuration_file_and_only_what_it_lacks_is_fetched(home: Path, tmp_path: Path) -> None:
    own = InstantMesh(InstantMesh.Params(config=str(home / "small.yaml")))
    assert own.weights() == {"zero123plus": "", "own_unet": str(home / "ckpts"), "own_model": str(home / "ckpts")}
    held = yaml.safe_load((home / "small.yaml").read_text())
    held["infer_config"] = {"unet_path": "none.bin", "model_path": str(home / "ckpts/instant_mesh_small.ckpt")}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(held))
    other = InstantMesh(InstantMesh.Params(config=str(tmp_path / "other.yaml"), weights="folder"))
    assert other.weights() == {"zero123plus": "", "white_background": "folder", "own_model": str(home / "ckpts")}
    assert InstantMesh().weights() == dict.fromkeys(("zero123plus", "white_background", "large"), "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"infer_config": None}, "should hold model_config.params and infer_config"),
        ({"model_config": {"params": {"triplane_dim": 3}}}, "lacks transformer_layers, grid_res"),
        ({"infer_config": {"model_path": "none.ckpt"}}, "there is no file none.ckpt"),
        ({"infer_config": {"model_path": 3}}, "infer_config.model_path should be a path"),
    ],
)
def test_other_configuration_files_are_refused(home: Path, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    held = yaml.safe_load((home / "small.yaml").read_text()) | change
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(held))
    with pytest.raises(ConfigError, match=said):
        read_config_file(tmp_path / "other.yaml")


def small_body() -> Mesh:
    return body(1, 300)


class Maker(StandIn):
    """Keeps what it was asked for."""

    def make(self, rgba: np.ndarray, steps: int | None = None, seed: int | None = None) -> tuple[np.ndarray, Mesh]:
        self.asked = steps, seed
        return super().make(rgba)


@pytest.fixture
def served(home: Path, monkeypatch: pytest.MonkeyPatch) -> InstantMeshWorker:
    """A worker whose networks are a stand-in."""
    monkeypatch.chdir(home)
    stage = InstantMesh()
    stage.use(Maker(small_body()), "cpu")
    return InstantMeshWorker(stage)


def answered(worker: InstantMeshWorker, **values: Any) -> dict[str, Any]:
    request = declaration.request_of(InstantMeshWorker, {"input_image": "cup.png", "output_mesh": "cup.obj", **values})
    return worker.answer(worker.read(request))


def test_axes_are_those_of_the_original_or_upright(served: InstantMeshWorker, home: Path, tmp_path: Path) -> None:
    mesh, found = small_body().referenced(), {}
    for axes in ("mirrored", "upright"):
        out = tmp_path / f"{axes}.obj"
        assert answered(served, output_mesh=str(out), axes=axes) == {"mesh": str(out)}
        rows = [line.split() for line in out.read_text().splitlines()]
        vertices = np.array([row[1:4] for row in rows if row[0] == "v"], float)
        found[axes] = vertices, np.array([row[1:] for row in rows if row[0] == "f"], int) - 1
    assert np.allclose(found["mirrored"][0], mesh.vertices * [1, 1, -1], atol=1e-7)
    assert (found["mirrored"][1] == mesh.faces[:, ::-1]).all()
    assert np.allclose(found["upright"][0], mesh.vertices[:, [1, 2, 0]], atol=1e-7)
    assert (found["upright"][1] == mesh.faces).all()


def test_views_are_kept_under_the_objects_name(served: InstantMeshWorker, tmp_path: Path) -> None:
    out = {"output_mesh": str(tmp_path / "a.obj"), "save_dir": str(tmp_path)}
    assert answered(served, **out, num_inference_steps=9, seed=0)["views"] == str(tmp_path / "6_views_cup.png")
    assert served.stage.model.asked == (9, 0)
    assert answered(served, **out, name="mug")["views"] == str(tmp_path / "6_views_mug.png")
    assert cv2.imread(str(tmp_path / "6_views_mug.png")).shape == (960, 640, 3)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"input_image": "opaque.png"}, r"opaque everywhere; cut the object out .* rembg\[cpu\]"),
        ({"input_image": "none.png"}, r"none\.png cannot be read"),
        ({"output_mesh": "cup.ply"}, r"should end in \.obj"),
        ({"name": "../cup"}, "plain name"),
        ({"axes": "y"}, "mirrored or upright"),
        ({"num_inference_steps": 0}, "num_inference_steps should be at least 1"),
        ({"config_path": "none.yaml"}, r"none\.yaml cannot be read"),
    ],
)
def test_requests_that_cannot_be_answered(served: InstantMeshWorker, values: dict[str, Any], said: str) -> None:
    with pytest.raises((InputError, ConfigError), match=said):
        answered(served, **values)


def test_networks_are_loaded_anew_only_for_another_configuration(
    served: InstantMeshWorker, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Any] = []
    monkeypatch.setattr(InstantMesh, "load", lambda self: loaded.append(self.files) or Maker(small_body()))
    for config in (None, "small.yaml", "small.yaml", None):
        answered(served, output_mesh=str(tmp_path / "a.obj"), config_path=config)
    assert [files and files.model for files in loaded] == [Path("ckpts/instant_mesh_small.ckpt"), None]


@pytest.mark.long
def test_the_networks_of_a_configuration_make_a_mesh(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    stage = InstantMesh(InstantMesh.Params(device="cpu", views_weights=str(home / "zero")))
    stage.files = read_config_file(home / "small.yaml")
    stage.setup()
    whole = stage.model.views.generate
    monkeypatch.setattr(stage.model.views, "generate", lambda *given: whole(*given, size=(192, 128)))
    picture, mesh = stage.model.make(round_picture(), 1)
    assert picture.shape == (192, 128, 3) and len(mesh.faces) > 50
    assert stage.model.reconstructor.grid.resolution == RECONSTRUCTOR.grid_res, "the file's own"
    stage.teardown()


@pytest.mark.long
def test_the_contract_is_kept(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On every rung of the ladder, with small networks in the place of the published ones."""
    import actors.instantmesh

    monkeypatch.setattr(actors.instantmesh, "published", lambda name: RECONSTRUCTOR)
    for file in (home / "ckpts").iterdir():
        (tmp_path / file.name.replace("small", "large")).symlink_to(file)
    own = {"device": "cpu", "weights": str(tmp_path), "views_weights": str(home / "zero")}
    assert contract.problems("instantmesh", own) == []
    with pytest.raises(ConfigError, match=r"instant_mesh_base\.ckpt cannot be read"):
        contract.problems("instantmesh", {**own, "model": "base"})


@pytest.mark.slow
def test_the_command_line_of_the_mesh_worker(home: Path, tmp_path: Path) -> None:
    """As other programs call it, at full size of the pictures and with small networks."""
    command = [sys.executable, "-m", "geoflow", "worker", "instantmesh", "--input_image", "cup.png"]
    command += ["--output_mesh", str(tmp_path / "cup.obj"), "--config_path", "small.yaml", "--name", "N"]
    command += ["--save_dir", str(tmp_path), "--num_inference_steps", "1", "--set", f"views_weights={home / 'zero'}"]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"mesh": str(tmp_path / "cup.obj"), "views": str(tmp_path / "6_views_N.png")}
    assert "[worker] loading" in done.stderr and "Traceback" not in done.stderr
    assert cv2.imread(str(tmp_path / "6_views_N.png")).shape == (960, 640, 3)
    assert (tmp_path / "cup.obj").read_text().startswith("v ")
