"""Prompts: a file of boxes and points is read, checked, brought to the processed pixels and handed on."""

from __future__ import annotations

import json
from pathlib import Path

import clips
import numpy as np
import pytest

from geoflow.errors import ConfigError, InputError
from geoflow.segments import Prompt, VideoInfo
from geoflow.video.options import ReadOptions
from geoflow.video.probe import probe
from geoflow.video.prompts import read_prompts, with_prompts

GOOD = """
clip:
  - {object: 1, frame: 0, box: [40, 30, 120, 90]}
  - {object: 2, frame: 12, points: [[20, 8], [24.5, 8, 0]]}
"""


def test_yaml_and_json_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(GOOD)
    found = read_prompts(str(tmp_path / "p.yaml"))
    first = Prompt(1, 0, (40, 30, 120, 90))
    assert found == {"clip": (first, Prompt(2, 12, None, ((20, 8, True), (24.5, 8, False))))}
    (tmp_path / "p.json").write_text(json.dumps({"clip": [{"object": 1, "frame": 0, "box": [40, 30, 120, 90]}]}))
    assert read_prompts(str(tmp_path / "p.json")) == {"clip": (first,)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "should hold prompts by the name of their video"),
        ("[1]", "should hold prompts by the name of their video"),
        ("clip: {object: 1}", r"clip should be a list of prompts"),
        ("clip: []", "clip should be a list of prompts"),
        ("clip: [3]", r"clip\[0\] should be {object: 1"),
        ("clip: [{object: 1, box: [0, 0, 1, 1]}]", r"clip\[0\] should be"),
        ("clip: [{object: 1, frame: 0, boxes: [0, 0, 1, 1]}]", "should be {object: 1.* found {'object': 1"),
        ("clip: [{object: 1, frame: 0}]", "shows nothing: give it a box, or points"),
        ("clip: [{object: 0, frame: 0, box: [0, 0, 1, 1]}]", r"\[0\].object should be 1 to 255, found 0"),
        ("clip: [{object: 256, frame: 0, box: [0, 0, 1, 1]}]", "should be 1 to 255, found 256"),
        ("clip: [{object: 1, frame: -1, box: [0, 0, 1, 1]}]", "counted from 0; found -1"),
        ("clip: [{object: 1, frame: 0, box: [5, 0, 1, 1]}]", "left, top, right, bottom in pixels, rising"),
        ("clip: [{object: 1, frame: 0, box: [0, 0, 1]}]", "left, top, right, bottom"),
        ("clip: [{object: 1, frame: 0, box: [0, 0, 1, .nan]}]", "box should be a finite number"),
        ("clip: [{object: 1, frame: 0, points: [[1]]}]", r"points\[0\] should be x, y and"),
        ("clip: [{object: 1, frame: 0, points: [[1, 2, 3]]}]", "should be x, y and, where it lies beside"),
        ("clip: [", "is not valid YAML"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as raised:
        read_prompts(str(tmp_path / "p.yaml"))
    assert "p.yaml" in str(raised.value)


TABLE = """# marked by hand
frame,id,x,y,x2,y2,on,text
0,1,40,30,120,90,,
12,2,20,8
12,2,24.5,8,,,0
3,4,,,,,,red mug
"""


def test_a_table_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "objects.csv").write_text(TABLE)
    found = read_prompts(str(tmp_path / "objects.csv"))
    first, second = Prompt(1, 0, (40, 30, 120, 90)), Prompt(2, 12, None, ((20, 8, True), (24.5, 8, False)))
    assert found == {"": (first, second, Prompt(4, 3, text="red mug"))}
    (tmp_path / "objects.csv").write_text("video;frame;object;x;y\nclip;0;1;4;5\nother;2;1;4;5\n")
    assert read_prompts(str(tmp_path / "objects.csv")) == {
        "clip": (Prompt(1, 0, None, ((4, 5, True),)),),
        "other": (Prompt(1, 2, None, ((4, 5, True),)),),
    }
    (tmp_path / "p.yaml").write_text("clip: [{object: 4, frame: 3, text: red mug}]")
    assert read_prompts(str(tmp_path / "p.yaml")) == {"clip": (Prompt(4, 3, text="red mug"),)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "objects.csv is empty; expected the columns frame, id, x, y"),
        ("frame,id,x,y\n", "objects.csv holds no prompts"),
        ("frame,x,y\n0,1,2\n", "line 1: should have id once"),
        ("frame,id,x,y,z\n", "line 1: 'z' is no column"),
        ("\nframe,id,x,y\n0,1,2\n", "line 3: y should be a number, found ''"),
        ("frame,id,x,y\n0,one,2,3\n", "line 2: id should be a number, found 'one'"),
        ("frame,id,x,y\n0.5,1,2,3\n", "line 2: frame should be a whole number, found '0.5'"),
        ("frame,id,x,y\n0,1,2,nan\n", "line 2: y should be a number, found 'nan'"),
        ("frame,id,x,y\n0,1,2,3,4\n", "line 2: 5 values for 4 columns"),
        ("frame,id,x,y,x2,y2\n0,1,2,3,4\n", "line 2 has only one of x2 and y2"),
        ("frame,id,x,y,x2,y2\n0,1,2,3,4,9\n0,1,2,3,4,5\n", "line 3 is a second box of object 1 in frame 0"),
        ("frame,id,x,y,on\n0,1,2,3,2\n", "line 2: on should be 1, or 0"),
        ("frame,id,x,y\n0,256,2,3\n", r"line 2\.object should be 1 to 255, found 256"),
        ("frame,id,x,y,text\n0,1,2,3,mug\n", "line 2 has words and a place"),
        ("frame,id,x,y,text\n0,1,,,mug\n0,1,2,3,\n", "has text beside a box or points"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "objects.csv").write_text(text)
    with pytest.raises(ConfigError, match=message) as raised:
        read_prompts(str(tmp_path / "objects.csv"))
    assert "objects.csv" in str(raised.value)


def video(**change: int) -> VideoInfo:
    size = {"height": 24, "width": 32, "source_height": 48, "source_width": 64} | change
    return VideoInfo("clip", "/in/clip.mp4", "", 10, 30.0, **size)


def test_prompts_come_in_processed_pixels() -> None:
    index = np.arange(0, 20, 2)
    given = (Prompt(1, 4, (10, 10, 30.5, 21.5), ((0, 0, True), (63, 47, False))),)
    found = with_prompts(video(), index, given).prompts
    assert found == (Prompt(1, 4, (4.75, 4.75, 15.0, 10.5), ((-0.25, -0.25, True), (31.25, 23.25, False))),)
    assert with_prompts(video(), index, ()) == video()


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Prompt(3, 5, (0, 0, 1, 1)), "prompt of object 3 is for frame 5, which is not processed; .* the nearest is 4"),
        (Prompt(3, 40, (0, 0, 1, 1)), "frames 0 to 18 are, .* the nearest is 18"),
        (Prompt(3, 4, (0, 0, 64, 1)), r"object 3 lies at \(64, 1\), outside of the picture of 64x48"),
        (Prompt(3, 4, None, ((-1, 0, True),)), r"object 3 lies at \(-1, 0\)"),
    ],
)
def test_a_prompt_that_means_no_pixel_fails_its_video(prompt: Prompt, message: str) -> None:
    with pytest.raises(InputError, match=message):
        with_prompts(video(), np.arange(0, 20, 2), (prompt,))


def test_other_prompts_are_other_work(tmp_path: Path) -> None:
    info, arrays = probe(str(clips.write(tmp_path / "clip.mp4", 4)), "clip", ReadOptions())
    assert "prompts" not in info.content()
    one, other = (with_prompts(info, arrays["video.index"], (Prompt(1, k, (0, 0, 9, 9)),)) for k in (0, 1))
    assert one.content() != other.content() != info.content()
