"""The networks against the original ones: keys and shapes at full size, numbers at small sizes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import golden  # noqa: E402
from crafter_networks import NETWORKS, make  # noqa: E402

from geoflow.models.geometrycrafter.clip import INPUT_SIZE, normalise, resize_for_clip  # noqa: E402
from geoflow.models.geometrycrafter.scheduler import EulerSchedule  # noqa: E402

MODEL = "geometrycrafter"


@pytest.mark.long
@pytest.mark.parametrize("component", ["unet_diff", "unet_determ", "point_map_vae", "vae", "image_encoder"])
def test_full_size_networks_have_the_published_keys_and_shapes(component: str) -> None:
    path = golden.FOLDER / MODEL / "keys_full.json"
    if not path.is_file():
        pytest.skip(f"no reference data: {path} is absent")
    wanted = json.loads(path.read_text())[component]
    network_class, config_class = NETWORKS["unet" if component.startswith("unet") else component]
    with torch.device("meta"):
        network = network_class(config_class.from_dict(wanted["config"]))
    found = {key: list(value.shape) for key, value in network.state_dict().items()}
    if component == "vae":  # its decoder is never used
        wanted = {"parameters": {k: v for k, v in wanted["parameters"].items() if not k.startswith("decoder.")}}
    assert found == wanted["parameters"]
    assert sum(value.numel() for value in network.state_dict().values()) == sum(
        int(np.prod(shape)) for shape in wanted["parameters"].values()
    )


@pytest.mark.long
@pytest.mark.parametrize("name", ["unet_in12_tiny", "unet_in8_tiny", "unet_in12_mid", "unet_in12_eps"])
def test_unet(name: str) -> None:
    case = golden.Case(MODEL, name)
    unet = make("unet", case.spec["components"]["unet"])
    for call in case.spec["calls"]:
        inputs = (f"{call['name']}.{key}" for key in ("sample", "encoder_hidden_states", "added_time_ids"))
        sample, context, ids = (torch.from_numpy(case.given(key)) for key in inputs)
        case.check(f"{call['name']}.emb", unet.embed(call["timestep"], ids))
        means = watch_means(unet)
        case.check(f"{call['name']}.out", unet(sample, call["timestep"], context, ids))
        for block, mean in means.items():
            case.check(f"{call['name']}.mean.{block}", mean)


def watch_means(unet: Any) -> dict[str, Any]:
    """Fills with the mean over pixels of every block's output during the next call."""
    found: dict[str, Any] = {}
    blocks = {"conv_in": unet.conv_in, "mid": unet.mid_block}
    blocks |= {f"down{i}": block for i, block in enumerate(unet.down_blocks)}
    blocks |= {f"up{i}": block for i, block in enumerate(unet.up_blocks)}
    for name, block in blocks.items():

        def note(module: Any, args: Any, out: Any, name: str = name) -> None:
            found[name] = (out[0] if isinstance(out, tuple) else out).mean((2, 3))

        block.register_forward_hook(note)
    return found


@pytest.mark.long
@pytest.mark.parametrize("name", ["point_map_vae_tiny", "point_map_vae_mid"])
def test_point_map_vae(name: str) -> None:
    case = golden.Case(MODEL, name)
    vae = make("point_map_vae", case.spec["components"]["point_map_vae"])
    maps = torch.from_numpy(case.given("encode.x"))
    mean = torch.from_numpy(case.given("encode.latent_params"))[:, :4]
    case.check("encode.h", vae.encoder(maps))
    case.check("encode.mode", vae.encode(maps, mean))
    for call in case.spec["calls"]:
        found = vae.decode(torch.from_numpy(case.given(call["z"])), call["num_frames"])
        for key, value in zip(("imap", "dmap", "vmask"), found):
            case.check(f"{call['name']}.{key}", value)


@pytest.mark.long
def test_clip() -> None:
    case = golden.Case(MODEL, "clip")
    tower = make("image_encoder", case.spec["components"]["image_encoder"])
    stride = case.spec["stride"]
    for call in case.spec["calls"]:
        name = call["name"]
        frames = torch.from_numpy(case.given(f"{name}.video_u8")).float() / 255 * 2 - 1
        resized = resize_for_clip(frames)
        assert resized.shape[2:] == (INPUT_SIZE, INPUT_SIZE)
        pixels = normalise(resized)
        zero_to_one = (resized + 1) / 2
        case.check(f"{name}.resized", zero_to_one[:, :, ::stride, ::stride])
        case.check(f"{name}.resized_mean", zero_to_one.mean((2, 3)))
        case.check(f"{name}.resized_min_max", [zero_to_one.min(), zero_to_one.max()])
        case.check(f"{name}.pixel_values", pixels[:, :, ::stride, ::stride])
        case.check(f"{name}.image_embeds", tower(pixels))


def test_scheduler() -> None:
    case = golden.Case(MODEL, "scheduler")
    sample = torch.from_numpy(case.given("sample"))
    for n in case.spec["steps"]:
        schedule = EulerSchedule.of(n)
        case.check(f"n{n}.sigmas", schedule.sigmas)
        case.check(f"n{n}.timesteps", [schedule.timestep(i) for i in range(n)])
        case.check(f"n{n}.init_noise_sigma", schedule.initial_sigma)
        x = sample * schedule.initial_sigma
        for i in range(n):
            v = torch.tanh((1 + 0.1 * i) * schedule.scale_input(x, i))  # what stood for a network
            x = schedule.step(v, x, i)
            if f"n{n}.step{i}" in case.spec["outputs"]:
                case.check(f"n{n}.step{i}", x)
        case.check(f"n{n}.final", x)
