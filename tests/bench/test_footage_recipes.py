"""The scripts that make clips of real footage: what they share, and that all they make is listed."""

from __future__ import annotations

import re
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from geoflow.bench.footage.clips import FootageClip

FOLDER = Path(__file__).parents[2] / "benchmarks" / "footage"


@pytest.fixture
def scripts(monkeypatch):
    """Modules of the folder, as its scripts import them."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import clip_files
    import depth_maps
    import make

    yield clip_files, depth_maps, make
    for name in [name for name, module in sys.modules.items() if str(FOLDER) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]


def test_every_recipe_names_a_commit_and_a_licence_and_is_listed(scripts):
    table = re.findall(r"^\| `(\w+)` \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    recipes = scripts[0].RECIPES
    held_out = re.findall(r"^\| `(\w+)` \| held out", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert held_out and sorted(held_out) == sorted(name for name, recipe in recipes.items() if recipe.held_out)
    assert sorted(table) == sorted(recipes) and len(recipes) > 20
    for recipe in recipes.values():
        assert recipe.licence
        assert all(re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", source) for source in recipe.sources)


def test_a_clip_that_was_written_is_one_to_read(scripts, tmp_path):
    writer = scripts[0].ClipWriter(tmp_path / "desk")
    depth = np.array([[np.nan, 1500.4], [0, 70000]])
    for _ in range(3):
        writer.add(np.full((2, 2, 3), 7, np.uint8), depth, lossless=True)
    writer.finish(None, np.eye(3), [0, 0.1, 0.2], motion="rotating", metric=False)
    clip = FootageClip(tmp_path / "desk")
    assert [path.name for path in clip.frames] == ["00000.png", "00001.png", "00002.png"]
    assert clip.known.fps == pytest.approx(10) and clip.known.motion == "rotating" and clip.known.metric is False
    assert np.isnan(clip.known.cam_from_world).all() and not clip.known.photos
    assert clip.depth(2, (2, 2)) == pytest.approx(np.array([[0, 1.5], [0, 0]]))
    with pytest.raises(ValueError, match="3 frames"):
        writer.finish(None, np.eye(3), [0, 0.1])


def test_depth_moves_to_the_camera_beside_it(scripts):
    """1 m to the left, a surface at 2 m shifts by f / 2 pixels; what is nearer covers what is farther."""
    k = scripts[0].camera(10, 10, 8, 4)
    depth = np.zeros((8, 16))
    depth[4, 3], depth[4, 8], depth[4, 13], depth[2, 1] = 2000, 1000, 2000, 5000
    moved = np.eye(4)
    moved[0, 3] = 1.0
    found = scripts[1].register(depth, k, k, moved, (20, 8))
    expected = np.zeros((8, 20))
    expected[4, 8], expected[4, 18], expected[2, 3] = 2000, 1000, 5000  # 5, 10 (and 5, behind it) and 2 px
    assert np.array_equal(found > 0, expected > 0) and found == pytest.approx(expected)
    grown = scripts[1].register(depth, k, k, moved, (20, 8), grow=1)
    assert (grown > 0).sum() == 3 * 9


def test_poses_between_two_samples(scripts):
    quarter = np.eye(4)
    quarter[:3, :3] = cv2.Rodrigues(np.array([0, np.pi / 2, 0]))[0]
    quarter[:3, 3] = (2, 0, 4)
    times, poses = np.array([1.0, 2.0, 5.0]), np.stack([np.eye(4), quarter, quarter])
    found = scripts[0].pose_at(1.5, times, poses, 1.0)
    assert found[:3, 3] == pytest.approx([1, 0, 2])
    assert cv2.Rodrigues(found[:3, :3])[0].ravel() == pytest.approx([0, np.pi / 4, 0])
    for time in (0.5, 3.0, 6.0):  # before all samples, in a gap, after all
        assert np.isnan(scripts[0].pose_at(time, times, poses, 1.0)).all()


def test_what_is_held_out_is_made_only_when_asked_for(scripts, tmp_path, monkeypatch, capsys):
    clip_files, _, make = scripts
    monkeypatch.setattr(clip_files, "RECIPES", made := {})
    monkeypatch.setattr(make, "RECIPES", made)
    for name, held_out in (("open", False), ("kept", True)):

        @clip_files.recipe(name, "owner/name@" + 40 * "0", licence="none", held_out=held_out)
        def one_frame(clip, source):
            clip.add(np.zeros((2, 2, 3), np.uint8))
            clip.finish(None, clip_files.UNKNOWN, [0.0])

    (tmp_path / "checkouts/owner/name").mkdir(parents=True)

    def run(*arguments):
        out = tmp_path / "out"
        monkeypatch.setattr(sys, "argv", ["make.py", str(tmp_path / "checkouts"), str(out), *arguments])
        make.main()
        return sorted(path.name for path in out.iterdir())

    assert run() == ["open"]
    assert run("--held-out", "kept") == ["kept", "open"]
    assert run("--held-out") == ["kept", "open"]
    with pytest.raises(SystemExit):
        run("kept")
    assert "kept: held out; give --held-out" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["make.py", "--list"])
    make.main()
    assert "kept (held out)" in capsys.readouterr().out


def test_a_model_of_colmap_is_read_with_a_camera_for_each_picture(scripts, tmp_path):
    """Two pictures of half the cameras' size, the second turned by 90 degrees about y; a third is not in the model."""
    import colmap_clips

    model, pictures = tmp_path / "sparse", tmp_path / "images"
    model.mkdir()
    pictures.mkdir()
    for number in (1, 2, 10):
        cv2.imwrite(str(pictures / f"{number}.png"), np.full((6, 8, 3), number, np.uint8))
    cameras = [struct.pack("<iiQQ3d", number, 0, 16, 12, 10.0 + number, 8.0, 6.0) for number in (1, 2)]
    (model / "cameras.bin").write_bytes(struct.pack("<Q", 2) + b"".join(cameras))
    half = np.sqrt(0.5)
    images = [
        struct.pack("<i7di", 1, 1.0, 0, 0, 0, 1, 2, 3, 1) + b"1.png\0" + struct.pack("<Q2dq", 1, 0.5, 0.5, -1),
        struct.pack("<i7di", 2, half, 0, half, 0, 4, 5, 6, 2) + b"10.png\0" + struct.pack("<Q", 0),
    ]
    (model / "images.bin").write_bytes(struct.pack("<Q", 2) + b"".join(images))
    colmap_clips.from_colmap(scripts[0].ClipWriter(tmp_path / "clip"), model, pictures)
    known = FootageClip(tmp_path / "clip").known
    assert known.intrinsics[0, 0].tolist() == [5.5, 0, 3.5] and known.intrinsics[2, 1].tolist() == [0, 6.0, 2.5]
    assert np.isnan(known.cam_from_world[1]).all() and np.isnan(known.intrinsics[1, 0, 0])
    assert known.cam_from_world[0, :3, 3].tolist() == [1, 2, 3]
    assert known.cam_from_world[2, :3, :3] @ [0, 0, 1] == pytest.approx([1, 0, 0]) and known.metric is False
