"""What every torch backend has from its base: device, threads, weights, the range of float16, and the remedies."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoflow.backends import contract, loading
from geoflow.backends.torch_stage import TorchStage, choose_device, read_checkpoint
from geoflow.errors import ConfigError, EnvironmentBroken
from geoflow.models.half_range import HALF_MAX, points_in_half
from geoflow.segments import Segment, VideoInfo

EXAMPLE = "torch_backend:FlatDepth"
VIDEO = VideoInfo("v", "v.mp4", "", 3, 30.0, 24, 32, 24, 32)


@pytest.fixture
def weights(tmp_path: Path) -> Iterator[str]:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(torch.nn.Conv2d(3, 1, 3, padding=1).state_dict(), tmp_path / "model.pt")
    threads = torch.get_num_threads()
    yield str(tmp_path)
    torch.set_num_threads(threads)


def make(**params: Any) -> Any:
    stage_class = loading.load(EXAMPLE)
    return stage_class(loading.make_params(stage_class, params, slot="prior"))


def test_it_is_declared_and_named_where_there_is_no_torch() -> None:
    """The driver reads every backend; it may have none."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from geoflow.backends import contract, loading\n"
        f"stage = loading.load({EXAMPLE!r})\n"
        f"assert loading.name_of(stage) == {EXAMPLE!r}\n"
        "for name in ('moge', 'geometrycrafter', 'embedded.klt', 'geoflow.stages.write'):\n"
        "    assert loading.name_of(loading.load(name)) == name\n"
        "try: stage().setup()\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "try: loading.load('moge')().setup()\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    path = str(Path(__file__).parents[1] / "support")
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True)
    own, shipped = done.stdout.splitlines()
    assert own.startswith("EnvironmentBroken FlatDepth cannot be imported here") and own.endswith("; install torch")
    assert shipped.endswith("run the stage with `env: moge`, or install dlr-moge and torch"), done.stderr


def test_the_example_keeps_the_contract(weights: str) -> None:
    assert contract.problems(EXAMPLE, {"weights": weights, "device": "cpu"}) == []


def test_what_the_docs_import_is_there() -> None:
    page = (Path(__file__).parents[2] / "docs" / "adding-a-model.md").read_text()
    lines = [line for line in map(str.strip, page.splitlines()) if line.startswith(("from geoflow", "import geoflow"))]
    assert any("torch_stage" in line for line in lines)
    exec("\n".join(lines), {})


def test_it_computes_where_and_how_its_parameters_say(weights: str) -> None:
    import torch

    stage = make(weights=weights, device="cpu")
    stage.threads = 1
    stage.setup()
    assert (stage.device, stage.half, stage.dtype, torch.get_num_threads()) == ("cpu", False, torch.float32, 1)
    assert not torch.backends.cudnn.benchmark and torch.backends.cudnn.deterministic
    assert not stage.model.training and not any(p.requires_grad for p in stage.model.parameters())
    frames = np.full((3, 24, 32, 3), 255, np.uint8)
    frames.flags.writeable = False
    images = stage.images(frames)
    assert images.shape == (3, 3, 24, 32) and images.dtype == torch.float32 and images.max() == 1
    found = stage.process(Segment(VIDEO, 0, 0, 3), {"frames.rgb": frames})
    assert found["prior.mask"].all() and not torch.is_inference_mode_enabled()
    stage.teardown()
    assert stage.model is None
    stage.use(stage.model, "cuda")  # as on a GPU, of which nothing is asked here
    assert stage.half and stage.dtype == torch.float16
    assert not make(half_precision=False, device="cuda").half


@pytest.mark.parametrize(("setting", "said"), [("cuda:0", "finds no GPU here"), ("gpu", "cpu, cuda, cuda:N or auto")])
def test_a_device_that_is_not_there_is_a_sentence(setting: str, said: str, weights: str) -> None:
    import torch

    if torch.cuda.is_available() and setting != "gpu":
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match=said):
        make(weights=weights, device=setting).setup()
    assert choose_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


def test_weights_that_nobody_pins_and_files_that_are_none(tmp_path: Path, weights: str) -> None:
    with pytest.raises(
        ConfigError, match=f"{EXAMPLE} needs the weights 'model', which configs/models.yaml does not pin"
    ):
        make(device="cpu").setup()
    (tmp_path / "model.pt").write_bytes(b"no checkpoint")
    with pytest.raises(ConfigError, match=r"model\.pt is not a checkpoint of this model \("):
        make(weights=weights, device="cpu").setup()


def test_a_hint_says_what_may_be_wrong_and_missing_packages_are_no_fault_of_the_file() -> None:
    def fails(path: Path) -> None:
        raise RuntimeError("keys differ\nmany of them")

    def lacks(path: Path) -> None:
        raise ImportError("no package")

    with pytest.raises(ConfigError, match=r"^a\.pt is not a checkpoint of this model \(keys differ\); is it v2\?$"):
        read_checkpoint(Path("a.pt"), fails, "is it v2?")
    with pytest.raises(ImportError, match="no package"):
        read_checkpoint(Path("a.pt"), lacks)


def test_only_what_float16_holds_stays_valid() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    nan, inf = float("nan"), float("inf")
    xyz = [
        [1, 2, 3],
        [0, 0, -1],
        [0, 0, 0],
        [nan, 0, 1],
        [0, 0, inf],
        [7e4, 0, 1],
        [0, -7e4, 1],
        [0, 0, 1e-9],
        [1, 1, 1],
    ]
    points = torch.tensor(xyz, dtype=torch.float32).reshape(1, 3, 3, 3)
    given = torch.ones((1, 3, 3), dtype=torch.bool)
    given[0, 2, 2] = False
    packed, mask = points_in_half(points, given)
    assert packed.dtype == torch.float16 and mask.flatten().tolist() == [True] + [False] * 8
    assert packed.reshape(9, 3)[0].tolist() == [1, 2, 3] and not packed.reshape(9, 3)[1:].any()
    assert torch.finfo(torch.float16).max > HALF_MAX


class Unwritten(TorchStage):
    """For the contract's words."""

    slot, inputs, outputs = "prior", ("frames.rgb",), ("prior.mask",)


class Half(Unwritten):
    def load(self) -> Any:
        import a_package_that_nobody_has  # noqa: F401


def test_what_a_backend_has_yet_to_write_is_named() -> None:
    name = f"{__name__}:Unwritten"
    assert contract.problems(name, run=False) == ["load is not written yet", "compute is not written yet"]
    assert contract.problems(f"{__name__}:Half", run=False) == ["compute is not written yet"]
    pytest.importorskip("torch", reason="torch is not installed")
    with pytest.raises(
        EnvironmentBroken, match=r"Half cannot be imported here \(No module named 'a_package.*install torch"
    ):
        Half().setup()
