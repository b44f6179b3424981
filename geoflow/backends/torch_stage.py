"""TorchStage: a stage with a PyTorch model. A backend only adds its model.

    class MyDepth(TorchStage):
        slot = "prior"
        inputs = ("frames.rgb",)
        outputs = ("prior.points", "prior.mask", "prior.intrinsics")
        packages = ("torch", "mydepth")

        def weights(self):
            return {"large": self.params.weights}

        def load(self):
            import mydepth

            return mydepth.from_checkpoint(self.located()["large"] / "model.pt")

        def compute(self, segment, fields): ...

This module can be imported without torch: the driver, which reads every backend, may not have it.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from geoflow.backends import loading, weights
from geoflow.errors import ConfigError, EnvironmentBroken
from geoflow.files import resources
from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param


class TorchStage(Stage):
    """A stage that computes with PyTorch: `load` makes its model, `compute` uses it on one segment.

    `setup` chooses the device and the number of threads, makes cuDNN use kernels that give the same bits again unless
    the stage is not `deterministic`, and calls `load`. `compute` runs without gradients. A missing package becomes an
    EnvironmentBroken with its remedy. The engine measures and limits the GPU memory of every stage that uses torch
    (`geoflow.engine.gpu.meter`). `teardown` frees memory that torch keeps, so that the next rung is measured alone.
    """

    packages: ClassVar[tuple[str, ...]] = ("torch",)  # what to install if there is no environment for it

    @dataclass(frozen=True)
    class Params(Stage.Params):
        device: str = param("auto", "cpu, cuda, or auto: a GPU if there is one")
        half_precision: bool = param(True, "compute in float16 on a GPU")

    model: Any = None
    device: str = "cpu"

    def load(self) -> Any:
        """Return the model with its weights. A module of torch is moved to `device` and put into evaluation mode.

        Imports belong here. Raises ConfigError for weights that cannot be used.
        """
        raise NotImplementedError

    def compute(self, segment: Segment, fields: Fields) -> Fields:
        """Return the outputs for one segment, as `Stage.process` does."""
        raise NotImplementedError

    def setup(self) -> None:
        with self._imports():
            import torch

            torch.set_num_threads(self.threads)
            torch.backends.cudnn.benchmark = False  # it chooses kernels by their time, which differs from run to run
            torch.backends.cudnn.deterministic = self.deterministic
            device = choose_device(self.params.device)
            self.device = device
            model = self.load()
        if isinstance(model, torch.nn.Module):
            model = model.to(device).eval().requires_grad_(False)
        self.use(model, device)

    def use(self, model: Any, device: str) -> None:
        """Use this model, which is already on `device`."""
        self.model, self.device = model, device

    def process(self, segment: Segment, fields: Fields) -> Fields:
        import torch

        with torch.inference_mode():
            return self.compute(segment, fields)

    def teardown(self) -> None:
        self.model = None
        gc.collect()  # networks hold circular references
        torch = sys.modules.get("torch")
        if torch is not None and self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def located(self) -> dict[str, Path]:
        """Return the folder of every piece of `weights`, fetched if needed. Raises ConfigError that says how to get
        it."""
        backend = loading.name_of(type(self))
        return {name: weights.locate(backend, name, own) for name, own in self.weights().items()}

    @property
    def half(self) -> bool:
        """Return whether networks compute in float16: on a GPU, unless the parameters forbid it."""
        return self.params.half_precision and self.device != "cpu"

    @property
    def dtype(self) -> Any:
        """Return the dtype in which networks compute: torch.float16 or torch.float32."""
        import torch

        return torch.float16 if self.half else torch.float32

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return a context in which matrix products and convolutions use `dtype`; other operations keep their dtype."""
        import torch

        return torch.autocast(self.device.partition(":")[0], dtype=torch.float16, enabled=self.half)

    def on_device(self, array: np.ndarray) -> Any:
        """Return a copy of an array as a tensor on the device: a stage's inputs are shared, read-only memory."""
        import torch

        return torch.from_numpy(np.array(array)).to(self.device)

    def images(self, frames: np.ndarray) -> Any:
        """Return frames (N, H, W, 3) u8 as a tensor (N, 3, H, W) float32 in 0..1 on the device."""
        return self.on_device(frames).permute(0, 3, 1, 2).float() / 255

    @contextlib.contextmanager
    def _imports(self) -> Iterator[None]:
        """Turn an ImportError within the block into EnvironmentBroken with the remedy."""
        try:
            yield
        except ImportError as error:
            backend = loading.name_of(type(self))
            has_env = (resources.folder("runtime_envs") / f"{backend}.yaml").is_file()
            env = f"run the stage with `env: {backend}`, or " if has_env else ""
            raise EnvironmentBroken(
                f"{type(self).__name__} cannot be imported here ({error}); {env}install {' and '.join(self.packages)}"
            ) from error


def choose_device(setting: str) -> str:
    """Return a device as torch names it: the set one, or for `auto` a GPU if there is one, otherwise the CPU.

    Raises ConfigError if torch knows no such device, or this machine has none.
    """
    import torch

    if setting == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(setting).type
    except RuntimeError:
        raise ConfigError(f"device should be cpu, cuda, cuda:N or auto, found {setting!r}") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device is {setting}, but torch finds no GPU here; choose auto or cpu")
    return setting


def read_checkpoint(path: Path, read: Callable[[Path], Any], hint: str = "") -> Any:
    """Return `read(path)`. Raises ConfigError, with the reason and a hint in one line, for a file that cannot be used.

    Use it around code that reads a checkpoint, with `weights_only=True` if torch reads it.
    """
    try:
        return read(path)
    except ImportError:
        raise
    except Exception as error:  # from torch's unpickler or the model's package, depending on the file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        more = f"; {hint}" if hint else ""
        raise ConfigError(f"{path} is not a checkpoint of this model ({reason}){more}") from error
