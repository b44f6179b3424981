"""Reference data made with the original models: inputs, results, and how far a correct implementation may be off.

The tests have theirs beside the repository, in ../shared/golden, or in $GEOFLOW_GOLDEN; where it is absent, the tests
that need it are skipped. `make golden MODEL=NAME DIR=FOLDER` (`golden_run`) holds a model against any other folder of
the same layout: `NAME.npz` with inputs and results, `NAME.json` beside it with what was computed and the tolerances.

A model says in `golden_<model>.py` how its cases are run: `RUNNERS`, a function per `kind` of a side-car, which makes
the networks from what the side-car states and hands every result to `Case.check`.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(os.environ.get("GEOFLOW_GOLDEN") or Path(__file__).resolve().parents[3] / "shared" / "golden")

Fill = Callable[[str, tuple[int, ...]], np.ndarray]
_TOLERANCES = ("fair_atol", "atol")  # by the names that side-cars have for them


class Unusable(Exception):
    """Golden data lacks something, or states what no runner knows."""


@dataclass(frozen=True)
class Comparison:
    """One result beside the reference."""

    output: str
    error: float  # the largest difference, or the number of pixels that differ
    allowed: float
    rule: str  # what the side-car calls `allowed`

    @property
    def right(self) -> bool:
        return self.error <= self.allowed  # NaN is not


class Case:
    """One case: its inputs, its expected results, its side-car, and what has been compared."""

    def __init__(self, folder: Path, name: str) -> None:
        path = folder / f"{name}.npz"
        for needed in (path, path.with_suffix(".json")):
            if not needed.is_file():
                raise Unusable(f"{folder} lacks {needed.name}")
        self.name, self.folder = name, folder
        self.compared: list[Comparison] = []
        self.spec: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
        with np.load(path, allow_pickle=False) as arrays:
            self._arrays = unpacked(dict(arrays))

    @property
    def fill(self) -> Fill:
        """`fill(name, shape)` of the reference data: every parameter is made from its name."""
        made: Fill = module_of(self.folder, "fill").fill
        return made

    @property
    def kind(self) -> str:
        """What was computed: as the side-car says, or the case's own name."""
        return str(self.spec.get("kind", self.name))

    def names(self, pattern: str) -> list[str]:
        """Return the results whose names match a regular expression wholly."""
        return [name for name in self.spec["outputs"] if re.fullmatch(pattern, name)]

    def given(self, name: str) -> np.ndarray:
        """Return an input."""
        return self._array("in", name)

    def wanted(self, name: str) -> np.ndarray:
        """Return an expected result."""
        return self._array("out", name)

    def has(self, name: str) -> bool:
        """Whether the case has such a result."""
        return name in self.spec["outputs"]

    def check(self, name: str, found: Any, *, isolated: bool = False) -> None:
        """Compare a result with the reference; the side-car says how far it may be off, or how many values may.

        `isolated` results were computed from the reference's own inputs, for which some side-cars allow less.
        """
        rules = self.spec["outputs"].get(name, {})
        if rules.get("exact"):
            wrong = int((np.asarray(found) != self.wanted(name)).sum())
            self._note(Comparison(name, wrong, rules.get("may_differ", 0), "values that differ"))
        elif self.has(name):
            tolerances = ("atol_isolated", *_TOLERANCES) if isolated else _TOLERANCES
            rule = next((rule for rule in tolerances if rule in rules), "")
            self._check(name, np.asarray(found, np.float64), self.wanted(name).astype(np.float64), rule)

    def check_log_depth(self, name: str, found: Any) -> None:
        """Compare ln z of depth maps, or of point maps."""
        if not self.has(name) or "fair_atol_log_z" not in self.spec["outputs"][name]:
            return
        found, wanted = np.asarray(found, np.float64), self.wanted(name).astype(np.float64)
        if "point_map" in name:
            found, wanted = found[..., 2], wanted[..., 2]
        self._check(name, np.log(found), np.log(wanted), "fair_atol_log_z")

    def check_mask(self, name: str, found: Any, flips: int = 0) -> None:
        """Compare a mask; `flips` pixels may differ, where the reference's logits are near zero."""
        if self.has(name):
            wrong = int((np.asarray(found, bool) != self.wanted(name).astype(bool)).sum())
            self._note(Comparison(name, wrong, flips, "pixels that differ"))

    def note(self, name: str, error: float, allowed: float, rule: str) -> None:
        """Record a comparison that was made elsewhere, such as that of meshes whose vertices have another order."""
        self._note(Comparison(name, error, allowed, rule))

    def not_compared(self) -> list[str]:
        """Return results of the reference that no check has looked at."""
        return sorted(self.spec.get("outputs", {}).keys() - {row.output for row in self.compared})

    def _check(self, name: str, found: np.ndarray, wanted: np.ndarray, rule: str) -> None:
        if not rule:
            raise Unusable(f"{self.name}.json states no tolerance for {name} ({' or '.join(_TOLERANCES)})")
        if found.shape != wanted.shape:
            raise AssertionError(f"{self.name}: {name} has the shape {found.shape}, expected {wanted.shape}")
        error = float(np.abs(found - wanted).max(initial=0))
        self._note(Comparison(name, error, float(self.spec["outputs"][name][rule]), rule))

    def _note(self, row: Comparison) -> None:
        self.compared.append(row)

    def _array(self, kind: str, name: str) -> np.ndarray:
        for key in (f"{kind}.{name}", name):
            if key in self._arrays:
                return self._arrays[key]
        raise Unusable(f"{self.name}.npz lacks {kind}.{name}")


class Strict(Case):
    """As the tests have it: the first result that is off ends it."""

    def __init__(self, model: str, name: str) -> None:
        import pytest  # not at the top: cases also run in environments of models, which lack it

        try:
            super().__init__(FOLDER / model, name)
        except Unusable as error:
            pytest.skip(f"no reference data: {error}")

    def _note(self, row: Comparison) -> None:
        super()._note(row)
        assert row.right, f"{self.name} {row.output}: {row.error:.3g}, allowed {row.allowed:.3g} ({row.rule})"


def unpacked(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Undo the forms in which pictures are stored: differences along the width that wrap, and depth in 1/4096."""
    found = {}
    for name, value in arrays.items():
        packed = re.fullmatch(r"(.*)_delta(_u8|_u16)", name)
        if packed:
            width = value.ndim - 2 if value.shape[-1] == 3 else value.ndim - 1
            name, value = packed[1] + packed[2], np.cumsum(value, axis=width, dtype=value.dtype)
        found[name] = value
    if "depth_u16" in found:
        found["depth"] = found["depth_u16"].astype(np.float32) / np.float32(4096)
    return found


@functools.cache
def module_of(folder: Path, name: str) -> Any:
    """Return the module `name`.py in a folder, beside it, or of the tests' own reference data; it makes weights."""
    homes = (folder, folder.parent, FOLDER / folder.name, FOLDER)
    path = next((home / f"{name}.py" for home in homes if (home / f"{name}.py").is_file()), None)
    if path is None:
        raise Unusable(f"{folder} lacks {name}.py, which makes the weights; it should lie there, or beside the folder")
    spec = importlib.util.spec_from_file_location(f"golden_data_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with _importing("fill"):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _importing(name: str) -> Iterator[None]:
    """Let a module that makes weights import another of the same data, under its plain name."""
    before = list(sys.path), sys.modules.pop(name, None)
    yield
    sys.path[:] = before[0]
    sys.modules.pop(name, None)
    if before[1] is not None:
        sys.modules[name] = before[1]


def listed(model: str, name: str, lists: dict[str, Callable[[Path], list[Comparison]]]) -> list[Comparison]:
    """Return what a runner finds in one of a model's lists and checkpoints. Skips where it is absent."""
    import pytest

    path = FOLDER / model / name
    if not path.is_file():
        pytest.skip(f"no reference data: {path} is absent")
    return lists[name](path)
