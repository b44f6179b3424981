"""Files of queries: what is read, and what is said of a row that cannot be one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geoflow.errors import ConfigError
from geoflow.files.query_files import Queries, read_queries


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def same(found: Queries, frame, uv, xyz) -> bool:
    pairs = ((found.frame, frame), (found.uv, uv), (found.xyz, xyz))
    return all(a is None if b is None else a is not None and np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    "text",
    [
        "frame,x,y\n0,120.5,88\n12,40,61.25\n",
        "0,120.5,88\n12,40,61.25",
        "y;Frame;x\n88;0;120.5\n61.25;12;40\n",
        "frame\tx\ty\r\n0\t120.5\t88\r\n\r\n12\t40\t61.25\r\n",
        "\ufeff# from a drawing program\n frame , x , y\n0, 120.5, 88\n# a pause\n1.2e1, 40, 61.25\n",
    ],
)
def test_pixels_of_a_table(tmp_path, text):
    found = read_queries(written(tmp_path / "q.csv", text))
    assert same(found, [0, 12], [[120.5, 88], [40, 61.25]], None) and len(found) == 2
    assert found.frame.dtype == np.int64 and found.uv is not None and found.uv.dtype == np.float32


@pytest.mark.parametrize("text", ["frame,x,y,z\n3,-1.5,0.25,2\n", "3,-1.5,0.25,2", "z,y,x,frame\n2,0.25,-1.5,3"])
def test_places_of_the_world_in_a_table(tmp_path, text):
    found = read_queries(written(tmp_path / "q.csv", text))
    assert same(found, [3], None, [[-1.5, 0.25, 2]]) and found.xyz is not None and found.xyz.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint8])
def test_arrays(tmp_path, dtype):
    np.save(tmp_path / "uv.npy", np.array([[4, 10, 20], [0, 5, 6]], dtype))
    np.save(tmp_path / "xyz.NPY", np.array([[4, 10, 20, 30]], dtype))
    (tmp_path / "xyz.NPY.npy").rename(tmp_path / "xyz.NPY")
    assert same(read_queries(tmp_path / "uv.npy"), [4, 0], [[10, 20], [5, 6]], None)
    assert same(read_queries(str(tmp_path / "xyz.NPY")), [4], None, [[10, 20, 30]])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "q.csv holds no row; give it rows of frame, x, y"),
        ("frame,x,y\n# nothing\n", "q.csv holds no row"),
        ("frame,u,v\n0,1,2\n", "names the columns frame, u, v; expected frame, x, y for pixels"),
        ("frame,x,y,x\n0,1,2,3\n", "names the columns frame, x, y, x"),
        ("0,1,2\n\n0,1\n", r"line 3: expected 3 values \(frame, x, y\), found 2"),
        ("0,1,2\n0,1,2,3\n", "line 2: expected 3 values"),
        ("0,1\n", "line 1: expected 3 values"),
        ("0,1,2\n5,left,2\n", "line 2: 'left' is not a number"),
        ("frame,x,y\n5,,2\n", "line 2: '' is not a number"),
        ("frame,x,y\n0,nan,2\n", "line 2: every value should be a finite number, found 0, nan, 2"),
        ("0,1,2\n0,1,inf\n", "line 2: every value should be a finite number"),
        ("0,1,2\n0,1,1e39\n", "line 2: every value should be a finite number"),
        ("0,1,2\n1.5,1,2\n", "line 2: the frame should be a whole number from 0 on, found 1.5, 1, 2; correct the row"),
        ("1e30,1,2\n", "line 1: the frame should be a whole number from 0 on"),
        ("-1,1,2\n", "line 1: the frame should be a whole number from 0 on"),
        ("0,1,2\n0,-0.6,2\n", "line 2: the pixel lies left of the picture, or above it"),
        (b"\xff\xfe\x00", "cannot be read as text"),
    ],
)
def test_a_row_that_is_no_query_is_named(tmp_path, text, said):
    with pytest.raises(ConfigError, match=said) as stopped:
        read_queries(written(tmp_path / "q.csv", text))
    assert str(tmp_path / "q.csv") in str(stopped.value)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((4, 2)), r"\(N, 3\) or \(N, 4\), found float64 \(4, 2\)"),
        (np.zeros(3), r"found float64 \(3,\)"),
        (np.zeros((2, 3), bool), "found bool"),
        (np.array([["a", "b", "c"]]), "found <U1"),
        (np.zeros((0, 3)), "holds no row"),
        (np.array([[0, 1, 2], [0, np.nan, 2]]), "row 1: every value should be a finite number"),
    ],
)
def test_an_array_that_holds_no_queries_is_named(tmp_path, array, said):
    np.save(tmp_path / "q.npy", array)
    with pytest.raises(ConfigError, match=said) as stopped:
        read_queries(tmp_path / "q.npy")
    assert str(tmp_path / "q.npy") in str(stopped.value)


def test_files_of_other_kinds_and_pickles_are_refused(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([[0, 1, "x"]], object), allow_pickle=True)
    np.savez(tmp_path / "archive.npz", np.zeros((1, 3)))
    (tmp_path / "archive.npz").rename(tmp_path / "archive.npy")
    for name, said in (
        ("objects.npy", "cannot be read as .npy"),
        ("archive.npy", "found an archive of arrays"),
        ("short.npy", "cannot be read as .npy"),
        ("absent.csv", "there is no file of queries at"),
        ("q.txt", "should be a .csv or .npy file"),
    ):
        if name == "short.npy":
            written(tmp_path / name, b"\x93NUM")
        with pytest.raises(ConfigError, match=said):
            read_queries(tmp_path / name)


def test_a_pixels_own_half_belongs_to_the_picture(tmp_path):
    assert same(read_queries(written(tmp_path / "q.csv", "0,-0.5,0")), [0], [[-0.5, 0]], None)
