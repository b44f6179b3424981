"""Reference data made with the original models: inputs, results, and how far a correct implementation may be off.

They lie beside the repository, in ../shared/golden, or in $GEOFLOW_GOLDEN; where they are absent, the tests that need
them are skipped.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FOLDER = Path(os.environ.get("GEOFLOW_GOLDEN") or Path(__file__).resolve().parents[3] / "shared" / "golden")


class Case:
    """One case: its inputs, its expected results and its side-car."""

    def __init__(self, model: str, name: str) -> None:
        path = FOLDER / model / f"{name}.npz"
        if not path.is_file():
            pytest.skip(f"no reference data: {path} is absent")
        self.spec: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
        with np.load(path, allow_pickle=False) as arrays:
            self._arrays = dict(arrays)

    def given(self, name: str) -> np.ndarray:
        return self._arrays[f"in.{name}"]

    def wanted(self, name: str) -> np.ndarray:
        return self._arrays[f"out.{name}"]

    def check(self, name: str, found: Any) -> None:
        """Compare a result with the reference; it may be off by the side-car's `fair_atol`."""
        self._check(name, np.asarray(found, np.float64), self.wanted(name).astype(np.float64), "fair_atol")

    def check_log_depth(self, name: str, found: Any) -> None:
        """Compare ln z of depth maps, or of point maps."""
        found, wanted = np.asarray(found, np.float64), self.wanted(name).astype(np.float64)
        if name.endswith(("point_map", "sub4")):
            found, wanted = found[..., 2], wanted[..., 2]
        self._check(name, np.log(found), np.log(wanted), "fair_atol_log_z")

    def check_mask(self, name: str, found: Any, flips: int = 0) -> None:
        """Compare a mask; `flips` pixels may differ, where the reference's logits are near zero."""
        wrong = int((np.asarray(found, bool) != self.wanted(name).astype(bool)).sum())
        assert wrong <= flips, f"{name}: {wrong} pixels differ"

    def _check(self, name: str, found: np.ndarray, wanted: np.ndarray, rule: str) -> None:
        assert found.shape == wanted.shape, f"{name}: {found.shape}, expected {wanted.shape}"
        ratio = float(np.abs(found - wanted).max()) / self.spec["outputs"][name][rule]
        assert ratio <= 1, f"{name}: off by {ratio:.2f} times {rule}"


@functools.cache
def fill() -> Callable[[str, tuple[int, ...]], np.ndarray]:
    """`fill(name, shape)` of the reference data: every parameter is made from its name."""
    path = FOLDER / "fill.py"
    if not path.is_file():
        pytest.skip(f"no reference data: {path} is absent")
    spec = importlib.util.spec_from_file_location("golden_fill", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Callable[[str, tuple[int, ...]], np.ndarray] = module.fill
    return made
