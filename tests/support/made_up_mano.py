"""A hand model of MANO's form with none of its data, and files laid out like MANO_RIGHT.pkl."""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.models.mano.body import TIPS, HandBody

PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
_FINGERS = ((0.022, 0.09), (0.0, 0.095), (-0.038, 0.08), (-0.02, 0.088), (0.04, 0.035))  # across and along, m
_TIP_JOINTS = (15, 3, 6, 12, 9)  # whose next joint is each tip
VERTICES = 778


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """Return the arrays of a made-up MANO file: five fingers of three bones, and points scattered about them."""
    rng = np.random.default_rng(seed)
    wrist = np.array([0.09, 0.005, 0.006])
    joints = [wrist] + [
        wrist + (-(reach + 0.026 * step), 0.004 * step, across) for across, reach in _FINGERS for step in range(3)
    ]
    places = np.array(joints)
    owner = np.arange(VERTICES) % 16
    vertices = places[owner] + rng.normal(0, 0.006, (VERTICES, 3))
    for tip, joint in zip(TIPS, _TIP_JOINTS):
        vertices[tip], owner[tip] = places[joint] + (-0.022, 0.002, 0), joint
    weights = np.exp(-((vertices[:, None] - places) ** 2).sum(-1) / 0.02**2) + 1e-6
    weights /= weights.sum(1, keepdims=True)
    # each joint is the mean of the vertices about it
    regressor = (owner == np.arange(16)[:, None]) / (owner == np.arange(16)[:, None]).sum(1, keepdims=True)
    return {
        "v_template": vertices,
        "shapedirs": rng.normal(0, 0.002, (VERTICES, 3, 10)),
        "posedirs": rng.normal(0, 0.0005, (VERTICES, 3, 135)),
        "J_regressor": regressor,
        "weights": weights,
        "kintree_table": np.array([[2**32 - 1, *PARENTS[1:]], range(16)], np.uint32),
        "f": rng.integers(0, VERTICES, (1538, 3)).astype(np.uint32),
        "hands_mean": rng.normal(size=45),
    }


def body(seed: int = 0) -> HandBody:
    return HandBody.from_arrays(arrays(seed))


def write_pickle(path: Path, *, seed: int = 0, protocol: int = 2, form: str = "csc", **more: Any) -> Path:
    """Write a file as users download it, with objects of chumpy and scipy by the names that Python 2 gave them.

    `form` is that of the sparse matrix: csc, csr or coo; `more` are further entries.
    """
    content: dict[str, Any] = arrays(seed)
    with _classes("chumpy.ch.Ch", "chumpy.reordering.Select", f"scipy.sparse.{form}.{form}_matrix") as (
        ch,
        select,
        own,
    ):
        many = np.concatenate((content["shapedirs"], np.ones((VERTICES, 3, 5))), axis=2)
        base, picked, sparse = ch(), select(), own()
        base.__dict__.update(x=many, _dirty_vars=set(), _itr=None)
        index = np.arange(many.size).reshape(many.shape)[:, :, :10].ravel()
        picked.__dict__.update(a=base, idxs=index, preferred_shape=(VERTICES, 3, 10), _dirty_vars={"a"})
        sparse.__dict__.update(_sparse(content["J_regressor"], form))
        content |= {"shapedirs": picked, "J_regressor": sparse, "bs_style": "lbs", **more}
        text = pickle.dumps(content, protocol)
    path.write_bytes(text.replace(b"numpy._core.", b"numpy.core."))
    return path


def _sparse(full: np.ndarray, form: str) -> dict[str, Any]:
    rows, columns = np.nonzero(full)
    data = {"_shape": full.shape, "data": full[rows, columns]}
    if form == "coo":
        return data | {"row": rows, "col": columns}
    major, minor = (columns, rows) if form == "csc" else (rows, columns)
    order = np.lexsort((minor, major))
    counts = np.bincount(major, minlength=full.shape[form == "csc"])
    pointers = np.concatenate(([0], np.cumsum(counts)))
    return data | {"data": data["data"][order], "indices": minor[order], "indptr": pointers}


@contextmanager
def _classes(*names: str) -> Iterator[list[type]]:
    """Make empty classes importable by these names, as pickling them needs; all is as before afterwards."""
    before, made = {}, []
    for full in names:
        module, _, name = full.rpartition(".")
        parts = module.split(".")
        for k in range(len(parts)):
            here = ".".join(parts[: k + 1])
            before.setdefault(here, sys.modules.get(here))
            sys.modules[here] = types.ModuleType(here) if before[here] is None else sys.modules[here]
        kind = type(name, (), {"__module__": module})
        if before[module] is not None:
            sys.modules[module] = types.ModuleType(module)
        setattr(sys.modules[module], name, kind)
        made.append(kind)
    try:
        yield made
    finally:
        for here, module_before in before.items():
            if module_before is None:
                sys.modules.pop(here, None)
            else:
                sys.modules[here] = module_before
