"""The published checkpoints: what is read, what is ignored, what is refused, and that nothing of them is run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from small_object_models import RECONSTRUCTOR, random_views, save_lightning, small_network  # noqa: E402

from geoflow.errors import ConfigError  # noqa: E402
from geoflow.models.instantmesh import from_checkpoint, view_cameras  # noqa: E402
from geoflow.models.instantmesh.config import PUBLISHED, published  # noqa: E402

RUN: list[str] = []


class Tripwire:
    """Notes it if an object of this class is made by a pickle, by a function or by a method of an object."""

    def __init__(self, method: bool) -> None:
        self.method = method

    def __reduce__(self) -> Any:
        return RUN.append if self.method else note, ("run",)


def note(text: str) -> None:
    RUN.append(text)


def test_the_networks_part_of_a_checkpoint_is_read(tmp_path: Path) -> None:
    path, network = tmp_path / "instant_mesh.ckpt", small_network()
    save_lightning(network, path, hyper_parameters=Tripwire(False), callbacks={"a": Tripwire(True)})
    found = from_checkpoint(path, RECONSTRUCTOR)
    assert not RUN, "what a checkpoint names is not run"
    wanted = small_network().state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in found.network.state_dict().items())
    assert len(found.mesh(random_views(), view_cameras()).faces) > 100


def test_every_weight_has_to_be_there_and_no_other(tmp_path: Path) -> None:
    path, network = tmp_path / "instant_mesh.ckpt", small_network()
    save_lightning(network, path)
    held = torch.load(path)
    held["state_dict"]["lrm_generator.spare"] = held["state_dict"].pop("lrm_generator.transformer.norm.bias")
    torch.save(held, path)
    with pytest.raises(ConfigError, match=r"instant_mesh\.ckpt.*missing transformer\.norm\.bias, unexpected spare"):
        from_checkpoint(path, RECONSTRUCTOR)


def test_another_size_is_named(tmp_path: Path) -> None:
    path = tmp_path / "instant_mesh_base.ckpt"
    state = {f"lrm_generator.transformer.layers.{k}.norm1.weight": torch.zeros(1) for k in range(12)}
    torch.save({"state_dict": state}, path)
    with pytest.raises(ConfigError, match="give config='base'"):
        from_checkpoint(path, "large")
    with pytest.raises(ConfigError, match="no InstantMesh model 'huge'; there are: large, base"):
        from_checkpoint(path, "huge")


@pytest.mark.parametrize("held", [{"state_dict": {"lpips.a": torch.zeros(1)}}, {"weights": {}}, [1]])
def test_another_file_is_refused(held: Any, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "other.ckpt")
    with pytest.raises(ConfigError, match=r"other\.ckpt is no checkpoint of InstantMesh"):
        from_checkpoint(tmp_path / "other.ckpt")


def test_what_is_no_file_of_torch_is_refused(tmp_path: Path) -> None:
    (tmp_path / "half.ckpt").write_bytes(b"PK\x03\x04")
    with pytest.raises(ConfigError, match=r"half\.ckpt cannot be read.*fetch it again"):
        from_checkpoint(tmp_path / "half.ckpt")


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="twice triplane_low_res"):
        type(RECONSTRUCTOR).from_dict({"triplane_high_res": 60})
    assert published("base").triplane_dim == 40 and set(PUBLISHED) == {"large", "base"}


def test_sizes_cameras_and_meshes_need_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from geoflow.models.instantmesh import Mesh, ReconstructorConfig, view_cameras\n"
        "assert view_cameras().shape == (6, 16) and ReconstructorConfig().grid_res == 128"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
