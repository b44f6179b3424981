"""Frame folders: pictures that cannot be one film are refused, and the order is what a person would say it is."""

from __future__ import annotations

from pathlib import Path

import clips
import numpy as np
import pytest
from chosen_clips import write_picture

from geoflow.errors import ConfigError, InputError
from geoflow.video.frame_reader import read_frames, read_numbered
from geoflow.video.inputs import expand_inputs
from geoflow.video.options import ReadOptions
from geoflow.video.probe import probe
from geoflow.video.sequence import check_kinds, check_names, in_order, matching

CASES = Path(__file__).parents[3] / "shared" / "cases" / "rgbd_folder"


def numbered(form: str, count: int = 4) -> list[str]:
    return [form.format(k) for k in range(count)]


def kept_pattern(names: list[str], **options: bool) -> str:
    """What the refusal suggests; it must leave a film."""
    with pytest.raises(InputError, match="cannot be one film") as caught:
        check_names("/folder", in_order(names), chosen=options.get("chosen", False))
    text = str(caught.value)
    assert "/folder" in text and sum(name in text for name in names) >= 2  # the names seen
    return text.partition("--pattern '")[2].partition("'")[0]


MIXED: dict[str, tuple[list[str], str]] = {
    "rgb and depth": (numbered("rgb_{:04}.png") + numbered("depth_{:04}.png"), "rgb_*"),
    "7-scenes": (numbered("frame-{:06}.color.png") + numbered("frame-{:06}.depth.png"), "*.color.png"),
    "left and right": (numbered("left_{}.jpg") + numbered("right_{}.jpg"), "left_*"),
    "left and right at the end": (numbered("{:03}_left.jpg") + numbered("{:03}_right.jpg"), "*_left.jpg"),
    "masks": (numbered("{:05}.png") + numbered("{:05}_mask.png"), "*[0-9].png"),
    "jpg and png": (numbered("{:05}.jpg") + numbered("{:05}.png"), "*.jpg"),
    "kinect": (
        ["rgb-1341846313.592026.png", "rgb-1341846313.654184.png", "depth-1341846313.592088.png",
         "depth-1341846313.654257.png"],
        "rgb-*",
    ),
    "three": (numbered("a{}.png") + numbered("b{}.png") + numbered("c{}.png"), "a*"),
    "one of each": (["rgb_1.png", "depth_1.png"], "rgb_*"),
    "cameras": ([f"cam{c}_{k:04}.png" for c in (0, 1) for k in range(4)], "cam0_*"),
    "eyes": ([f"{k:04}_{c}.png" for c in (0, 1) for k in range(4)], "*_0.png"),
    "a cover": (["cover.png", *numbered("frame_{}.png")], "frame_*"),
    "a copy": ([*numbered("frame_{}.png"), "frame_2 (1).png"], "frame_*[0-9].png"),
    "without numbers": (["hall.png", "hall_mask.png", "yard.png", "yard_mask.png"], ""),
    "stems": (["hall.jpg", "hall.png", "yard.jpg", "yard.png"], ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", MIXED)
def test_what_cannot_be_one_film_is_refused_with_a_way_out(kind: str) -> None:
    names, pattern = MIXED[kind]
    suggested = kept_pattern(names)
    assert suggested == pattern
    if pattern:
        chosen = in_order(matching(names, pattern))
        assert 0 < len(chosen) < len(names)
        check_names("/folder", chosen, chosen=True)


FILMS = {
    "padded": numbered("frame_{:05}.jpg", 12),
    "two suffixes of one kind": ["1.jpg", "2.JPG", "3.jpeg"],
    "words": ["a.png", "b.png", "c.png", "d.png"],
    "clock": ["1305031102.175304.png", "1305031102.211214.png", "1305031103.5.png"],
    "dates": [f"IMG_20240105_12{k:02}00.jpg" for k in range(5)],
    "minus": ["-2.png", "-1.png", "0.png", "1.png"],
    "parts": [f"shot3_{k}.png" for k in range(9)],
    "one of many chapters": [f"{c:02}-{k:02}.png" for c in range(3) for k in range(c + 4)],
}


@pytest.mark.parametrize("kind", FILMS)
def test_films_are_films(kind: str) -> None:
    check_names("/folder", in_order(FILMS[kind]), chosen=False)


def test_a_pattern_says_that_single_pictures_belong() -> None:
    names = [*numbered("frame_{}.png"), "frame_last.png"]
    kept_pattern(names)
    check_names("/folder", in_order(names), chosen=True)
    check_names("/folder", in_order(MIXED["cameras"][0]), chosen=True)  # two shots, one after the other
    kept_pattern(MIXED["rgb and depth"][0], chosen=True)  # but never two films in turn


ORDERS = [
    ["frame_2.png", "frame_10.png", "frame_100.png"],
    ["frame_1.png", "frame_02.png", "frame_010.png", "frame_0100.png"],
    ["t_-10.png", "t_-2.png", "t_0.png", "t_3.png"],
    ["-2.png", "-1.png", "0.png", "10.png"],
    ["frame-000009.color.png", "frame-000010.color.png"],  # no minus
    ["2024-01-09.png", "2024-01-10.png", "2024-02-01.png"],
    ["1305031102.175304.png", "1305031102.2.png", "1305031102.211214.png", "1305031110.0.png"],
    ["0.png", "0.033333.png", "0.066667.png", "0.1.png", "1.0.png", "1.033333.png"],
    ["t=-0.5.png", "t=0.0.png", "t=0.25.png", "t=0.5.png", "t=0.75.png", "t=10.png"],
    ["1403636579763555584.png", "1403636579813555456.png"],
    ["shot1.2.png", "shot1.10.png", "shot2.1.png"],
    ["Frame1.png", "frame2.png", "FRAME3.png"],
    ["img 1.png", "img 2.png", "img 11.png"],
]


@pytest.mark.parametrize("names", ORDERS, ids=lambda names: names[0])
def test_the_order_is_what_a_person_would_say(names: list[str]) -> None:
    assert in_order(names[::-1]) == names == in_order(names)


def test_a_number_that_stands_twice() -> None:
    with pytest.raises(InputError, match=r"two pictures of the same number, .*1\.png"):
        check_names("/folder", in_order(["01.png", "1.png", "2.png"]), chosen=False)


def test_kinds_in_turn() -> None:
    names = [f"{k}.png" for k in range(6)]
    for kinds in (
        ["8-bit colour", "16-bit grey"] * 3,
        ["8-bit colour", "8-bit palette"] * 3,
        ["8-bit colour", "16-bit grey", "8-bit grey"] * 2,
        ["8-bit colour"] * 4 + ["16-bit grey"] * 2,
    ):
        with pytest.raises(InputError, match=r"different kinds \(0\.png is 8-bit colour; \d\.png is"):
            check_kinds("/folder", names, kinds)
    check_kinds(
        "/folder", names, ["8-bit colour"] * 3 + ["8-bit grey"] * 3
    )  # writers spare colours where there are none
    check_kinds("/folder", names, ["8-bit colour"] * 6)


def test_only_the_pictures_asked_for_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "scene"
    folder.mkdir()
    for k in range(5):
        write_picture(folder / f"frame-{k:06}.color.png", k)
        write_picture(folder / f"frame-{k:06}.depth.png", 40 - k, np.uint16, grey=True)
    with pytest.raises(InputError, match=r"scene cannot be one film.*--pattern '\*\.color\.png'"):
        probe(str(folder), "v")
    info, arrays = probe(str(folder), "v", ReadOptions(pattern="*.COLOR.png"))
    assert info.num_frames == 5 and info.pattern == "*.COLOR.png"
    frames = read_frames(info, arrays["video.index"], arrays["video.pts"], 0, 5)
    assert [clips.number_of(frame) for frame in frames] == list(range(5))
    assert clips.number_of(read_numbered(str(folder), np.array([3]), (64, 48), pattern="*.color.png")[0]) == 3
    other, _ = probe(str(folder), "v", ReadOptions(pattern="*.depth.png"))
    assert other.source_sha256 != info.source_sha256
    with pytest.raises(InputError, match=r"no picture that matches --pattern '\*\.jpg'; its pictures are frame-000000"):
        probe(str(folder), "v", ReadOptions(pattern="*.jpg"))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_depth_among_frames_is_seen_without_names(tmp_path: Path, suffix: str) -> None:
    for k in range(6):
        write_picture(tmp_path / f"{k:04}{suffix}", k, np.uint16 if k % 2 else np.uint8, grey=bool(k % 2))
    with pytest.raises(InputError, match=r"8-bit colour; .* is 16-bit grey"):
        probe(str(tmp_path), "v")


def test_patterns_that_mean_nothing() -> None:
    for bad in ("", "rgb/*.png"):
        with pytest.raises(ConfigError, match="pattern"):
            ReadOptions(pattern=bad)


def test_a_pattern_finds_frame_folders_beside_videos(tmp_path: Path) -> None:
    folder = clips.frame_folder(tmp_path / "scene", 3)
    (folder / "scene.mp4").write_bytes(b"x")
    assert [item.source for item in expand_inputs([folder])[0]] == [str(folder / "scene.mp4")]
    assert [item.source for item in expand_inputs([folder], "frame*.png")[0]] == [str(folder)]
    assert [item.source for item in expand_inputs([folder], "*.jpg")[0]] == [str(folder / "scene.mp4")]
    (rejected,) = expand_inputs([f"{folder}/frame*.png"])[1]
    assert rejected.reason.endswith(f"give the folder that holds the frames: {folder} --pattern 'frame*.png'")


@pytest.mark.skipif(not CASES.is_dir(), reason="shared/cases is not beside this checkout")
@pytest.mark.parametrize(("name", "pattern"), [("seven", "*.color.png"), ("both", "*.jpg")])
def test_the_cases(name: str, pattern: str) -> None:
    with pytest.raises(InputError, match="cannot be one film") as caught:
        probe(str(CASES / name), "v")
    assert f"--pattern '{pattern}'" in str(caught.value)
    assert probe(str(CASES / name), "v", ReadOptions(pattern=pattern))[0].num_frames in (4, 5)
