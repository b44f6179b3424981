"""A known camera and its lens: the forms that are taken, the files that hold them, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from geoflow.cli.arguments import intrinsics_of
from geoflow.cli.running import arguments_of_run
from geoflow.errors import ConfigError, InputError
from geoflow.video.lens import KnownLens, lens_of
from geoflow.video.options import ReadOptions
from geoflow.video.probe import probe

PINHOLE = (500.0, 510.0, 320.0, 240.0)
BENT = (-0.1, 0.02, 1e-3, -2e-3, 0.01)
NAMED = dict(zip(("fx", "fy", "cx", "cy"), PINHOLE))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (PINHOLE, KnownLens(PINHOLE)),
        ((*PINHOLE, *BENT[:1]), KnownLens(PINHOLE, (-0.1, 0, 0, 0, 0))),
        ((*PINHOLE, *BENT[:2]), KnownLens(PINHOLE, (-0.1, 0.02, 0, 0, 0))),
        ((*PINHOLE, *BENT[:4]), KnownLens(PINHOLE, (*BENT[:4], 0))),
        ((*PINHOLE, *BENT), KnownLens(PINHOLE, BENT)),
        ((*PINHOLE, 0, 0, 0, 0), KnownLens(PINHOLE)),
        (np.array([[500, 0, 320], [0, 510, 240], [0, 0, 1.0]]), KnownLens(PINHOLE)),
        ([500, 0, 320, 0, 510, 240, 0, 0, 1], KnownLens(PINHOLE)),
        (NAMED, KnownLens(PINHOLE)),
        ({**NAMED, "model": "SIMPLE_RADIAL", "k1": -0.1}, KnownLens(PINHOLE, (-0.1, 0, 0, 0, 0))),
        ({**NAMED, "model": "opencv", "k1": -0.1, "k3": 0.5}, KnownLens(PINHOLE, (-0.1, 0, 0, 0, 0.5))),
        ({**NAMED, "width": 640, "height": 480}, KnownLens(PINHOLE, None, (640, 480))),
    ],
)
def test_forms_of_a_known_camera(value: Any, expected: KnownLens) -> None:
    assert lens_of(value, "intrinsics") == expected
    options = ReadOptions(intrinsics=value)
    assert (options.intrinsics, options.distortion, options.calibrated_at) == (
        expected.pinhole, expected.distortion, expected.size
    )  # fmt: skip
    assert ReadOptions(**vars(options)) == options


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ((*PINHOLE, 1, 2, 3), "fx,fy,cx,cy"),
        ((*PINHOLE, 0.1, 0.1, 0.6, 0), "pinhole matrix without skew"),
        ((*PINHOLE, float("nan")), "finite number"),
        ({**NAMED, "k4": 1}, "found fx, fy, cx, cy, k4"),
        ({**NAMED, "width": 640}, "width and height together"),
        ({**NAMED, "width": 0, "height": 480}, "positive width and height"),
        ({**NAMED, "model": "fisheye"}, "one of pinhole, simple_radial, radial, opencv, found 'fisheye'.*undistort"),
        ({**NAMED, "model": "radial", "k1": 0.1, "p1": 0.1}, "the model radial has no p1"),
        ({**NAMED, "model": "pinhole", "k1": 0.1}, "the model pinhole has no k1"),
        ({**NAMED, "fx": -1}, "positive fx and fy"),
    ],
)
def test_what_can_be_no_camera(value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ReadOptions(intrinsics=value)


@pytest.mark.parametrize(
    "text",
    [
        "500,510,320,240,-0.1,0.02,1e-3,-2e-3,0.01",
        "[500, 510, 320, 240, -0.1, 0.02, 1e-3, -2e-3, 0.01]",
        "model: opencv\nfx: 500\nfy: 510\ncx: 320\ncy: 240\nk1: -0.1\nk2: 0.02\np1: 1e-3\np2: -2e-3\nk3: 0.01\n",
        '{"fx": 500, "fy": 510, "cx": 320, "cy": 240, "k1": -0.1, "k2": 0.02, "p1": 1e-3, "p2": -2e-3, "k3": 0.01}',
    ],
)
def test_files_of_a_lens(tmp_path: Path, text: str) -> None:
    (tmp_path / "k.yaml").write_text(text)
    options = ReadOptions(intrinsics=intrinsics_of(str(tmp_path / "k.yaml")))
    assert (options.intrinsics, options.distortion) == (PINHOLE, BENT)
    if text.startswith("500"):
        assert ReadOptions(intrinsics=intrinsics_of(text)) == options


def test_a_file_that_holds_no_camera_is_named(tmp_path: Path) -> None:
    for text, message in (
        ("fx: 500\n", "k.yaml should have fx"),
        ("fx: [\n", "k.yaml is not valid YAML"),
        ("- a: 1", "expected fx"),
    ):
        (tmp_path / "k.yaml").write_text(text)
        with pytest.raises(ConfigError, match=message):
            intrinsics_of(str(tmp_path / "k.yaml"))


def test_a_calibration_goes_with_the_size_it_was_made_at(tmp_path: Path) -> None:
    frames = tmp_path / "f"
    frames.mkdir()
    for i in range(3):
        cv2.imwrite(str(frames / f"{i}.png"), np.zeros((48, 64, 3), np.uint8))
    given = {"fx": 100, "fy": 100, "cx": 63.5, "cy": 47.5, "k1": -0.1, "width": 128, "height": 96}
    info, _ = probe(str(frames), "f", ReadOptions(intrinsics=given))
    assert info.intrinsics == (50, 50, 31.5, 23.5) and info.distortion == (-0.1, 0, 0, 0, 0)
    with pytest.raises(InputError, match="is for pictures of 96x96, but the video is shown at 64x48"):
        probe(str(frames), "f", ReadOptions(intrinsics={**given, "width": 96}))
    with pytest.raises(InputError, match="k1, k2, p1, p2, k3 = -9, 0, 0, 0, 0 folds pictures of 64x48"):
        probe(str(frames), "f", ReadOptions(intrinsics={**given, "k1": -9}))


def test_scale_is_of_known_cameras() -> None:
    with pytest.raises(ConfigError, match="name them with --cameras"):
        ReadOptions(scale=1.0)
    for scale in (0, -1, float("inf")):
        with pytest.raises(ConfigError, match="scale should be"):
            ReadOptions(cameras="p.txt", scale=scale)
    with pytest.raises(ConfigError, match="give intrinsics, too"):
        ReadOptions(distortion=(0.1,))
    given = arguments_of_run(["a.mp4", "-o", "out", "--cameras", "p.txt", "--scale", "2"])
    assert str(given["cameras"]) == "p.txt" and given["scale"] == 2.0
