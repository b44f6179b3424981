from __future__ import annotations

from pathlib import Path

import pytest

from geoflow.environments.environment import explain_failure, load_runtime_env
from geoflow.errors import ConfigError
from geoflow.files import resources

# Shortened from what Ray 2.60 raises.
_RAY = """Failed to set up runtime environment.
Could not create the actor because its associated runtime env failed to be created.
[Node 192.0.2.2] Traceback (most recent call last):
  File "runtime_env_agent.py", line 561, in _create_runtime_env_with_retry
    runtime_env_context = await asyncio.wait_for(
  File "utils.py", line 105, in check_output_cmd
    raise SubprocessCalledProcessError(
ray._private.runtime_env.utils.SubprocessCalledProcessError: Run cmd[9] failed with the following details.
Command '['python', '-m', 'pip', 'install', '-r', 'requirements.txt']' returned non-zero exit status 1.
Last 50 lines of stdout:
"""


def test_every_shipped_environment_is_readable() -> None:
    names = [path.stem for path in resources.folder("runtime_envs").glob("*.yaml")]
    assert "mediapipe" in names
    for name in names:
        env = load_runtime_env(name)
        assert all(isinstance(value, str) for value in env.get("env_vars", {}).values()), "Ray takes strings only"


def test_mediapipe_s_packages_are_pinned() -> None:
    packages = load_runtime_env("mediapipe")["pip"]["packages"]
    assert all("==" in package for package in packages)
    assert any(package.startswith("protobuf==4.") for package in packages)


def test_a_wheel_s_environments_are_found_without_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "geoflow" / "data" / "runtime_envs"
    inside.mkdir(parents=True)
    (inside / "other.yaml").write_text("pip: [six==1.16.0]\n")
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "geoflow")
    assert load_runtime_env("other") == {"pip": ["six==1.16.0"]}
    with pytest.raises(ConfigError, match=r"no 'mediapipe' in runtime_envs; there are: other"):
        load_runtime_env("mediapipe")


@pytest.mark.parametrize("text", ["- a\n- b\n", "", "just words", "1: 2\n"])
def test_a_file_that_holds_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="mapping"):
        load_runtime_env(str(path))


def test_broken_yaml_is_refused_without_running_it(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("pip: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_runtime_env(str(path))
    path.write_text("pip: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_runtime_env(str(path))


@pytest.mark.parametrize(
    ("log", "package", "advice"),
    [
        (
            "ERROR: Could not find a version that satisfies the requirement mediapipe==0.10.21 (from versions: none)\n"
            "ERROR: No matching distribution found for mediapipe==0.10.21",
            "mediapipe==0.10.21",
            "reaches the package index",
        ),
        (
            "ERROR: Could not find a version that satisfies the requirement numpy==1.26.999 (from versions: "
            + ", ".join(f"1.{i}.0" for i in range(300))
            + ")\nERROR: No matching distribution found for numpy==1.26.999",
            "numpy==1.26.999",
            "lacks the version",
        ),
        (
            "  error: subprocess-exited-with-error\n  fatal error: Python.h: No such file\n"
            "  ERROR: Failed building wheel for pytorch3d\nERROR: Failed to build pytorch3d",
            "pytorch3d",
            "runtime_env_setup",
        ),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            None,
            "free disk space",
        ),
        ("jaxlib 0.4.30 has requirement numpy>=1.26, but you have numpy 1.21.0.", "jaxlib", "runtime_env_setup"),
    ],
)
def test_the_culprit_and_its_lines_are_named(log: str, package: str | None, advice: str) -> None:
    indented = "".join(f"    Collecting something-{i}\n" for i in range(40)) + "\n".join(
        f"    {x}" for x in log.split("\n")
    )
    text = explain_failure(RuntimeError(_RAY + indented), "some")
    head, *rest = text.splitlines()
    assert head == "environment 'some' cannot be built" + (f": {package} is at fault" if package else "")
    assert advice in rest[-1]
    assert len(rest) <= 7 and max(map(len, rest)) < 300
    assert "Traceback" not in text and "Collecting" not in text


def test_a_module_that_is_missing_in_the_environment() -> None:
    text = explain_failure(ModuleNotFoundError("No module named 'flatbuffers.number_types'"), "mediapipe")
    assert "flatbuffers is at fault" in text and "add the package to runtime_envs/mediapipe.yaml" in text


def test_an_unknown_failure_shows_its_last_lines() -> None:
    text = explain_failure("something\nodd\nhappened here", "x")
    assert "happened here" in text and len(text.splitlines()) == 4


def test_credentials_of_an_index_are_not_repeated() -> None:
    text = explain_failure("ERROR: 403 for https://user:secret@index.example/simple/torch/", "x")
    assert "secret" not in text and "https://index.example/simple/torch/" in text
