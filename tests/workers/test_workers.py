"""Workers without a model: what a backend declares is served, one shot or line by line; stdout holds JSON alone."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from geoflow.backends import loading
from geoflow.errors import ConfigError
from geoflow.workers import declaration, serving
from geoflow.workers.declaration import BackendWorker, argument, option

# A backend that is a file below actors/ and nothing else, with the contract that a mesh maker has.
MESHES = '''
import os
from dataclasses import dataclass
from geoflow.errors import InputError
from geoflow.stage import Stage, param
from geoflow.workers.declaration import BackendWorker, option


class Meshes(Stage):
    slot, inputs, outputs = "prior", ("frames.rgb",), ("prior.points", "prior.mask", "prior.intrinsics")

    @dataclass(frozen=True)
    class Params(Stage.Params):
        forgets: bool = param(False, "write no mesh")

    def setup(self):
        print("loaded by print")
        os.write(1, b"loaded past Python\\n")

    def process(self, segment, fields): return {}


class MeshWorker(BackendWorker):
    """A mesh of a picture: prints {"mesh": OUT.obj}."""

    persistent = True
    writes = ("output_mesh",)

    @dataclass(frozen=True)
    class Request:
        input_image: str = option("RGBA.png", "the picture")
        output_mesh: str = option("OUT.obj", "where to write the mesh")
        name: str | None = option("N", "what the object is called", default=None)
        config_path: str | None = option("C", "another configuration", default=None)
        save_dir: str | None = option("D", "folder for the six views", default=None)

    def read(self, request):
        if not os.path.isfile(request.input_image):
            raise InputError(f"{request.input_image} does not exist; check the path")
        return request

    def answer(self, request):
        self.log("working")
        os.write(1, b"progress past Python\\n")
        if not self.stage.params.forgets:
            with open(request.output_mesh, "w") as file:
                file.write("v 0 0 0\\n")
        found = {"mesh": request.output_mesh}
        if request.save_dir:
            found["views"] = os.path.join(request.save_dir, f"6_views_{request.name}.png")
            open(found["views"], "wb").close()
        return found
'''
SERVE = "import sys, actors; actors.__path__.append(sys.argv.pop(1)); from geoflow.cli import main; main()"


@pytest.fixture
def meshes(tmp_path: Path) -> Path:
    """The folder of that file, with a picture beside it."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "meshmaker.py").write_text(MESHES)
    (tmp_path / "in.png").write_bytes(b"a picture")
    return tmp_path


def serve(folder: Path, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SERVE, str(folder / "more"), "worker", *arguments]
    return subprocess.run(command, input=stdin, cwd=folder, env=os.environ, capture_output=True, text=True)


@pytest.mark.long
def test_a_file_below_actors_declares_its_worker(meshes: Path) -> None:
    options = ["--input_image", "in.png", "--output_mesh", "out.obj", "--name", "cup", "--save_dir", "."]
    done = serve(meshes, "meshmaker", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout == json.dumps({"mesh": "out.obj", "views": "./6_views_cup.png"}) + "\n"
    assert (meshes / "out.obj").read_text() and (meshes / "6_views_cup.png").is_file()
    logged = done.stderr.splitlines()
    assert [line for line in logged if line.startswith("[worker] ")] == [
        "[worker] loading",
        "[worker] ready",
        "[worker] working",
    ]
    assert {"loaded by print", "loaded past Python", "progress past Python"} <= set(logged)


@pytest.mark.long
def test_requests_come_line_by_line_until_stdin_ends(meshes: Path) -> None:
    right = {"input_image": "in.png", "output_mesh": "a.obj"}
    requests = [right, {**right, "input_image": "none.png"}, {"input_image": "in.png"}, {**right, "unknown": 1}]
    done = serve(meshes, "meshmaker", stdin="\n".join([*map(json.dumps, requests), "", "[]", "no JSON"]))
    first, absent, lacking, unknown, array, text = map(json.loads, done.stdout.splitlines())
    assert done.returncode == 0 and first == unknown == {"mesh": "a.obj"}
    assert absent == {"error": "none.png does not exist; check the path"}
    for reply in (lacking, array, text):
        assert 'a request is one line of JSON: {"input_image": "RGBA.png", "output_mesh": "OUT.obj"}' in reply["error"]


@pytest.mark.long
def test_what_goes_wrong_is_a_status_and_a_sentence(meshes: Path) -> None:
    needed = ("--input_image", "in.png", "--output_mesh", "out.obj")
    for arguments, status, said in (
        (("meshmaker", *needed[:2]), 2, "these arguments are required: OUT.obj"),
        (("meshmaker", *needed, "--nam", "cup"), 2, "unrecognized arguments: --nam cup"),
        (("meshmaker", "--input_image", "none.png", *needed[2:]), 2, "geoflow: none.png does not exist"),
        (("meshmaker", *needed, "--set", "forget=1"), 2, "worker.forget: no such parameter"),
        (
            ("meshmaker", *needed, "--set", "forgets=true"),
            3,
            "was not written; the model's last output was:\n  [worker] working\n  progress past Python\n",
        ),
        (
            ("embedded.klt",),
            2,
            "should declare one BackendWorker, found 0; there are: geometrycrafter, instantmesh, meshmaker, moge",
        ),
        (("nobody",), 2, "no worker 'nobody'; there are: geometrycrafter, instantmesh, meshmaker, moge"),
    ):
        done = serve(meshes, *arguments)
        assert (done.returncode, done.stdout) == (status, "") and said in done.stderr, done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.long
def test_help_comes_from_the_declaration(meshes: Path) -> None:
    listed = serve(meshes, "--help")
    assert listed.returncode == 0 and 'meshmaker       A mesh of a picture: prints {"mesh": OUT.obj}.' in listed.stdout
    own = serve(meshes, "meshmaker", "--help")
    assert own.returncode == 0 and "--save_dir D" in own.stdout and "folder for the six views" in own.stdout
    assert '"save_dir" folder for the six views' in own.stdout, "how a request looks"
    examples = own.stdout.partition("Examples:\n")[2].splitlines()
    assert len(examples) == 2 and all(line.startswith("  geoflow worker meshmaker") for line in examples)
    bare = serve(meshes)
    assert bare.returncode == 2 and "meshmaker" in bare.stdout


class Counting(BackendWorker):
    """For the conversion of values."""

    @dataclass(frozen=True)
    class Request:
        path: str = argument("FILE", "a file")
        share: float = option("S", "of it", default=1.0)
        count: int | None = option("N", "how many", default=None)
        fast: bool = option("", "less careful", default=False)


class Forgetful(BackendWorker):
    """Writes nothing."""

    writes = ("out",)

    @dataclass(frozen=True)
    class Request:
        out: str = argument("FILE", "a file")

    def answer(self, request: Any) -> dict[str, Any]:
        os.write(1, b"working\n")  # as a library does; pytest has a stdout of its own
        return {}


def test_a_log_that_is_kept_leaves_no_descriptor_open(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    worker = Forgetful(None)
    line = json.dumps({"out": str(tmp_path / "none")})
    replies = []
    for _ in range(3):
        replies.append(serving._reply(worker, line)["error"])
        held = set(os.listdir("/proc/self/fd"))
    assert replies[0] == replies[2] and replies[0].endswith(
        "(out) was not written; the model's last output was:\n  working"
    )
    serving._reply(worker, line)
    assert set(os.listdir("/proc/self/fd")) == held
    assert capfd.readouterr().err == "working\n" * 4, "all of it also reaches stderr"


def test_values_of_a_request_become_what_is_declared() -> None:
    made = declaration.request_of(Counting, {"path": "a", "share": 2, "count": None, "more": 1})
    assert dataclasses.asdict(made) == {"path": "a", "share": 2.0, "count": None, "fast": False}
    wrong: list[Any] = [[], {}, {"path": "a", "share": "x"}, {"path": "a", "fast": 1}, {"path": "a", "share": None}]
    for values in wrong:
        with pytest.raises((TypeError, ValueError, KeyError)):
            declaration.request_of(Counting, values)
    assert declaration.form(Counting).startswith('{"path": "FILE"}, with "share" of it')


def test_a_worker_is_found_by_the_name_of_its_backend() -> None:
    assert declaration.names() == ["geometrycrafter", "instantmesh", "moge"]
    assert declaration.find("moge").__module__ == loading.load("moge").__module__
    with pytest.raises(ConfigError, match=r"no worker 'mog'; there are: geometrycrafter, instantmesh, moge"):
        declaration.find("mog")
