"""The report's page shows labels over frames, a row per object, and the meshes in the scene."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from full_store import write_full_store
from object_stages import cube, poses

from geoflow.geometry.mesh import surface_points
from geoflow.report.objects_section import labelled
from geoflow.report.video_page import contents, video_part
from geoflow.store.objects import colour_of
from geoflow.store.reader import open_video
from geoflow.synth import Clip


@pytest.fixture
def store(small_clip: Clip, tmp_path: Path) -> Path:
    path = tmp_path / "clip.h5"
    write_full_store(path, small_clip)
    return path


def page(path: Path) -> str:
    with open_video(path) as video:
        return video_part(video, {}, None, "", frames=8).html


def scene(html: str) -> dict:
    match = re.search(r'id="scene-data">(.*?)</script>', html)
    assert match is not None
    return json.loads(match[1])


def test_objects_are_drawn_and_listed(store: Path) -> None:
    with h5py.File(store, "a") as file:
        label = np.zeros((8, 48, 64), np.uint8)
        label[:, :24, :32] = 3  # a quarter of each frame
        label[6:, 40:] = 9
        file["objects/label"] = label
        for name, array in cube(scale=0.5, at=(0, 0, 3), frame=2).items():
            file[f"objects/3/{name}"] = array
        for name, array in poses(8, moves_in=3, unknown_in=5).items():
            file[f"objects/3/pose/{name}"] = array
        file.create_group("objects/9").attrs["without"] = "seen in no <posed> frame"
        file["objects/9"].attrs["without_pose"] = "too <few> points"
    html = page(store)
    section = re.search(r'<section id="objects">.*?</section>', html, re.DOTALL)
    assert section is not None
    said = section[0]
    assert "2 objects, 1 with a mesh." in said
    assert said.count("<figure>") == 3 and "frame 7 with the labels of objects 3, 9" in said
    cells = re.findall(r"<td[^>]*>(.*?)</td>", said)
    assert cells[0].endswith("> 3") and cells[1:3] == ["8", "25.0 %"]
    assert cells[3] == "8 vertices, 12 faces, from frame 2, watertight" and cells[4] == "0.5 &times; 0.5 &times; 0.5"
    assert cells[5] == "up to 0.25, known in 7 of 8 frames"
    assert cells[6].endswith("> 9") and cells[7] == "2" and cells[9] == "none: seen in no &lt;posed&gt; frame"
    assert cells[11] == "not known: too &lt;few&gt; points"
    assert 'href="#objects"' in contents(html)
    meshes = scene(html)["meshes"]
    assert meshes["count"] == 6000 and len(base64.b64decode(meshes["rgb"])) == 3 * 6000
    assert 'data-scene="objects"' in html
    low, size = np.array(scene(html)["low"]), scene(html)["size"]
    xyz = np.frombuffer(base64.b64decode(meshes["xyz"]), "<u2").reshape(-1, 3) / 65535 * size + low
    np.testing.assert_allclose(xyz.min(0), [-0.25, -0.25, 2.75], atol=0.01)
    np.testing.assert_allclose(xyz.max(0), [0.25, 0.25, 3.25], atol=0.01)


def test_without_objects_there_is_no_section(store: Path) -> None:
    html = page(store)
    assert 'id="objects"' not in html and 'data-scene="objects"' not in html and scene(html)["meshes"]["count"] == 0
    with h5py.File(store, "a") as file:
        file["objects/label"] = np.zeros((8, 48, 64), np.uint8)
    assert "No object was found in any frame." in page(store)


def test_a_label_colours_its_pixels_and_no_other() -> None:
    rgb = np.full((2, 2, 3), 100, np.uint8)
    found = labelled(rgb, np.array([[0, 3], [0, 0]], np.uint8))
    assert (found[0, 0] == 100).all() and (found[1] == 100).all()
    assert found[0, 1].tolist() == [round(0.45 * 100 + 0.55 * c) for c in colour_of(3)]


def test_points_lie_evenly_on_the_surface() -> None:
    mesh = cube()
    numbers, weights = surface_points(mesh["vertices"], mesh["faces"], 6000)
    xyz = (mesh["vertices"][numbers] * weights[..., None]).sum(1)
    np.testing.assert_allclose(np.abs(xyz).max(1), 0.5, atol=1e-6)  # each on one of the six sides
    sides = [np.isclose(xyz[:, k], sign).sum() for k in range(3) for sign in (-0.5, 0.5)]
    assert min(sides) > 850 and max(sides) < 1150  # a sixth of 6,000, give or take five standard deviations
    assert len(surface_points(np.zeros((3, 3)), np.array([[0, 1, 2]]), 10)[0]) == 0
