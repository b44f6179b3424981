"""`instantmesh` in a run: in an environment that Ray builds, with small made-up weights."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("PIL", reason="pillow is not installed")

import cv2  # noqa: E402
from small_object_models import RECONSTRUCTOR, components, publish, save_lightning, small_network  # noqa: E402

import geoflow  # noqa: E402
from geoflow.pipeline import Pipeline  # noqa: E402
from geoflow.results import RunResult  # noqa: E402
from geoflow.store.verify import verify_run  # noqa: E402
from geoflow.synth import load_ground_truth, render_clip  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.env, pytest.mark.usefixtures("ray_session")]

FRAMES, WIDTH, HEIGHT = 30, 192, 144


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    render_clip(folder / "c.mp4", folder / "c.gt.h5", num_frames=FRAMES, width=WIDTH, height=HEIGHT, moving=0)
    return folder / "c.mp4"


@pytest.fixture(scope="module")
def labels(clip: Path) -> tuple[Path, int]:
    """The true labels of the body, of those that the border does not cut, that frame 0 shows largest."""
    with load_ground_truth(clip.with_name("c.gt.h5")) as truth:
        assert truth.label is not None
        label = truth.label[:]
    cut = np.unique(np.concatenate([label[0, 0], label[0, -1], label[0, :, 0], label[0, :, -1]]))
    pixels = np.bincount(label[0].ravel(), minlength=256)
    pixels[[0, *cut]] = 0
    number = int(pixels.argmax())
    home = clip.parent / "labels" / "c"
    home.mkdir(parents=True)
    for i, frame in enumerate(label):
        cv2.imwrite(str(home / f"{i:05d}.png"), np.where(frame == number, number, 0).astype(np.uint8))
    return home.parent, number


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks of the user's, and the file that names them, in the layout of the original."""
    home = tmp_path_factory.mktemp("weights")
    networks = components()
    publish(home / "zero", networks)
    save_lightning(small_network(), home / "mesh.ckpt")
    torch.save(networks["unet"].state_dict(), home / "unet.bin")
    sizes = dataclasses.asdict(RECONSTRUCTOR)
    sizes["encoder_config"] = sizes.pop("encoder")
    held = {
        "model_config": {"params": {"encoder_feat_dim": 32, **sizes}},
        "infer_config": {"unet_path": "unet.bin", "model_path": "mesh.ckpt"},
    }
    (home / "small.yaml").write_text(yaml.safe_dump(held))
    return home / "small.yaml"


def run(clip: Path, labels: Path, config: Path, out: Path, max_residual: float) -> RunResult:
    params = {"config": str(config), "views_weights": str(config.parent / "zero"), "num_inference_steps": 1}
    mesh = {"slot": "mesh", "backend": "instantmesh", "env": "instantmesh", "num_gpus": 0, "optional": True}
    stages = [
        {"slot": "decode", "backend": "geoflow.stages.decode"},
        {"slot": "camera", "backend": "embedded.colmap"},
        {"slot": "stitch", "backend": "geoflow.stages.stitch"},
        {**mesh, "params": {**params, "max_residual": max_residual}},
        {"slot": "write", "backend": "geoflow.stages.write"},
    ]
    rows = [{"num_cpus": 0.5, **stage} for stage in stages]
    pipeline = Pipeline.from_dict({"name": "p", "segment": {"size": FRAMES, "overlap": 4}, "stages": rows})
    return geoflow.run(clip, out, pipeline, objects=labels)


def test_a_mesh_that_fits_is_in_the_store(clip: Path, labels: tuple[Path, int], config: Path, tmp_path: Path) -> None:
    """What made-up weights make fits nothing, so here everything counts as placed."""
    result = run(clip, labels[0], config, tmp_path, 1e6)
    assert result.exit_status == 0, result.videos[0].reason
    assert verify_run(tmp_path) == []
    with h5py.File(result.videos[0].path) as store:
        assert store.attrs["status"] == "complete"
        licences = str(store.attrs["pipeline"])
        assert "CC BY-NC" in licences
    with geoflow.open(result.videos[0].path) as video:
        mesh = video.objects[labels[1]].mesh
        assert len(mesh.faces) > 50 and np.isfinite(mesh.world_vertices).all() and 0 <= mesh.frame < FRAMES


def test_a_mesh_that_fits_nowhere_is_refused_and_costs_nothing_else(
    clip: Path, labels: tuple[Path, int], config: Path, tmp_path: Path
) -> None:
    result = run(clip, labels[0], config, tmp_path, 1e-9)
    assert result.videos[0].status == "complete", result.videos[0].reason
    assert verify_run(tmp_path) == []
    with geoflow.open(result.videos[0].path) as video:
        found = video.objects[labels[1]]
        assert found.mesh is None and "fits its depth nowhere" in found.without and "max_residual" in found.without
        assert re.search(r"off by \d+\.\d+ of its radius", found.without), "the residual is said"
        assert video.cameras.valid.any() and (video.objects.label[0] == labels[1]).any()
