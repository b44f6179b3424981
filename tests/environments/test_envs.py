"""Environments as the command line tells of them: listed, checked, built for real."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from geoflow.environments import bare_packages, checking
from geoflow.errors import ConfigError, EnvironmentBroken
from geoflow.files import resources
from geoflow.planning import environment_building as building
from geoflow.planning import environment_listing as listing

TESTS = Path(__file__).parents[1] / "support"


def yaml_file(folder: Path, text: str) -> str:
    path = folder / "tiny.yaml"
    path.write_text(text)
    return str(path)


def tiny_wheel(folder: Path) -> Path:
    """A package of one module, as pip takes it; nothing is fetched or built for it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "geoflow_tiny-1.0-py3-none-any.whl"
    info = "geoflow_tiny-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("geoflow_tiny.py", "ANSWER = 42\n")
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: geoflow-tiny\nVersion: 1.0\n")
        wheel = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        file.writestr(f"{info}/WHEEL", wheel)
        file.writestr(f"{info}/RECORD", "")
    return path


def test_every_environment_is_listed_with_who_uses_it() -> None:
    rows = {row["environment"]: row for row in listing.list_environments()}
    assert rows.keys() == {path.stem for path in resources.folder("runtime_envs").glob("*.yaml")}
    users = [(user["pipeline"], user["slot"], user["optional"]) for user in rows["mediapipe"]["used_by"]]
    assert ("embedded", "hands", True) in users and ("manipulation-embedded", "hands", False) in users
    assert "mediapipe==0.10.21" in rows["mediapipe"]["installs"]
    assert "dlr-moge==2.0.0" in rows["moge"]["without_dependencies"] and "env_vars" in rows["moge"]["other"]
    assert listing.backends_of("moge") == ["moge"] and listing.backends_of("./other.yaml") == []


def test_every_shipped_environment_is_right_and_wanted() -> None:
    found = listing.check_environments([])
    assert found and not any(found.values()), found
    assert set(listing.users()) <= found.keys()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "should hold a mapping"),
        ("pip: [", "not valid YAML"),
        ("pip: 3\n", "Ray refuses it: runtime_env['pip'] must be"),
        ("pip: {packages: [six], pip_chek: true}\n", "Ray refuses it: runtime_env['pip'] can only have these fields"),
        ("pip: [six]\nuv: [six]\n", "Ray refuses it: The 'pip' field, 'uv' field"),
        ("env_vars: {THREADS: 1}\n", "Ray refuses it: runtime_env['env_vars'] must be"),
        ("env_var: {A: b}\n", "env_var is not an option of Ray; is env_vars meant?"),
        ("config: {setup_timeout: 3}\n", "is config.setup_timeout_seconds meant?"),
        ("pip: ['torch>=2.5', 'six=1.16']\n", "six=1.16 is not a requirement that pip can read"),
        ("uv: {packages: ['torch >> 2']}\n", "torch >> 2 is not a requirement"),
        ("without_dependencies: six==1.16.0\n", "without_dependencies should be a list"),
        (
            "without_dependencies: [six]\n",
            "six: a package installed without_dependencies is kept for later runs; pin it",
        ),
        ("without_dependencies: ['six==1.*']\n", "pin it, such as six==1.0"),
        ("without_dependencies: ['six=1']\n", "six=1 is not a requirement"),
        ("pip: ['--extra-index-url=https://me:pw@index.example/simple']\n", "holds a password"),
        ("env_vars: {HF_TOKEN: abc}\n", "env_vars.HF_TOKEN looks like a secret"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, text: str, message: str) -> None:
    (line,) = checking.problems(yaml_file(tmp_path, text))
    assert message in line and "\n" not in line and "pw@" not in line


def test_what_pip_may_be_told_is_let_through(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("# a comment\nsix==1.16.0\n\n")
    for text in (
        "pip: ['six==1.16.0; python_version < \"3.13\"', '--pre', './own.whl', 'a @ https://x.example/a.whl']\n",
        f"pip: {tmp_path / 'more.txt'}\n",
        "without_dependencies: ['a @ https://x.example/a.whl', /wheels/b.whl, 'six===1.16']\n",
        "conda: {dependencies: [python=3.10]}\n",
        "env_vars: {TOKENIZERS_PARALLELISM: 'false'}\nconfig: {setup_timeout_seconds: 60}\n",
    ):
        assert checking.problems(yaml_file(tmp_path, text)) == [], text
    assert checking.packages({"pip": str(tmp_path / "more.txt")}) == ["six==1.16.0"]
    with pytest.raises(ConfigError, match="no 'nosuch' in runtime_envs; there are: "):
        listing.check_environments(["nosuch"])


def test_an_unknown_backend_is_said_before_anything_is_built(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown backend 'nosuch'"):
        building.build(yaml_file(tmp_path, "pip: [six]\n"), ["nosuch"])


def test_keys_of_plug_ins_are_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = yaml_file(tmp_path, "fragile: six\n")
    assert "fragile is not an option of Ray" in checking.problems(path)[0]
    monkeypatch.setenv("RAY_RUNTIME_ENV_PLUGINS", '[{"class": "fragile_env.Fragile"}]')
    assert checking.problems(path) == []


def test_an_environment_s_own_bytes_are_those_that_its_model_has_not(tmp_path: Path) -> None:
    for home, files in {"around": {"a": 3, "b": 5}, "copy": {"a": 3, "b": 6, "c/d": 10}}.items():
        for name, size in files.items():
            (tmp_path / home / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / home / name).write_bytes(b"x" * size)
    (tmp_path / "copy" / "link").symlink_to(tmp_path / "copy" / "a")
    assert building.sizes(tmp_path / "copy", tmp_path / "around") == (19, 16)
    assert building.sizes(tmp_path / "copy", tmp_path / "none") == (19, 19)


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, str]], bytes]]:
    """Packages as `without_dependencies` hands them to an actor; what they do to this process ends with the test."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def pack(files: dict[str, str]) -> bytes:
        with zipfile.ZipFile(packed := io.BytesIO(), "w") as file:
            for name, text in files.items():
                file.writestr(name, text)
        return packed.getvalue()

    yield pack
    sys.modules.pop("geoflow_pinned", None)


def test_packages_without_dependencies_come_before_the_core_s(
    archive: Callable[[dict[str, str]], bytes], tmp_path: Path
) -> None:
    (tmp_path / "geoflow_pinned.py").write_text("VERSION = 'of the core'\n")
    sys.path.insert(0, str(tmp_path))
    home = bare_packages.make_importable(archive({"geoflow_pinned.py": "VERSION = 'pinned'\n"}))
    assert importlib.import_module("geoflow_pinned").VERSION == "pinned"
    assert bare_packages.make_importable(archive({"geoflow_pinned.py": "VERSION = 'pinned'\n"})) == home


def test_a_pin_that_comes_too_late_is_said(archive: Callable[[dict[str, str]], bytes]) -> None:
    with pytest.raises(
        ImportError, match="numpy cannot be listed under without_dependencies: already loaded from elsewhere"
    ):
        bare_packages.make_importable(archive({"numpy/__init__.py": "", "other/__init__.py": ""}))


@pytest.mark.env
@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_an_environment_is_built_and_its_stage_loaded(tmp_path: Path) -> None:
    wheel = tiny_wheel(tmp_path / "wheels")
    name = yaml_file(tmp_path, f"env_vars: {{TINY: '1'}}\nwithout_dependencies: [{wheel}]\n")
    built = building.build(name, ["tiny_stage:Tiny"], load=True)
    assert built.backends == ("tiny_stage:Tiny",) and built.seconds > 0
    assert built.bytes == built.own_bytes > len("ANSWER = 42\n"), "the package, and nothing of what is around it"
    assert listing.render_built(built).endswith("tiny_stage:Tiny loaded")
    with pytest.raises(EnvironmentBroken, match="is built, but tiny_stage:Other does not start in it: Value"):
        building.build(name, ["tiny_stage:Other"], load=True)
    without = yaml_file(tmp_path, "env_vars: {TINY: '2'}\n")
    assert building.build(without, ["tiny_stage:Tiny"]).loaded is False, "to import it does not take the package"
    with pytest.raises(EnvironmentBroken, match=r"tiny_stage:Tiny does not start in it(.|\n)*geoflow_tiny is at fault"):
        building.build(without, ["tiny_stage:Tiny"], load=True)


@pytest.mark.env
@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_package_that_there_is_not_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(EnvironmentBroken, match=r"geoflow-nosuch==1\.0 is at fault"):
        building.build(yaml_file(tmp_path, "without_dependencies: [geoflow-nosuch==1.0]\n"))


@pytest.mark.slow
@pytest.mark.env
@pytest.mark.ray
def test_the_command_builds_with_pip(tmp_path: Path) -> None:
    tiny_wheel(tmp_path / "wheels")
    env = os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels"), "PYTHONPATH": str(TESTS)}
    env.pop("RAY_ADDRESS", None)

    def build(package: str) -> subprocess.CompletedProcess[str]:
        name = yaml_file(tmp_path, f"pip: {{packages: [{package}], pip_install_options: [--no-deps]}}\n")
        command = [sys.executable, "-m", "geoflow", "envs", "build", name, "--backend", "tiny_stage:Tiny"]
        return subprocess.run([*command, "--load", "--json"], env=env, capture_output=True, text=True, timeout=300)

    done = build("geoflow-tiny==1.0")
    assert done.returncode == 0, done.stderr
    built = json.loads(done.stdout)
    assert built["loaded"] and 0 < built["own_bytes"] <= built["bytes"] < 50e6, "no copy of what is around it"
    done = build("geoflow-tiny==2.0")
    assert done.returncode == 2 and done.stdout == ""
    assert "geoflow-tiny==2.0 is at fault" in done.stderr and "Traceback" not in done.stderr
