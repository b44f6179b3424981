"""Options, sizes and published files: what is refused, and what the message says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
safetensors_torch = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")

from small_crafter import make_video, publish, small_networks  # noqa: E402

from geoflow.errors import ConfigError  # noqa: E402
from geoflow.models.geometrycrafter import LADDER, GeometryCrafter, Networks, Options, from_pretrained  # noqa: E402
from geoflow.models.geometrycrafter.config import ModelConfig, PointMapVAEConfig, UNetConfig  # noqa: E402
from geoflow.models.geometrycrafter.networks import Offloading  # noqa: E402


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model_type": "difff"}, "diff or determ"),
        ({"height": 540}, "choose 512 x 1024"),
        ({"width": 0}, "choose 576 x 64"),
        ({"window_size": 25}, "below window_size"),
        ({"overlap": -1}, "at least 0"),
        ({"window_size": 0}, "window_size should be at least 1"),
        ({"decode_chunk_size": 0}, "decode_chunk_size"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"guidance_scale": 0.5}, "guidance_scale"),
        ({"downsample_ratio": float("nan")}, "downsample_ratio"),
    ],
)
def test_options_that_cannot_work(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Options(**given)


def test_every_rung_of_the_ladder_is_a_setting() -> None:
    options = Options()
    for rung in LADDER:
        cheaper = options.replace(**rung)
        assert cheaper != options
        options = cheaper


def test_options_and_sizes_need_no_torch() -> None:
    """A pipeline is planned, and its ladder read, where there is none."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from geoflow.models.geometrycrafter import LADDER, ModelConfig, Options\n"
        "assert Options().replace(**LADDER[0]) and ModelConfig.published('diff')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_unet_of_the_other_variant_is_refused() -> None:
    with pytest.raises(ConfigError, match="diff needs a UNet of 12 input channels, found 8"):
        GeometryCrafter(small_networks("determ"), Options())


def test_another_architecture_is_refused() -> None:
    with pytest.raises(ConfigError, match="every block but the deepest"):
        UNetConfig.from_dict({"down_block_types": ["DownBlockSpatioTemporal"] * 4})
    with pytest.raises(ConfigError, match="intrinsics, log depth, mask"):
        PointMapVAEConfig.from_dict({"out_channels": [3, 1]})
    assert UNetConfig.from_dict({"_class_name": "X", "sample_size": 96}) == UNetConfig()
    assert ModelConfig.published("diff").unet.in_channels == 12


@pytest.fixture
def published(tmp_path: Path) -> tuple[Path, Path]:
    publish(small_networks("determ"), tmp_path / "crafter", tmp_path / "diffusion")
    return tmp_path / "crafter", tmp_path / "diffusion"


@pytest.mark.long
def test_published_files_are_read(published: tuple[Path, Path]) -> None:
    wanted, found = small_networks("determ"), from_pretrained(*published, "determ")
    assert found.config == wanted.config
    for name, network in found.modules().items():
        state = wanted.modules()[name].state_dict()
        assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    options = Options("determ", 64, 64, window_size=4, overlap=1)
    points, _ = GeometryCrafter(found, options).reconstruct(*make_video(2)).collect()
    assert points.shape == (2, 64, 64, 3)


@pytest.mark.long
def test_a_broken_file_is_named(published: tuple[Path, Path]) -> None:
    path = published[0] / "point_map_vae" / "diffusion_pytorch_model.safetensors"
    state = safetensors_torch.load_file(path)
    safetensors_torch.save_file(
        {"a" + key if key.startswith("encoder.conv_in") else key: v for key, v in state.items()}, path
    )
    with pytest.raises(
        ConfigError, match=r"point_map_vae.*missing encoder\.conv_in\.bias.*unexpected aencoder\.conv_in"
    ):
        from_pretrained(*published, "determ")
    safetensors_torch.save_file(state | {"encoder.conv_in.bias": torch.zeros(3)}, path)
    with pytest.raises(ConfigError, match=r"encoder\.conv_in\.bias \(3,\), expected \(32,\)"):
        from_pretrained(*published, "determ")
    path.write_bytes(b"not whole")
    with pytest.raises(ConfigError, match="fetch it again"):
        from_pretrained(*published, "determ")
    path.unlink()
    with pytest.raises(ConfigError, match="holds no weights"):
        from_pretrained(*published, "determ")
    with pytest.raises(ConfigError, match=r"unet_diff.config\.json cannot be read"):
        from_pretrained(*published, "diff")


def test_idle_networks_go_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """With host memory in the place of a device, since there may be none here."""
    networks = small_networks("determ")
    residency = Offloading(networks, torch.device("cpu"), offload=True)
    monkeypatch.setattr(residency, "_offload", True)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device: self.clone())
    home = {name: p.data_ptr() for name, p in networks.unet.named_parameters()}
    with torch.inference_mode(), residency.using(networks.unet):
        assert all(p.data_ptr() != home[name] for name, p in networks.unet.named_parameters())
    assert all(p.data_ptr() == home[name] for name, p in networks.unet.named_parameters())
    assert isinstance(networks, Networks)
