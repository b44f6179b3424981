"""The user's MANO_RIGHT.pkl: read without chumpy, and nothing that it names is run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import made_up_mano
import numpy as np
import pytest

from geoflow.errors import ConfigError
from geoflow.models.mano import mano_file
from geoflow.models.mano.body import HandBody
from geoflow.models.mano.mano_file import load_body

ARRAYS = ("template", "shape_dirs", "pose_dirs", "joint_template", "joint_dirs", "weights", "faces")


def same(found: HandBody, wanted: HandBody) -> bool:
    return all(np.array_equal(getattr(found, name), getattr(wanted, name)) for name in ARRAYS)


@pytest.mark.parametrize("protocol", [0, 1, 2])
@pytest.mark.parametrize("form", ["csc", "csr", "coo"])
def test_a_file_of_python_2_gives_the_arrays_that_it_holds(tmp_path: Path, protocol: int, form: str) -> None:
    path = made_up_mano.write_pickle(tmp_path / "MANO_RIGHT.pkl", protocol=protocol, form=form)
    assert b"chumpy" in path.read_bytes() and b"numpy.core" in path.read_bytes()
    found = load_body(path)
    assert same(found, made_up_mano.body()) and found.parents == made_up_mano.PARENTS


def test_plain_arrays_are_read_as_well(tmp_path: Path) -> None:
    np.savez(tmp_path / "hand.npz", **made_up_mano.arrays(3))
    assert same(load_body(tmp_path / "hand.npz"), made_up_mano.body(3))


class _Runs:
    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (_Runs(os.system, "touch exploded"), r"posix\.system"),
        (_Runs(eval, "open('exploded', 'w')"), r"__builtin__\.eval|builtins\.eval"),
        (_Runs(getattr, "a", "upper"), r"\.getattr"),
        (Path("x"), r"pathlib"),
        (np.random.default_rng(0), r"numpy\.random"),
    ],
)
def test_a_file_that_names_something_else_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thing: Any, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = made_up_mano.write_pickle(tmp_path / "MANO_RIGHT.pkl", extra=thing)
    with pytest.raises(ConfigError, match=rf"MANO_RIGHT\.pkl names .*({name}).*nothing of it was loaded; register at"):
        load_body(path)
    assert not (tmp_path / "exploded").exists()


def test_allowed_functions_make_arrays_and_stand_ins_only() -> None:
    for made in (mano_file._empty_array, mano_file._made):
        with pytest.raises(mano_file._Refused):
            made(dict, (0,), b"b")
    with pytest.raises(mano_file._Refused, match="codec"):
        mano_file._bytes_of("x", "rot13")


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps([1, 2]), pickle.dumps({"v_template": 1})])
def test_a_file_that_is_something_else_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"MANO_RIGHT\.pkl"):
        load_body(path)


def test_an_unknown_object_of_chumpy_is_said(tmp_path: Path) -> None:
    with made_up_mano._classes("chumpy.ch.MatVecMult") as (kind,):
        content = {**made_up_mano.arrays(), "shapedirs": kind()}
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, 2))
        content |= {"shapedirs": made_up_mano.arrays()["shapedirs"], "J": kind()}
        (tmp_path / "b.pkl").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(ConfigError, match=r"shapedirs is an object of chumpy\.ch\.MatVecMult"):
        load_body(tmp_path / "a.pkl")
    assert same(load_body(tmp_path / "b.pkl"), made_up_mano.body()), "what is not needed may be anything of chumpy"


def test_a_matrix_in_an_unknown_form_is_said_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"J_regressor is a sparse matrix in a form .*; register at"):
        mano_file._from_sparse("csc_matrix", {"_shape": (2, 2)}, "MANO_RIGHT.pkl: J_regressor")


def test_who_lacks_the_file_is_told_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no such file; register at https://mano\.is\.tue\.mpg\.de"):
        load_body(tmp_path / "MANO_RIGHT.pkl")
    path = made_up_mano.write_pickle(tmp_path / "MANO_LEFT.pkl")
    with pytest.raises(ConfigError, match="left hand by its name"):
        load_body(path)
