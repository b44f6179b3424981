"""Checkpoints of other programs, read without running anything that they name.

A checkpoint made by `torch.save` is a pickle, which may name any class or function. Here tensors and plain containers
are rebuilt. Whatever else it names becomes an `Inert` object, which holds what it was given and does nothing.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from geoflow.errors import ConfigError

_REBUILT = {
    ("collections", "OrderedDict"),
    ("torch", "Size"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_tensor_v2"),
}
_BUILTINS = {"dict", "list", "tuple", "set", "frozenset", "int", "float", "complex", "bool", "str", "bytes", "long"}


class Inert:
    """Stands for an object of a class that is not loaded."""

    name = ""  # module and class that the pickle names

    def __new__(cls, *args: Any, **named: Any) -> Inert:
        made = super().__new__(cls)
        made.args = args
        made.state = None
        return made

    def __init__(self, *args: Any, **named: Any) -> None:
        self.args: tuple[Any, ...] = args
        self.state: Any

    def __call__(self, *args: Any, **named: Any) -> Inert:
        return type(self)(*args, **named)  # a method that the pickle names, such as that of a list

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items = [*getattr(self, "items", []), (key, value)]

    def append(self, value: Any) -> None:
        self.items = [*getattr(self, "items", []), (None, value)]

    def extend(self, values: Any) -> None:
        self.items = [*getattr(self, "items", []), *((None, value) for value in values)]


def load_inert(path: Path, refuse: Callable[[str], bool] = lambda name: False) -> Any:
    """Return what a file of `torch.save` holds, on the CPU, with `Inert` objects for everything but data.

    `refuse` is asked for every name that would become inert, such as "omegaconf.base.Metadata". Raises ConfigError that
    names the file if it cannot be read, and the class if it is refused.
    """
    import torch

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) in _REBUILT or (module == "torch" and name.endswith("Storage")):
                return super().find_class(module, name)
            if module in ("builtins", "__builtin__") and name in _BUILTINS:
                return int if name == "long" else super().find_class("builtins", name)
            full = f"{module}.{name}"
            if refuse(full):
                raise ConfigError(f"{path} names {full}, which has no place in such a file; nothing of it was loaded")
            return type("Inert", (Inert,), {"name": full})

    reader = SimpleNamespace(
        __name__="inert", Unpickler=Unpickler, load=lambda file, **named: Unpickler(file, **named).load()
    )
    try:
        return torch.load(path, map_location="cpu", weights_only=False, pickle_module=reader)
    except ConfigError:
        raise
    except Exception as error:  # torch's and pickle's own are many
        raise ConfigError(f"{path} cannot be read as a checkpoint of PyTorch ({error}); fetch it again") from error
