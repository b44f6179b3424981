"""The published folder: what is read of it, older and newer names, another UNet, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
safetensors_torch = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
pytest.importorskip("PIL", reason="pillow is not installed")

from small_object_models import SIZE, components, publish, round_picture  # noqa: E402

from geoflow.errors import ConfigError  # noqa: E402
from geoflow.models.zero123plus import from_pretrained  # noqa: E402
from geoflow.models.zero123plus.text import empty_text  # noqa: E402

_OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return publish(tmp_path / "v1.2", components(), pickled=("text_encoder",))


def picture_of(folder: Path, **more: Any) -> Any:
    return from_pretrained(folder, **more).generate(round_picture(), 1, size=SIZE)


def rename(path: Path, to: Callable[[str], str]) -> None:
    safetensors_torch.save_file({to(key): value for key, value in safetensors_torch.load_file(path).items()}, path)


@pytest.mark.long
def test_safetensors_and_pickles_are_read(folder: Path, tmp_path: Path) -> None:
    found = picture_of(folder)
    again = publish(tmp_path / "again", components(), pickled=("unet", "vae", "vision_encoder"))
    assert (picture_of(again) == found).all()


@pytest.mark.long
def test_older_autoencoders_and_newer_text_towers_have_other_names(folder: Path, tmp_path: Path) -> None:
    found = picture_of(folder)
    other = publish(tmp_path / "other", components())

    def old(key: str) -> str:
        for new, before in _OLD.items():
            key = key.replace(f"attentions.0.{new}.", f"attentions.0.{before}.")
        return key

    rename(other / "vae/diffusion_pytorch_model.safetensors", old)
    rename(other / "text_encoder/diffusion_pytorch_model.safetensors", lambda key: key.removeprefix("text_model."))
    assert (picture_of(other) == found).all()


@pytest.mark.long
def test_another_unet_takes_the_place_of_the_folders(folder: Path, tmp_path: Path) -> None:
    white = components()["unet"]
    torch.nn.init.zeros_(white.conv_out.weight)
    torch.save(white.state_dict(), tmp_path / "white.bin")
    found = picture_of(folder, unet=tmp_path / "white.bin")
    assert (found != picture_of(folder)).any()
    torch.save({"state_dict": white.state_dict()}, tmp_path / "wrapped.bin")
    with pytest.raises(ConfigError, match=r"wrapped\.bin should hold the weights of one network"):
        picture_of(folder, unet=tmp_path / "wrapped.bin")
    torch.save({**white.state_dict(), "more": torch.zeros(1)}, tmp_path / "more.bin")
    with pytest.raises(ConfigError, match=r"more\.bin is not of a UNet: missing none, unexpected more"):
        picture_of(folder, unet=tmp_path / "more.bin")


def test_the_text_tower_is_let_go(folder: Path) -> None:
    from geoflow.models.zero123plus.text import CLIPText

    views = from_pretrained(folder)
    held = [value for value in vars(views).values() if isinstance(value, torch.nn.Module)]
    assert len(held) == 3 and not any(isinstance(value, CLIPText) for value in held)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("model_index.json", {"ramping_coefficients": None}, "ramping_coefficients"),
        ("model_index.json", {"ramping_coefficients": [1, 2]}, "2 ramping_coefficients for a text of 9 tokens"),
        ("unet/config.json", {"use_linear_projection": False}, "use_linear_projection"),
        ("unet/config.json", {"attention_head_dim": 8}, "UNetConfig cannot be made"),
        ("unet/config.json", {"cross_attention_dim": 32}, "should have one width"),
        ("vision_encoder/config.json", {"hidden_act": "quick_gelu"}, "gelu"),
        ("scheduler/scheduler_config.json", {"prediction_type": "epsilon"}, "v-prediction"),
        ("tokenizer/special_tokens_map.json", {"pad_token": "<pad>"}, "lacks one of the tokens"),
    ],
)
def test_a_folder_of_another_model_is_refused(folder: Path, name: str, change: dict[str, Any], said: str) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=said):
        from_pretrained(folder)


@pytest.mark.parametrize("name", ["model_index.json", "tokenizer/vocab.json", "vae/config.json", "unet"])
def test_what_is_missing_is_named(folder: Path, name: str) -> None:
    path = folder / name
    path.rename(folder / "away")
    with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
        from_pretrained(folder)


def test_the_empty_text_is_begin_end_and_padding(folder: Path) -> None:
    assert empty_text(folder / "tokenizer", 5).tolist() == [[4, 5, 0, 0, 0]]


def test_the_door_opens_without_torch() -> None:
    code = "import sys; sys.modules['torch'] = None\nimport geoflow.models.zero123plus"
    subprocess.run([sys.executable, "-c", code], check=True)
