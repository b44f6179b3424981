"""Weights that are no model of the hub: behind a pinned URL, in a Space or a data set, or in the user's hands."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from geoflow.backends import catalogue, pins, weights
from geoflow.backends.pins import source_of
from geoflow.cluster.session import Capacity
from geoflow.doctor import facts
from geoflow.errors import ConfigError
from geoflow.files import resources
from geoflow.pipeline import Pipeline
from geoflow.planning import preflight

CONTENT = b"\x80\x02 a checkpoint as torch wrote them long ago; nobody unpickles it here"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
COMMIT = "0123456789" * 4


class Files(BaseHTTPRequestHandler):
    """Serves one file whole, one of another content, and one that ends too early."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        bodies = {"/right.ckpt": CONTENT, "/other.ckpt": b"of a later release", "/short.ckpt": CONTENT[:20]}
        if self.path not in bodies:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(bodies[self.path])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Files.asked = []
    found = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    thread = threading.Thread(target=found.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    thread.join()
    found.server_close()


STAGE = """
from dataclasses import dataclass
from geoflow.stage import Stage, param

class Hands(Stage):
    '''A stage with weights of every kind.'''
    slot, inputs, outputs = "prior", ("frames.rgb",), ("prior.points", "prior.mask", "prior.intrinsics")

    @dataclass(frozen=True)
    class Params(Stage.Params):
        mano: str = param("", "folder with MANO_RIGHT.pkl")

    def weights(self): return {"net": "", "mano": self.params.mano}

    def process(self, segment, fields): return {}
"""
HOW = "register at https://mano.example, download the models"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`registry(**weights)` has an entry `hands_net:Hands` in models.yaml with these weights, and its stage."""
    (tmp_path / "hands_net.py").write_text(STAGE)
    monkeypatch.syspath_prepend(tmp_path)
    real = resources.folder

    def make(**rows: Any) -> None:
        configs = tmp_path / "configs"
        configs.mkdir(exist_ok=True)
        entry = {"licence": "X", "commercial": False, "memory": "1 GB", "weights": rows}
        (configs / "models.yaml").write_text(json.dumps({"hands_net:Hands": entry}))
        monkeypatch.setattr(resources, "folder", lambda kind: configs if kind == "configs" else real(kind))

    return make


def url(address: str, sha256: str = SHA256) -> dict[str, str]:
    return {"url": address, "sha256": sha256}


MANO = {"manual": HOW, "folder": "mano", "files": {"MANO_RIGHT.pkl": None}}


def pipeline(**params: str) -> Pipeline:
    stages = [
        {"slot": "decode", "backend": "geoflow.stages.decode"},
        {"slot": "prior", "backend": "hands_net:Hands", "params": params},
    ]
    return Pipeline.from_dict({"name": "p", "stages": stages})


def have_mano(folder: Path, content: bytes = b"\x80\x02 a hand") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "MANO_RIGHT.pkl").write_bytes(content)
    return folder


def test_a_file_behind_a_url_is_fetched_once_and_kept_by_its_content(server: str, registry: Any) -> None:
    registry(net=url(f"{server}/right.ckpt"))
    folders = {weights.locate("hands_net:Hands", "net") for _ in range(2)}
    (folder,) = folders
    assert folder.is_relative_to(resources.cache_folder() / "weights") and Files.asked == ["/right.ckpt"]
    assert (folder / "right.ckpt").read_bytes() == CONTENT
    assert {path.name for path in folder.iterdir()} == {"right.ckpt", ".lock"}
    assert weights.problems("hands_net:Hands", {"net": ""}, deep=True) == []
    (folder / "right.ckpt").write_bytes(CONTENT + b"!")
    (line,) = weights.problems("hands_net:Hands", {"net": ""}, deep=True)
    assert "its SHA-256 is" in line and line.endswith("remove it and fetch it again")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("other.ckpt", f"expected {SHA256[:12]}"),
        ("short.ckpt", "cut short; nothing was kept|cannot be fetched"),
        ("none.ckpt", "cannot be fetched: Not Found"),
    ],
)
def test_what_is_not_the_pinned_file_is_not_kept(server: str, registry: Any, name: str, said: str) -> None:
    registry(net=url(f"{server}/{name}"))
    with pytest.raises(ConfigError, match=said):
        weights.locate("hands_net:Hands", "net")
    folder = pins.pin("hands_net:Hands", "net").folder
    assert {path.name for path in folder.iterdir()} == {".lock"}


def test_what_a_killed_download_left_is_removed(server: str, registry: Any) -> None:
    registry(net=url(f"{server}/right.ckpt"))
    folder = pins.pin("hands_net:Hands", "net").folder
    folder.mkdir(parents=True)
    (folder / "tmpabc.part").write_bytes(b"half of it")
    weights.locate("hands_net:Hands", "net")
    assert {path.name for path in folder.iterdir()} == {"right.ckpt", ".lock"}


FETCH = """
import sys
from geoflow.backends.sources import UrlFile
UrlFile({"right.ckpt": sys.argv[2]}, sys.argv[1]).fetch()
"""


@pytest.mark.long
def test_one_process_of_a_node_downloads(server: str, tmp_path: Path) -> None:
    env = os.environ | {"GEOFLOW_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", FETCH, f"{server}/right.ckpt", SHA256]
    children = [subprocess.Popen(command, env=env) for _ in range(3)]
    assert [child.wait() for child in children] == [0, 0, 0] and Files.asked == ["/right.ckpt"]


def test_a_server_that_is_away_is_told_before_work_starts(server: str, registry: Any) -> None:
    have_mano(resources.cache_folder() / "weights" / "mano")
    registry(net=url(f"{server}/right.ckpt"), mano=MANO)
    has = Capacity(2, 0, 1 << 28)
    preflight.check(pipeline(), has, alone=True)
    assert Files.asked == [], "asked whether it is there, but not for the file"
    registry(net=url("http://127.0.0.1:9/right.ckpt"), mano=MANO)
    with pytest.raises(ConfigError, match=r"prior: right\.ckpt of http://127\.0\.0\.1:9/.* models fetch hands_net"):
        preflight.check(pipeline(), has, alone=True)


def test_a_file_that_only_the_user_can_get_is_told_with_the_way_to_it(server: str, registry: Any) -> None:
    registry(net=url(f"{server}/right.ckpt"), mano=MANO)
    weights.locate("hands_net:Hands", "net")
    folder = resources.cache_folder() / "weights" / "mano"
    has = Capacity(2, 0, 1 << 28)
    for ask in (
        lambda: weights.locate("hands_net:Hands", "mano"),
        lambda: preflight.check(pipeline(), has, alone=True),
        lambda: list(catalogue.fetch_models(["hands_net:Hands"])),
    ):
        with pytest.raises(ConfigError) as refused:
            ask()
        for part in ("MANO_RIGHT.pkl should be in", str(folder), HOW, "or give the stage a folder that holds it"):
            assert part in str(refused.value)
    have_mano(folder)
    preflight.check(pipeline(), has, alone=True)
    assert weights.locate("hands_net:Hands", "mano") == folder


def test_a_folder_of_the_users_must_hold_the_very_files(tmp_path: Path, registry: Any) -> None:
    registry(mano=MANO)
    own = tmp_path / "own"
    own.mkdir()
    (line,) = weights.problems("hands_net:Hands", {"mano": str(own)})
    assert line == f"{own} lacks MANO_RIGHT.pkl: {HOW}"
    have_mano(own)
    assert weights.problems("hands_net:Hands", {"mano": str(own)}) == []
    registry(mano={**MANO, "files": {"MANO_RIGHT.pkl": SHA256}})
    (line,) = weights.problems("hands_net:Hands", {"mano": str(own)})
    assert f"expected {SHA256[:12]}" in line, "its content is always held against a digest that is stated"
    with pytest.raises(ConfigError, match="found a file; give the folder that holds it"):
        weights.locate("hands_net:Hands", "mano", str(own / "MANO_RIGHT.pkl"))


def test_other_content_of_a_users_file_is_other_work(registry: Any) -> None:
    registry(net=url("https://a.example/n.ckpt"), mano=MANO)
    folder = resources.cache_folder() / "weights" / "mano"
    seen = [pipeline().spec("prior").signature()["weights"]]
    for content in (b"one", b"another"):
        have_mano(folder, content)
        seen.append(pipeline().spec("prior").signature()["weights"])
    assert all(rows[0] == f"https://a.example/n.ckpt@sha256:{SHA256}" for rows in seen)
    assert seen[0][1] == "mano/MANO_RIGHT.pkl@sha256:absent"
    assert seen[1][1].endswith(hashlib.sha256(b"one").hexdigest()) and len({row[1] for row in seen}) == 3


def test_nodes_with_another_file_of_the_users_are_refused(
    registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node's own look at its own cache, in another folder here."""
    registry(net=MANO, mano=MANO)
    have_mano(resources.cache_folder() / "weights" / "mano", b"one")
    have_mano(tmp_path / "node" / "weights" / "mano", b"one")

    def on_a_node(look: Any, needs: Any) -> list[tuple[str, Any]]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GEOFLOW_CACHE", str(tmp_path / "node"))
            return [("node 10.0.0.2", look(needs))]

    monkeypatch.setattr(preflight, "on_every_node", on_a_node)
    preflight.check(pipeline(), Capacity(2, 0, 1 << 28), alone=False)
    have_mano(tmp_path / "node" / "weights" / "mano", b"another")
    with pytest.raises(ConfigError, match=r"weights on node 10\.0\.0\.2:\n  prior: mano/MANO.* is another file there"):
        preflight.check(pipeline(), Capacity(2, 0, 1 << 28), alone=False)


def test_nothing_is_unpickled(registry: Any, tmp_path: Path) -> None:
    """A pickle that would write a file when it is loaded."""
    registry(mano=MANO)
    mark = tmp_path / "mark"
    evil = f"cos\nsystem\n(S'touch {mark}'\ntR.".encode()
    have_mano(resources.cache_folder() / "weights" / "mano", evil)
    assert weights.problems("hands_net:Hands", {"mano": ""}, deep=True) == []
    catalogue.describe_models()
    assert weights.locate("hands_net:Hands", "mano") and not mark.exists()


def test_a_space_and_a_data_set_have_places_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    rest = {"revision": COMMIT, "files": {"a/b.ckpt": None}}
    for kind, place, identity in (
        ("repo", "models--o--n", f"o/n@{COMMIT}"),
        ("space", "spaces--o--n", f"spaces/o/n@{COMMIT}"),
        ("dataset", "datasets--o--n", f"datasets/o/n@{COMMIT}"),
    ):
        source = source_of({kind: "o/n", **rest}, "here")
        assert source.folder == tmp_path / place / "snapshots" / COMMIT and source.identity == identity


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (5, "exactly one of repo, space, dataset, url, manual, found 5"),
        ({"revision": COMMIT, "files": {"a": None}}, "exactly one of repo"),
        ({"repo": "a/b", "url": "https://a/b"}, "exactly one of repo"),
        ({"repo": "a/b"}, "lacks files, revision"),
        ({"repo": "a/b", "revision": "main", "files": {"a": None}}, "a commit of 40 hexadecimal digits, found 'main'"),
        ({"space": "a", "revision": COMMIT, "files": {"a": None}}, "space should be owner/name"),
        ({"repo": "a/b", "revision": COMMIT, "files": {}}, "a mapping of files"),
        ({"repo": "a/b", "revision": COMMIT, "files": {"../a": None}}, "a path below the folder"),
        ({"repo": "a/b", "revision": COMMIT, "files": {"/etc/a": None}}, "a path below the folder"),
        ({"repo": "a/b", "revision": COMMIT, "files": {"a": "12"}}, "64 hexadecimal digits or null"),
        ({"repo": "a/b", "revision": COMMIT, "files": {"a": None}, "sha256": SHA256}, "has unknown keys sha256; it"),
        ({"url": "https://a.example/b"}, "lacks sha256"),
        ({"url": "file:///etc/passwd", "sha256": SHA256}, r"http\(s\)://host/path"),
        ({"url": "https://a.example/", "sha256": SHA256}, "name should be a file name"),
        ({"url": "https://a.example/b", "sha256": SHA256, "name": "../b"}, "name should be a file name"),
        ({"url": "https://a.example/b", "sha256": SHA256[1:]}, "sha256 should be 64 hexadecimal digits"),
        ({"manual": "", "folder": "m", "files": {"a": None}}, "manual should be how the user gets the files"),
        ({"manual": HOW, "folder": "../m", "files": {"a": None}}, "folder should be a plain name"),
    ],
)
def test_a_row_that_cannot_work_is_a_sentence(row: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=f"here.*{said}"):
        source_of(row, "here")


def test_lists_name_every_kind_and_its_remedy(registry: Any) -> None:
    space = {"space": "o/n", "revision": COMMIT, "files": {"w.ckpt": None}}
    registry(net=url("https://a.example/n.ckpt"), hub=space, mano=MANO)
    (row,) = catalogue.describe_models()
    held = row["weights"]
    assert [held[name]["what"] for name in ("net", "hub", "mano")] == [
        "n.ckpt of a.example",
        f"spaces/o/n@{COMMIT[:8]}",
        "MANO_RIGHT.pkl, from you",
    ]
    assert held["net"]["remedy"] == "`geoflow models fetch hands_net:Hands:net` gets it"
    assert HOW in held["mano"]["remedy"]
    assert catalogue.weights_of(["hands_net:Hands:mano"])[0][:2] == ("hands_net:Hands", "mano")
    checked = catalogue.check_models(["hands_net:Hands"], deep=True)
    assert all(checked[f"hands_net:Hands:{name}"] for name in ("net", "hub", "mano"))
    for wrong in ("hands_net:Hands:nett", "moge:v9", "hands_net", ""):
        with pytest.raises(ConfigError, match="no such weights; there are: "):
            catalogue.weights_of([wrong])


def test_the_doctor_tells_what_can_be_fetched_from_what_cannot(server: str, registry: Any) -> None:
    registry(net=url(f"{server}/right.ckpt"), mano=MANO)
    needs = facts._needs(pipeline().spec("prior"), with_ray=False)
    (fetched,), (broken,) = needs.elsewhere, needs.broken
    assert "right.ckpt of" in fetched and HOW in broken and needs.missing == ()
    registry(net=url("http://127.0.0.1:9/right.ckpt"), mano=MANO)
    needs = facts._needs(pipeline().spec("prior"), with_ray=False)
    assert needs.elsewhere == () and len(needs.broken) == 2


LICENSED = """
from geoflow.stage import Stage

class Silent(Stage):
    slot, inputs, outputs = "prior", ("frames.rgb",), ("prior.points", "prior.mask", "prior.intrinsics")
    def process(self, segment, fields): return {}

class Named(Silent):
    licence = "MIT"

class Free(Silent):
    licence, commercial = "MIT", True

class Academic(Silent):
    licence, commercial = "CC-BY-NC-4.0", False

class Child(Free):
    '''With other weights, it may be.'''
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Silent", "does not state its licence; write `licence ="),
        ("Named", "does not state whether its licence allows commercial use"),
        ("Academic", "is under CC-BY-NC-4.0, which forbids commercial use"),
        ("Child", "does not state its licence"),
        ("Free", ""),
    ],
)
def test_a_class_from_elsewhere_is_judged_by_what_it_states(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "licensed.py").write_text(LICENSED)
    monkeypatch.syspath_prepend(tmp_path)
    stages = [
        {"slot": "decode", "backend": "geoflow.stages.decode"},
        {"slot": "prior", "backend": f"licensed:{name}"},
    ]
    pipe = Pipeline.from_dict({"name": "p", "stages": stages})
    if said:
        with pytest.raises(ConfigError, match=f"prior: licensed:{name} {said}"):
            catalogue.require_commercial(pipe)
    else:
        catalogue.require_commercial(pipe)
        assert pipe.to_dict()["stages"][1]["licence"] == "MIT"
