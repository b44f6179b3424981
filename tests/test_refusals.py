"""What cannot work is refused in a sentence before Ray starts: options, settings, files, pipelines, environments."""

from __future__ import annotations

import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import clips
import numpy as np
import pytest
from plain_pipeline import PLAIN

import geoflow
from geoflow.backends import catalogue, pins
from geoflow.cli import main
from geoflow.cli.arguments import intrinsics_of, settings_of
from geoflow.errors import ConfigError, InputError
from geoflow.pipeline import Pipeline
from geoflow.values.plain import plain
from geoflow.values.yaml_text import parse_yaml, read_yaml
from geoflow.video.inputs import expand_inputs
from geoflow.video.options import ReadOptions

NAN, INF = float("nan"), float("inf")
K = np.array([[220, 0, 120], [0, 230, 160], [0, 0, 1]], np.float32)


class RayStarted(Exception):
    """Everything that is wrong should have been said before."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a clip, in which a run that gets as far as Ray is stopped."""

    def start(address: str | None) -> Any:
        raise RayStarted

    monkeypatch.setattr("geoflow.runner.ray_cluster", start)
    monkeypatch.chdir(tmp_path)
    clips.write(tmp_path / "a.mp4", 4)
    return tmp_path


# What works


@pytest.mark.parametrize(
    "options",
    [
        {"intrinsics": (K[0, 0], K[1, 1], K[0, 2], K[1, 2])},
        {"intrinsics": K},
        {"intrinsics": K.tolist()},
        {"intrinsics": np.array([220, 230, 120, 160])},
        {"size": np.array([32, 24])},
        {"size": [np.int64(32), 24.0]},
        {"fps": np.float32(7.5), "limit": np.int16(3)},
        {"fps": Fraction(30000, 1001), "limit": 4.0},
        {"limit": np.array(3)},
        {"resume": np.bool_(False), "fail_fast": np.True_, "commercial": False},
        {"pipeline": Path("p.yaml")},
        {"pipeline": np.str_("p.yaml"), "out": np.str_("o")},
        {"inputs": Path("a.mp4")},
        {"inputs": np.array(["a.mp4"])},
        {"inputs": (b"a.mp4",)},
        {"settings": {"segment.size": np.int64(16), "write.rgb": np.bool_(True), "hung_after": np.float32(60)}},
        {"settings": {np.str_("stitch.median_depth"): np.float64(3), "write.compression": np.uint8(1)}},
        {"settings": {"decode.long_side": 64.0, "stitch.median_depth": 2}},
    ],
)
def test_numpys_numbers_and_paths_work(place: Path, options: dict[str, Any]) -> None:
    (place / "p.yaml").write_text(PLAIN)
    with pytest.raises(RayStarted):
        geoflow.run(**{"inputs": "a.mp4", "out": Path("o"), "pipeline": "p.yaml"} | options)


def test_what_comes_through_the_door_is_plain() -> None:
    value = {"a": (np.float32(0.5), [np.int8(3)], Path("x")), "b": np.eye(2), "c": np.bool_(True), "d": np.str_("t")}
    found = plain(value, "value")
    assert found == {"a": [0.5, [3], "x"], "b": [[1.0, 0.0], [0.0, 1.0]], "c": True, "d": "t"}
    assert [type(found[k]) for k in "cd"] == [bool, str] and type(found["a"][0]) is float
    options = ReadOptions(fps=np.float64(3), size=(np.int32(4), 6), intrinsics=K)  # type: ignore[arg-type]
    assert (options.fps, options.size, options.intrinsics) == (3.0, (4, 6), (220.0, 230.0, 120.0, 160.0))
    assert all(type(v) in (int, float) for v in (options.fps, *options.size, *options.intrinsics))  # type: ignore[misc]


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fps": 0}, "fps should be a positive number"),
        ({"fps": NAN}, "fps should be a finite number"),
        ({"fps": INF}, "fps"),
        ({"fps": -3}, "fps should be a positive"),
        ({"fps": 1e300}, "fps should be a rate that film can have"),
        ({"fps": 1e-300}, "fps should be a rate"),
        ({"fps": True}, "fps should be a finite number"),
        ({"fps": "fast"}, "fps should be a finite number, found 'fast'"),
        ({"fps": np.array([1.0, 2.0])}, "fps"),
        ({"fps": 1 + 2j}, "fps should be a number"),
        ({"size": (0, 0)}, "size should be a positive width and height"),
        ({"size": (-4, 4)}, "size should be a positive"),
        ({"size": (64,)}, "size should be a positive"),
        ({"size": 64}, "size should be a list"),
        ({"size": (64.5, 48)}, "size should be a whole number"),
        ({"size": (10**6, 10**6)}, "size should be at least 1 and at most 16384"),
        ({"size": (NAN, 4)}, "size should be a finite"),
        ({"size": "64x48"}, "size should be a list"),
        ({"limit": 0}, "limit should be a number of frames, at least 1"),
        ({"limit": 2.5}, "limit should be a whole number"),
        ({"limit": np.float64(NAN)}, "limit should be a finite number"),
        ({"intrinsics": (-1, 1, 0, 0)}, "positive fx and fy"),
        ({"intrinsics": (1, 1, NAN, 0)}, "intrinsics should be a finite number"),
        ({"intrinsics": (1, 1, 0)}, "fx,fy,cx,cy"),
        ({"intrinsics": K.T}, "pinhole matrix without skew"),
        ({"intrinsics": K + np.array([[0, 5, 0], [0, 0, 0], [0, 0, 0]])}, "pinhole matrix without skew"),
        ({"intrinsics": "500"}, "intrinsics should be a list"),
        ({"intrinsics": {"fx": 1}}, "intrinsics should have fx, fy, cx and cy"),
        ({"masks": 5}, "masks should be a path"),
        ({"cameras": 5}, "cameras should be a path"),
        ({"cameras": "absent"}, "--cameras absent does not exist"),
        ({"cameras": "empty"}, "--cameras empty holds nothing for any of the videos; expected such as a.txt"),
        ({"scale": 1}, "name them with --cameras"),
        ({"masks": "absent"}, "--masks absent should be a folder with a folder of masks per video"),
        ({"masks": "empty"}, "--masks empty holds no folder for any of the videos; expected such as empty/a"),
        ({"settings": [1]}, "settings should be a mapping"),
        ({"settings": {1: 2}}, "settings should have texts as keys"),
        ({"settings": {"segment.size": object()}}, "segment.size should be a number, a text"),
        ({"settings": {"segment.size": {1, 2}}}, "segment.size should be a number, a text"),
        ({"pipeline": None}, "pipeline should be a path or a text"),
        ({"pipeline": 5}, "pipeline should be a path or a text"),
        ({"pipeline": ""}, "pipeline should be a path or a text"),
        ({"pipeline": "x" * 5000}, "there are: embedded"),
        ({"pipeline": "a\0b"}, "pipeline should be a path"),
        ({"resume": "false"}, "resume should be True or False, found 'false'"),
        ({"fail_fast": 3}, "fail_fast should be True or False"),
        ({"commercial": None}, "commercial should be True or False"),
        ({"address": 5}, "address should be a path or a text"),
        ({"out": ""}, "out should be a path"),
        ({"out": None}, "out should be a path"),
        ({"out": "a.mp4"}, "a.mp4 is one of the inputs"),
        ({"inputs": "frames", "out": "frames"}, "frames is one of the inputs"),
        ({"inputs": "frames", "out": "link"}, "is one of the inputs"),
        ({"out": os.fsdecode(b"\xff")}, "is not UTF-8 text"),
        ({"inputs": 5}, "inputs should be a path, or a list of paths"),
        ({"inputs": [5]}, "inputs should be paths, found int 5"),
        ({"inputs": None}, "inputs should be a path"),
    ],
)
def test_options_that_cannot_work(place: Path, options: dict[str, Any], message: str) -> None:
    (place / "empty").mkdir()
    (place / "p.yaml").write_text(PLAIN)
    clips.frame_folder(place / "frames", 3)
    (place / "link").symlink_to(place / "frames")
    with pytest.raises(ConfigError) as refused:
        geoflow.run(**{"inputs": "a.mp4", "out": "o", "pipeline": "p.yaml"} | options)
    assert message in str(refused.value) and "\n" not in str(refused.value)
    assert not (place / "o").exists()


@pytest.mark.parametrize("inputs", [[], ["a\0b"], [""], ["absent"]])
def test_inputs_that_stand_for_nothing(place: Path, inputs: list[str]) -> None:
    with pytest.raises(InputError, match="nothing to do"):
        geoflow.run(inputs, "o")


# Settings


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("write.rgb", "yes", "write.rgb: .*valid boolean, found 'yes'"),
        ("write.rgb", 1, "write.rgb: .*valid boolean, found 1"),
        ("write.compression", 1.5, "write.compression: .*valid integer.*found 1.5"),
        ("write.compression", True, "write.compression: .*valid integer, found True"),
        ("write.compression", "2", "write.compression: .*valid integer, found '2'"),
        ("write.compression", 10, "write.compression: .*less than or equal to 9, found 10"),
        ("write.compression", -1, "write.compression: .*greater than or equal to 0"),
        ("write.compression", [1], "write.compression: .*valid integer"),
        ("write.compression", None, "write.compression: .*valid integer"),
        ("stitch.median_depth", NAN, "stitch.median_depth: .*finite number"),
        ("stitch.median_depth", INF, "stitch.median_depth: .*finite number"),
        ("stitch.median_depth", -2, "stitch.median_depth: .*greater than"),
        ("decode.long_side", 0, "decode.long_side: .*greater than or equal to 1"),
        ("decode.long_side", 10**9, "decode.long_side: .*less than or equal to 16384"),
        ("write.rbg", True, "write.rbg: no such parameter; write has: .*rgb"),
        ("segment.size", 1, "segment.size: .*greater than or equal to 2"),
        ("segment.size", "8", "segment.size: .*valid integer"),
        ("segment.size", 8.5, "segment.size: .*valid integer"),
        ("segment.overlap", -1, "segment.overlap: .*greater than or equal to 0"),
        ("segment.overlap", 7, "at most half"),
        ("segment.steps", 1, "segment.steps: .*not permitted"),
        ("write.num_cpus", 0, "write.num_cpus: .*greater than 0"),
        ("write.num_cpus", INF, "write.num_cpus: .*finite"),
        ("write.weight", NAN, "write.weight"),
        ("write.num_gpus", 2, "write.num_gpus: .*less than or equal to 1"),
        ("write.actors", 1.5, "write.actors: .*valid integer"),
        ("write.optional", "no", "write.optional: .*valid boolean"),
        ("write.optional", True, "write cannot be optional: without it there is no store"),
        ("write.env", "nowhere", "no 'nowhere' in runtime_envs"),
        ("write.backend", 5, "write.backend: .*valid string"),
        ("write.backend", "embedded.klt", "slot write cannot have the backend embedded.klt, which is for slot tracks"),
        ("write.backend", "", "should be a module below actors/"),
        ("write.backend", "..x", "should be a module below actors/"),
        ("write.backend", "os:path", "should name exactly one Stage, found 0"),
        ("hung_after", INF, "hung_after: .*finite"),
        ("max_gpus", 0, "max_gpus: .*greater than or equal to 1"),
    ],
)
def test_settings_that_cannot_work(tmp_path: Path, key: str, value: Any, message: str) -> None:
    (tmp_path / "p.yaml").write_text(PLAIN)
    with pytest.raises(ConfigError, match=message):
        Pipeline.load(tmp_path / "p.yaml", {key: value})


def test_parameters_that_do_not_go_together() -> None:
    with pytest.raises(ConfigError, match=r"geometry: overlap should be at least 0 and below window_size"):
        Pipeline.load("geometry", {"geometry.overlap": 110})


@pytest.mark.parametrize(
    "value", ["[1", "*", "@x", "{", "&a [*a]", "!!python/object:os.system {}", "!!set {a}", "\x00"]
)
def test_set_that_is_no_yaml(value: str) -> None:
    with pytest.raises(ConfigError, match=r"^--set a\.b=.*not valid YAML: ") as refused:
        settings_of([f"a.b={value}"])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("-2E6", -2e6),
        ("1_000", 1000),
        ("0x1f", 31),
        (".5", 0.5),
        ("7.", 7.0),
        ("010", "010"),
        ("1:30", "1:30"),
        ("2024-02-30", "2024-02-30"),
        ("true", True),
        ("null", None),
        ("", None),
        ("a: 1", {"a": 1}),
        ("[1, two, 3.0]", [1, "two", 3.0]),
        ("-", [None]),
        ("e5", "e5"),
    ],
)
def test_values_as_yaml_1_2_has_them(text: str, value: Any) -> None:
    found = parse_yaml(text, "it")
    assert found == value and type(found) is type(value)


# Files of pipelines

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "should hold a mapping with `stages`, found NoneType"),
        (b"- a\n- b\n", "should hold a mapping with `stages`, found list"),
        (b"just text", "found str"),
        (b"name: x\nstages: []\n", "stages is empty"),
        (b"name: x\n", "stages: Field required"),
        (b"stages: [{slot: decode, backend: geoflow.stages.decode}]\n", "name: Field required"),
        (b"name: x\nstages: {a: 1}\n", "stages: Input should be a valid"),
        (b"name: x\nstages: [decode]\n", "stages.0: "),
        (b"name: [x]\nstages: []\n", "name: Input should be a valid string"),
        (b"name: x\nname: y\nstages: []\n", "the key 'name' is there twice (line 2, column 1)"),
        (b"name: x\n\tstages: []\n", "cannot start any token"),
        (b"name: x\n? [a, b]\n: c\n", "a key should be a text"),
        (b"name: \xe9t\xe9\nstages: []\n", "save it as UTF-8 text"),
        (bytes(range(256)), "save it as UTF-8 text"),
        (b"\x00" * 64, "is not valid YAML"),
        ("name: x\nstages: []\n".encode("utf-16"), "stages is empty"),
        (b"\xef\xbb\xbfname: x\nstages: []\n", "stages is empty"),
        (LAUGHS.encode(), "it holds more than 100,000 values"),
        (b"a: &a\n  b: *a\n", "an alias is used inside the value that it names"),
        (b"[" * 5000, "nested too deeply"),
        (b"name: x\nstages: []\nextra: 1\n", "extra: Extra inputs are not permitted"),
        (b"name: x\nstages: []\nsegment: 5\n", "segment: "),
        (b"name: " + b"9" * 6000 + b"\n", "is not valid YAML"),
        (b"--- 1\n--- 2\n", "is not valid YAML"),
    ],
)
def test_pipeline_files_that_cannot_work(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as refused:
        Pipeline.load(path)
    assert message in str(refused.value) and str(path) in str(refused.value)


def test_a_pipeline_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(ConfigError, match="no such file"):
        Pipeline.load(tmp_path / "folder.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path / "folder.yaml")


def test_utf_16_and_a_mark_are_read(tmp_path: Path) -> None:
    for encoding in ("utf-16", "utf-8-sig"):
        (tmp_path / "p.yaml").write_text(PLAIN, encoding=encoding)
        assert Pipeline.load(tmp_path / "p.yaml").name == "plain"


DECODE = {"slot": "decode", "backend": "geoflow.stages.decode"}
PRIOR = {"slot": "prior", "backend": "embedded.motion_stereo"}
STITCH = {"slot": "stitch", "backend": "geoflow.stages.stitch"}
WRITE = {"slot": "write", "backend": "geoflow.stages.write"}


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([STITCH, WRITE], "stitch needs frames.index, frames.time, which no stage above it gives"),
        ([DECODE, STITCH], "has no stage write, which writes stores"),
        ([DECODE, {**PRIOR, "backend": "embedded.klt"}, STITCH, WRITE], "slot prior cannot have the backend"),
        ([DECODE, STITCH, {**WRITE, "slot": "second"}, WRITE], "slot second cannot have the backend"),
        ([DECODE, STITCH, WRITE, WRITE], "slots occur more than once: write"),
        ([DECODE, STITCH, WRITE, PRIOR], "prior has no use: no stage below takes any of prior.points"),
        ([{**DECODE, "optional": True}, STITCH, WRITE], "decode cannot be optional"),
        ([{**DECODE, "slot": "De code"}, WRITE], "stages.0.slot"),
        ([{"slot": "decode", "backend": "broken_backend:Stage"}, WRITE], "cannot be imported: SyntaxError"),
    ],
)
def test_pipelines_that_cannot_work(
    place: Path, monkeypatch: pytest.MonkeyPatch, stages: list[dict[str, Any]], message: str
) -> None:
    (place / "broken_backend.py").write_text("def (:\n")
    monkeypatch.syspath_prepend(str(place))
    with pytest.raises(ConfigError) as refused:
        geoflow.run("a.mp4", "o", Pipeline.from_dict({"name": "x", "stages": stages}))
    assert message in str(refused.value)


def test_shipped_pipelines_stay_whole() -> None:
    for name in ("embedded", "geometry"):
        assert Pipeline.load(name, {"write.prior": False}).spec("write")


# Environments and models


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pipp: [numpy]", "pipp is not an option of Ray; is pip meant?"),
        ("pip: 5", "Ray refuses it: runtime_env['pip'] must be"),
        ("env_vars: {OMP_NUM_THREADS: 1}", "Ray refuses it: runtime_env['env_vars'] must be"),
        ("pip: ['six=1.16']", "six=1.16 is not a requirement that pip can read"),
        ("- a", "should hold a mapping"),
        ("pip: [", "is not valid YAML"),
        ("pip: [a]\npip: [b]", "is there twice"),
    ],
)
def test_environment_files_that_cannot_work(place: Path, text: str, message: str) -> None:
    path = place / "env.yaml"
    path.write_text(text)
    (place / "p.yaml").write_text(PLAIN)
    with pytest.raises(ConfigError) as refused:
        geoflow.run("a.mp4", "o", "p.yaml", settings={"stitch.env": str(path)})
    assert message in str(refused.value) and str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"- a", "should hold a mapping of backends, found list"),
        (b"moge: 5", "moge"),
        (b"moge: {licence: MIT, commercial: perhaps, weights: none, memory: 1 GB}", "moge: commercial: "),
        (b"moge: {licence: MIT, commercial: true, weights: {v1: {repo: a/b}}, memory: 1 GB}", "moge: weights"),
        (b"moge: {licence: MIT, commercial: true, weights: none, memory: 1 GB, size: 3}", "moge: size: "),
        (b"moge: [", "configs/models.yaml is not valid YAML"),
        (b"\xff\xfe\x00\xd8", "configs/models.yaml is not valid YAML"),
    ],
)
def test_models_files_that_cannot_work(text: bytes, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        catalogue._parsed(text, Path("configs/models.yaml"))
    assert message in str(refused.value)
    pins.parse.cache_clear()


# Files of intrinsics


@pytest.mark.parametrize(
    "data",
    [
        b"500, 510, 320, 240\n",
        b"[500, 510, 320, 240]",
        b"500 0 320\r\n0 510 240\r\n0 0 1\r\n",
        b"[[500, 0, 320], [0, 510, 240], [0, 0, 1]]",
        b"\xef\xbb\xbf500;510;320;240",
        "500 510 320 240".encode("utf-16"),
    ],
)
def test_intrinsics_in_a_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "k.txt").write_bytes(data)
    assert intrinsics_of(str(tmp_path / "k.txt")) == (500, 510, 320, 240)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected fx,fy,cx,cy or a file"),
        (b"focal: long", "should have fx, fy, cx and cy.*found focal"),
        (b"-500, 500, 1, 1", "positive fx and fy"),
        (b"nan, 500, 1, 1", "finite number"),
        (b"1e999, 500, 1, 1", "finite number"),
        (b"1 2 3 4 5 6 7 8 9", "pinhole matrix without skew"),
        (b"\xe9\xff\xfe", "save it as UTF-8 text"),
        (b"\xff\xfea", "save it as UTF-8 text"),
    ],
)
def test_intrinsics_files_that_cannot_work(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "k.txt").write_bytes(data)
    with pytest.raises(ConfigError, match=message):
        intrinsics_of(str(tmp_path / "k.txt"))


def test_intrinsics_that_are_no_file_and_no_numbers() -> None:
    for text in ("absent.txt", "x" * 5000, "\0", "1,2,3", ""):
        with pytest.raises(ConfigError, match="expected fx,fy,cx,cy"):
            intrinsics_of(text)


# Manifests


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("m.txt", b"\xef\xbb\xbfa.mp4\r\n# note\r\n\r\n"),
        ("m.txt", "a.mp4\r\n".encode("utf-16")),
        ("m.csv", b"\xef\xbb\xbfpath,label\r\na.mp4,1\r\n"),
        ("m.csv", b"label;path\r\n1;a.mp4\r\n"),
        ("m.csv", b"path\tlabel\na.mp4\t3\n"),
        ("m.csv", "path,label\na.mp4,1\n".encode("utf-16")),
    ],
)
def test_manifests_in_any_dress(tmp_path: Path, name: str, data: bytes) -> None:
    clips.write(tmp_path / "a.mp4", 2)
    (tmp_path / name).write_bytes(data)
    items, rejected = expand_inputs([str(tmp_path / name)])
    assert [item.name for item in items] == ["a"] and not rejected


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("m.csv", b"file,label\na.mp4,1\n", "should have a column named path, uri or video"),
        ("m.csv", b"", "should have a column named path"),
        ("m.csv", b"path\n\xe9.mp4\n", "save it as UTF-8"),
        ("m.txt", b"\x00\x01\x02", "check"),
        ("m.txt", b"# nothing\n", "lists no videos"),
        ("m.parquet", b"PAR1 no table", "is not a Parquet table"),
        ("m.txt", b"\xff\xfea", "save it as UTF-8"),
    ],
)
def test_manifests_that_cannot_be_read(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    items, rejected = expand_inputs([str(tmp_path / name)])
    assert not items and len(rejected) == 1 and message in rejected[0].reason


# The command


@pytest.mark.parametrize(
    "args",
    [
        ["plan", "a.mp4", "--set", "prior.working_size=[1"],
        ["run", "a.mp4", "-o", "o", "--set", "prior.working_size=*"],
        ["run", "a.mp4", "-o", "o", "--pipeline", "empty.yaml"],
        ["run", "a.mp4", "-o", "o", "--pipeline", "laughs.yaml"],
        ["run", "a.mp4", "-o", "o", "--set", "prior.backend=embedded.klt"],
        ["run", "a.mp4", "-o", "o", "--size", "0x0"],
        ["run", "a.mp4", "-o", "o", "--size", "99999x99999"],
        ["run", "a.mp4", "-o", "o", "--fps", "nan"],
        ["run", "a.mp4", "-o", "o", "--fps", "inf"],
        ["run", "a.mp4", "-o", "o", "--limit", "0"],
        ["run", "a.mp4", "-o", "o", "--intrinsics", "latin.txt"],
        ["run", "a.mp4", "-o", "o", "--masks", "absent"],
        ["run", "a.mp4", "-o", "a.mp4"],
        ["run", "a.mp4", "-o", ""],
        ["run", "zeros.txt", "-o", "o"],
        ["demo", "-o", "o", "--set", "camera.sources=0"],
        ["demo", "-o", "o", "--frames", "0"],
        ["submit", "a.mp4", "-o", "o", "--fps", "nan"],
        ["submit", "a.mp4", "-o", "o", "--set", "write.compression=99"],
        ["submit", "a.mp4", "-o", "o", "--pattern", "left/*"],
        ["plan", "a.mp4", "--pattern", "left/*"],
        ["synth", "o.mp4", "--fps", "nan"],
        ["export", "absent.h5", "--to", "ply", "-o", "o.ply", "--set", "stride=nan"],
    ],
)
def test_the_command_ends_2_with_a_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], args: list[str]
) -> None:
    (place / "empty.yaml").write_text("name: x\nstages: []\n")
    (place / "laughs.yaml").write_text(LAUGHS)
    (place / "latin.txt").write_bytes(b"\xe9")
    (place / "zeros.txt").write_bytes(bytes(20))
    monkeypatch.setattr(sys, "argv", ["geoflow", *args])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capfd.readouterr()
    assert ended.value.code == 2 and "Traceback" not in said.err and said.out == ""
    assert said.err.strip()
