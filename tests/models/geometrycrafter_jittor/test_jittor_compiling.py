"""What Jittor finds on a machine before it is imported, and what is said where something is missing; without Jittor."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

import pytest

from geoflow.errors import EnvironmentBroken
from geoflow.models.geometrycrafter_jittor import compiling

pytestmark = pytest.mark.skipif(platform.machine() not in compiling._ONEDNN, reason="Jittor has no such machine")


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a compiler and nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("g++", "sh"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    for name in ("cc_path", "nvcc_path", "use_parallel_op_compiler", "DNNLROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(compiling, "_LIBRARY_FOLDERS", ())
    monkeypatch.setattr(compiling, "_CUDA_COMPILERS", ())
    return folder


def install_onednn(root: Path, version: int) -> Path:
    library = root / "lib" / "libdnnl.so.2"
    headers = root / "include" / "oneapi" / "dnnl"
    for folder in (library.parent, headers):
        folder.mkdir(parents=True)
    library.write_bytes(b"no library")
    (headers / "dnnl_version.h").write_text(f"#define DNNL_VERSION_MAJOR {version}\n")
    (root / "include" / "dnnl.hpp").write_text("")
    return library


def test_all_that_jittor_reads_is_said_to_it(
    tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = compiling.variables(tmp_path / "home", "auto", threads=3)
    assert found["cc_path"] == str(tools / "g++")
    assert (found["nvcc_path"], found["use_mkl"], found["use_mpi"], found["gdb_path"]) == ("", "0", "0", "")
    assert (found["log_silent"], found["OMP_NUM_THREADS"]) == ("1", "3")
    assert found["use_parallel_op_compiler"] == str(min(len(os.sched_getaffinity(0)), 16))
    assert found["JITTOR_HOME"] == str(tmp_path / "home")
    assert "apt-get install libdnnl-dev" in capsys.readouterr().err


def test_the_settings_of_the_user_come_first(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tools / "clang++").symlink_to(tools / "g++")
    monkeypatch.setenv("cc_path", "clang++")
    monkeypatch.setenv("use_parallel_op_compiler", "9")
    found = compiling.variables(tmp_path / "home", "cpu", threads=1)
    assert found["cc_path"] == str(tools / "clang++") and found["use_parallel_op_compiler"] == "9"


def test_no_compiler_names_it_and_the_remedy(tools: Path, tmp_path: Path) -> None:
    (tools / "g++").unlink()
    with pytest.raises(EnvironmentBroken, match=r"no g\+\+ on this machine; apt-get install g\+\+ python3-dev"):
        compiling.variables(tmp_path, "cpu", threads=1)


def test_no_headers_name_the_place_and_the_remedy(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "include"))
    with pytest.raises(EnvironmentBroken, match=r"include has no Python\.h; apt-get install python3\.\d+-dev"):
        compiling.variables(tmp_path / "home", "cpu", threads=1)


@pytest.mark.skipif(not (Path(sysconfig.get_path("include")) / "Python.h").is_file(), reason="no headers here")
def test_headers_are_those_of_the_python_that_runs(tmp_path: Path) -> None:
    """Jittor would take the system's python3.X-config for any Python 3.X."""
    script = compiling.python_config(tmp_path)
    answers = [
        subprocess.run([script, option], capture_output=True, text=True, check=True).stdout.strip()
        for option in ("--includes", "--extension-suffix")
    ]
    assert f"-I{sysconfig.get_path('include')}" in answers[0].split()
    assert answers[1] == sysconfig.get_config_var("EXT_SUFFIX")
    assert subprocess.run([script, "--libs"], capture_output=True).returncode == 1


def test_onednn_is_placed_where_jittor_looks_for_it(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = install_onednn(tmp_path / "root", version=2)
    monkeypatch.setenv("DNNLROOT", str(tmp_path / "root"))
    monkeypatch.setattr(compiling.ctypes, "CDLL", lambda *given: None)
    home = tmp_path / "home"
    for _ in range(2):  # the second time it is there
        assert compiling.link_onednn(home)
    place = home / ".cache" / "jittor" / "mkl" / compiling._ONEDNN[platform.machine()]
    assert (place / "lib" / "libmkldnn.so").resolve() == library.resolve()
    assert (place / "include" / "dnnl.hpp").is_file() and (place / "include" / "oneapi" / "dnnl").is_dir()


def test_onednn_3_is_not_taken_and_a_broken_one_is_reported(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install_onednn(tmp_path / "three", version=3)
    monkeypatch.setenv("DNNLROOT", str(tmp_path / "three"))
    assert compiling.find_onednn() is None
    install_onednn(tmp_path / "two", version=2)
    monkeypatch.setenv("DNNLROOT", str(tmp_path / "two"))
    assert not compiling.link_onednn(tmp_path / "home")
    assert "does not load" in capsys.readouterr().err


def test_a_gpu_without_its_compiler_is_not_passed_over(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    there = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/dev/nvidiactl" or there(path))
    with pytest.raises(EnvironmentBroken, match="a GPU, and no nvcc"):
        compiling.find_nvcc(required=False)
    (tools / "nvcc").symlink_to(tools / "g++")
    assert compiling.find_nvcc(required=False) == str(tools / "nvcc")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert compiling.find_nvcc(required=False) == ""
    with pytest.raises(EnvironmentBroken, match="this process sees no GPU"):
        compiling.find_nvcc(required=True)


def test_the_cache_does_not_hang_on_the_host_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers change theirs with every start."""
    (tmp_path / "jittor_utils.py").write_text("import platform\nseen = platform.node()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    node = platform.node()
    try:
        with compiling._without_host_name():
            assert sys.modules["jittor_utils"].seen == "geoflow"
            assert platform.node() == node, "only while it is imported"
    finally:
        sys.modules.pop("jittor_utils", None)


def test_the_user_s_home_folder_is_left_alone(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jittor keeps a file there that its processes write at the same time; and the cache stays where it was."""
    monkeypatch.delenv("GEOFLOW_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "somebody"))
    home = compiling.cache_home()
    for name, value in compiling.variables(home, "cpu", threads=1).items():
        monkeypatch.setenv(name, value)
    assert os.environ["HOME"] == str(home) and compiling.cache_home() == home
    assert home.is_relative_to(tmp_path / "somebody")


def test_the_second_process_waits_for_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two cold starts at once would compile the core twice, into one folder."""
    order: list[str] = []

    def second() -> None:
        with compiling._alone(tmp_path):
            order.append("second")

    other = threading.Thread(target=second)
    with compiling._alone(tmp_path):
        other.start()
        other.join(0.3)
        order.append("first")
    other.join()
    assert order == ["first", "second"] and "waiting for it" in capsys.readouterr().err


def test_a_process_that_was_forked_meanwhile_keeps_nobody_waiting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Jittor forks its compilers while it is imported, and they stay."""
    with compiling._alone(tmp_path):
        forked = subprocess.Popen(["sleep", "60"], close_fds=False, pass_fds=_open_files(tmp_path))
    try:
        with compiling._alone(tmp_path):
            assert capsys.readouterr().err == ""
    finally:
        forked.kill()
        forked.wait()


def _open_files(folder: Path) -> tuple[int, ...]:
    links = {int(fd): os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}
    return tuple(fd for fd, path in links.items() if path.startswith(str(folder.resolve())))


def test_each_environment_has_a_cache_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    first = compiling.cache_home()
    monkeypatch.setattr(sys, "prefix", "/somewhere/else")
    assert compiling.cache_home() != first and compiling.cache_home().parent == first.parent


def test_without_jittor_the_package_is_named() -> None:
    if compiling.importlib.util.find_spec("jittor") is not None:
        pytest.skip("Jittor is installed here")
    with pytest.raises(ModuleNotFoundError, match="No module named 'jittor'"):
        compiling.import_jittor("cpu")
