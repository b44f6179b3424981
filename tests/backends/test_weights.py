"""Weights of the hub: found, fetched once, distinguished from broken files, and missed before work starts."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from geoflow.backends import pins, weights
from geoflow.backends.catalogue import check_models, describe_models, load_models, require_commercial, weights_of
from geoflow.backends.hub import HubFiles
from geoflow.cluster.session import Capacity
from geoflow.errors import ConfigError
from geoflow.pipeline import Pipeline
from geoflow.planning import preflight

NO_GPU, ONE_GPU = Capacity(2, 0, 1 << 28), Capacity(2, 1, 1 << 28)
ON_CPUS = {"prior.num_gpus": 0, "geometry.num_gpus": 0}


@pytest.fixture(autouse=True)
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "hf" / "hub"


def safetensors(path: Path) -> Path:
    """A file of one tensor of four bytes, by hand: the format is that simple."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0\0\0")
    return path


def checkpoint(path: Path) -> Path:
    """What torch saves is a zip archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model/data.pkl", b"no pickle is read here")
    return path


def fill(backend: str) -> None:
    """Have all files of a backend in the cache, whole but not the published ones."""
    for files in pins.pinned(backend).values():
        for name in files.files:
            path = files.folder / name
            if path.suffix == ".safetensors":
                safetensors(path)
            elif path.suffix == ".pt":
                checkpoint(path)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("{}")


def test_revisions_are_pinned_to_a_commit() -> None:
    held = {name: sources for name, entry in load_models().items() if (sources := entry.sources)}
    assert {"moge", "geometrycrafter"} <= set(held)
    for backend, sources in held.items():
        assert pins.pinned(backend) == sources
        for source in sources.values():
            if isinstance(source, HubFiles):
                assert len(source.revision) == 40 and int(source.revision, 16) and source.files


def test_what_is_missing_is_named_with_the_remedy(hub_cache: Path) -> None:
    (line,) = weights.problems("moge", {"v1": ""})
    assert "Ruicheng/moge-vitl at revision ad326bfb" in line and "lacks model.pt" in line
    assert str(hub_cache) in line and "geoflow models fetch moge" in line
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE forbids"):
        weights.locate("moge", "v1")


def test_files_in_the_cache_are_used() -> None:
    fill("geometrycrafter")
    pinned = pins.pinned("geometrycrafter")
    assert weights.locate("geometrycrafter", "determ") == pinned["determ"].folder
    assert weights.problems("geometrycrafter", dict.fromkeys(pinned, "")) == []


def test_broken_files_are_told(tmp_path: Path) -> None:
    fill("geometrycrafter")
    path = pins.pinned("geometrycrafter")["diff"].folder / "unet_diff" / "diffusion_pytorch_model.safetensors"
    whole = path.read_bytes()
    for torn, message in (
        (whole[:-1], "but its header states"),
        (whole[:20], "not a safetensors file, or only a part of one"),
        (b"", "not a safetensors file"),
        (whole[:8] + b"x" * (len(whole) - 8), "not a safetensors header"),
    ):
        path.write_bytes(torn)
        (line,) = weights.problems("geometrycrafter", {"diff": ""})
        assert str(path) in line and message in line and "fetch it again" in line
    own = checkpoint(tmp_path / "own" / "model.pt")
    assert weights.problems("moge", {"v1": str(own.parent)}) == []
    own.write_bytes(own.read_bytes()[:30])
    assert "only a part of one" in weights.problems("moge", {"v1": str(own.parent)})[0]


def test_content_is_checked_where_it_is_known() -> None:
    fill("moge")
    assert weights.problems("moge", {"v1": ""}) == []
    (line,) = weights.problems("moge", {"v1": ""}, deep=True)
    assert "expected da96b09a0485" in line
    fill("geometrycrafter")
    files = pins.pinned("geometrycrafter")["determ"]
    path = files.folder / "unet_determ" / "diffusion_pytorch_model.safetensors"
    blob = path.rename(files.folder / hashlib.sha256(path.read_bytes()).hexdigest())  # as the hub's cache does
    path.symlink_to(blob)
    assert weights.problems("geometrycrafter", {"determ": ""}, deep=True) == []
    path.unlink()
    path.symlink_to(blob.rename(blob.with_name("0" * 64)))
    assert "expected 000000000000" in weights.problems("geometrycrafter", {"determ": ""}, deep=True)[0]


def test_a_folder_of_the_users_must_hold_something(tmp_path: Path) -> None:
    assert "there is no such folder" in weights.problems("moge", {"v1": str(tmp_path / "none")})[0]
    (tmp_path / "empty").mkdir()
    assert "holds no weights" in weights.problems("moge", {"v1": str(tmp_path / "empty")})[0]
    with pytest.raises(ConfigError, match="there is no such folder"):
        weights.locate("moge", "v1", str(tmp_path / "none"))


def test_a_run_without_its_weights_does_not_begin() -> None:
    pipe = Pipeline.load("geometry", ON_CPUS)
    with pytest.raises(ConfigError, match=r"prior: Ruicheng/moge-vitl.*\n.*geometry: TencentARC/GeometryCrafter"):
        preflight.check(pipe, NO_GPU, alone=True)
    fill("moge")
    fill("geometrycrafter")
    preflight.check(pipe, NO_GPU, alone=True)
    preflight.check(Pipeline.load("geometry"), ONE_GPU, alone=True)
    preflight.check(Pipeline.load("embedded"), NO_GPU, alone=True)


def test_a_pipeline_for_gpus_says_that_there_are_none() -> None:
    with pytest.raises(ConfigError, match=r"needs a GPU for prior, geometry.*--set prior.num_gpus=0 --set geometry"):
        preflight.check(Pipeline.load("geometry"), NO_GPU, alone=True)


def test_licences_and_lists() -> None:
    with pytest.raises(ConfigError, match="forbids commercial use"):
        require_commercial(Pipeline.load("geometry"))
    rows = {row["backend"]: row for row in describe_models()}
    assert rows["moge"]["weights"]["v2"]["state"] == "missing" and rows["embedded.klt"]["weights"] == "none"
    fill("moge")
    assert [row[:2] for row in weights_of(["moge"])] == [("moge", "v1"), ("moge", "v2")]
    assert check_models([], deep=False) == {"moge:v1": [], "moge:v2": []}  # of what is here
    assert check_models(["geometrycrafter:base"], deep=False)["geometrycrafter:base"]
    with pytest.raises(ConfigError, match="there are: moge:v1, moge:v2"):
        weights_of(["moge:v3"])


def test_other_weights_are_other_work() -> None:
    v1, v2 = (Pipeline.load("geometry", {"prior.model_version": v}).spec("prior").signature() for v in ("v1", "v2"))
    assert v1["weights"] == [f"Ruicheng/moge-vitl@{pins.pinned('moge')['v1'].revision}"] != v2["weights"]


CONTENT = {"model.pt": b"a checkpoint", "README.md": b"not wanted"}


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as a download asks for."""

    asked: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        revision = pins.pinned("moge")["v1"].revision
        name = self.path.rpartition("/")[2]
        if "/tree/" in self.path:
            rows = [{"type": "file", "path": k, "size": len(data), "oid": "0" * 40} for k, data in CONTENT.items()]
            body = json.dumps(rows).encode()
        elif self.path.startswith("/api/models/Ruicheng/moge-vitl"):
            files = [{"rfilename": name} for name in CONTENT]
            body = json.dumps({"id": "Ruicheng/moge-vitl", "sha": revision, "siblings": files}).encode()
        elif name in CONTENT:
            body = CONTENT[name]
        else:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", revision)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[tuple[str, list[str]]]:
    Hub.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Hub.asked
    server.shutdown()
    thread.join()
    server.server_close()


FETCH = """
from geoflow.backends import hub, weights
assert hub.hub_answers()
print(weights.locate("moge", "v1"))
"""


@pytest.mark.long
def test_weights_are_fetched_once_from_the_hub(hub: tuple[str, list[str]], hub_cache: Path) -> None:
    """By the real client, against a server that speaks as much of the hub's language as it needs."""
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    address, asked = hub
    env = os.environ | {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", FETCH], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        assert (Path(done.stdout.strip()) / "model.pt").read_bytes() == CONTENT["model.pt"]
    assert sum(line.startswith("GET") and line.endswith("model.pt") for line in asked) == 1
    assert not any("README" in line for line in asked), "what the backend does not need is left there"
    assert pins.pinned("moge")["v1"].folder.is_relative_to(hub_cache)


NEEDY = """
from geoflow.stage import Stage

class Needy(Stage):
    '''A stage that needs weights which nobody has pinned.'''
    slot, inputs, outputs = "prior", ("frames.rgb",), ("prior.points", "prior.mask", "prior.intrinsics")

    def weights(self): return {"large": ""}

    def process(self, segment, fields): return {}
"""


def test_weights_that_are_not_pinned_are_a_sentence_before_work_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needy.py").write_text(NEEDY)
    monkeypatch.syspath_prepend(tmp_path)
    stages = [
        {"slot": "decode", "backend": "geoflow.stages.decode"},
        {"slot": "prior", "backend": "needy:Needy"},
    ]
    pipe = Pipeline.from_dict({"name": "p", "stages": stages})
    said = "needy:Needy needs the weights 'large', which configs/models.yaml does not pin"
    for ask in (
        pipe.fingerprint,
        lambda: weights.locate("needy:Needy", "large"),
        lambda: weights.problems("needy:Needy", {"large": ""}),
        lambda: weights.must_fetch("needy:Needy", {"large": ""}),
        lambda: preflight.check(pipe, NO_GPU, alone=True),
    ):
        with pytest.raises(ConfigError, match=said):
            ask()
    with pytest.raises(ConfigError, match=r"moge needs the weights 'v9', .* \(it has v1, v2\); add them to"):
        weights.locate("moge", "v9")


def test_an_entry_that_lacks_what_its_stage_needs_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = Pipeline.load("geometry", ON_CPUS)
    monkeypatch.setattr("actors.moge.MoGe.weights", lambda self: {"v9": ""})
    for ask in (pipe.fingerprint, pipe.to_dict):
        with pytest.raises(ConfigError, match="moge needs the weights 'v9'"):
            ask()
