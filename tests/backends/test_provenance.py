"""What is behind a value: code that was edited, files and folders whose content changed under their names."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from geoflow.backends import provenance
from geoflow.files import resources
from geoflow.pipeline import Pipeline

STAGE = '''
"""One."""
from dataclasses import dataclass
from geoflow.stage import Stage, param

class Mine(Stage):
    """A docstring."""
    slot = "prior"
    inputs = ("frames.rgb",)
    outputs = ("prior.points", "prior.mask", "prior.intrinsics")

    @dataclass(frozen=True)
    class Params(Stage.Params):
        curve: str = param("", "a file with numbers")
        checkpoint: str = param("", "a folder of weights")

    def weights(self):
        return {"net": self.params.checkpoint} if self.params.checkpoint else {}

    def factor(self):
        return 2.0  # twice
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a user's own stage, importable as `mine`."""
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "mine.py"
    path.write_text(STAGE)
    yield path
    sys.modules.pop("mine", None)


def fingerprint(**params: str) -> str:
    sys.modules.pop("mine", None)  # as in a new process
    importlib.invalidate_caches()
    settings = {"prior.backend": "mine:Mine", **{f"prior.{name}": value for name, value in params.items()}}
    return Pipeline.load("embedded", settings).fingerprint()


def test_an_edited_stage_is_another_stage(module: Path) -> None:
    before = fingerprint()
    module.write_text(STAGE.replace("# twice", "# two times").replace('"A docstring."', '"Another."') + "\n\n")
    assert fingerprint() == before
    module.write_text(STAGE.replace("2.0", "3.0"))
    assert fingerprint() != before
    assert {"code"} <= Pipeline.load("embedded", {"prior.backend": "mine:Mine"}).spec("prior").signature().keys()


def test_a_file_that_a_parameter_names_counts_by_its_content(module: Path, tmp_path: Path) -> None:
    curve = tmp_path / "curve.txt"
    curve.write_text("1 2 3")
    before = fingerprint(curve=str(curve))
    curve.touch()
    assert fingerprint(curve=str(curve)) == before
    curve.write_text("1 2 4")
    assert fingerprint(curve=str(curve)) != before
    curve.unlink()
    assert fingerprint(curve=str(curve)) != before  # nobody knows what it holds


def test_a_folder_of_weights_counts_by_what_it_holds(module: Path, tmp_path: Path) -> None:
    folder = tmp_path / "net" / "deep"
    folder.mkdir(parents=True)
    (folder / "model.pt").write_bytes(b"one")
    before = fingerprint(checkpoint=str(tmp_path / "net"))
    (folder / ".lock").touch()
    assert fingerprint(checkpoint=str(tmp_path / "net")) == before
    (folder / "model.pt").write_bytes(b"two")
    assert fingerprint(checkpoint=str(tmp_path / "net")) != before


def test_a_file_that_an_environment_names_counts(tmp_path: Path) -> None:
    needs, env = tmp_path / "needs.txt", tmp_path / "env.yaml"
    env.write_text(f"pip: {needs}")
    found = []
    for text in ("a==1", "a==2"):
        needs.write_text(text)
        found.append(Pipeline.load("embedded", {"hands.env": str(env)}).fingerprint())
    assert found[0] != found[1]


def test_what_is_released_goes_by_its_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stitch = Pipeline.load("embedded").spec("stitch").stage_class()
    prior = Pipeline.load("embedded").spec("prior").stage_class()
    assert provenance.code_digest(stitch) is None and provenance.code_digest(prior) is not None
    monkeypatch.setattr(resources, "roots", lambda: [tmp_path, tmp_path / "data"])  # as installed from a wheel
    assert provenance.code_digest(prior) is None


def test_names_that_are_no_files_cost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linear").write_text("a file that happens to be called as a mode")
    assert provenance.file_digests({"mode": "linear", "n": 3, "x": ["none.txt", {"y": "a\0b.txt"}], "z": None}) == {}
