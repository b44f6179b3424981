"""What Jittor needs before it is imported: a compiler, Python's headers, oneDNN where it is, and a lasting cache.

Jittor compiles its core at the first import (about four minutes of one CPU) and each kernel when it is first used. It
keeps both in a folder whose name has a digest of the host's name, and whose files hold absolute paths. So GeoFlow gives
it one folder per environment below its own cache, and no host name: containers change theirs with every start.

Jittor reads its settings from environment variables when it is imported, once per process; see `import_jittor`.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from geoflow.errors import EnvironmentBroken
from geoflow.files.resources import cache_folder

_CORE_FILES = 150  # that Jittor 1.3.11 compiles at the first import
_REPORTS_EVERY_S = 15.0
# Names of Jittor's own variables.
_COMPILER, _NVCC, _COMPILERS, _ONEDNN_USED = "cc_path", "nvcc_path", "use_parallel_op_compiler", "use_mkl"
# The name under which Jittor looks for oneDNN before it downloads one.
_ONEDNN = {"x86_64": "dnnl_lnx_2.2.0_cpu_gomp", "aarch64": "dnnl_lnx_2.2.0_cpu_gomp_aarch64"}
_LIBRARY_FOLDERS = ("/usr/lib/{machine}-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")
_CUDA_COMPILERS = ("/usr/local/cuda/bin/nvcc", "/opt/cuda/bin/nvcc")
_LIBRARY = "libdnnl.so.2"  # Jittor was written for the interface of oneDNN 2; oneDNN 3 has another one


def import_jittor(device: str = "auto", threads: int | None = None) -> Any:
    """Import Jittor, for one device and number of threads per process, and return it; compile its core if needed.

    `device` is cpu, cuda, or auto: a GPU if this process sees one. Raises EnvironmentBroken that names what the machine
    lacks and the remedy, ImportError if Jittor is not installed.
    """
    if "jittor" in sys.modules:
        return sys.modules["jittor"]
    if importlib.util.find_spec("jittor") is None:
        raise ModuleNotFoundError("No module named 'jittor'", name="jittor")
    home = cache_home()
    os.environ.update(variables(home, device, threads or len(os.sched_getaffinity(0))))
    with _alone(home), _without_host_name(), _progress(home):
        try:
            import jittor
        except ImportError:
            raise
        except Exception as error:
            raise EnvironmentBroken(
                f"Jittor does not start here: {error}; if a build was cut off, remove {home} and run again"
            ) from error
    jittor.flags.use_cuda = int(bool(os.environ[_NVCC]))
    return jittor


def cache_home() -> Path:
    """Return the folder of what this environment has compiled on this machine."""
    key = hashlib.sha256(os.path.realpath(sys.prefix).encode()).hexdigest()[:16]
    return cache_folder() / "jittor" / key


def variables(home: Path, device: str, threads: int) -> dict[str, str]:
    """Return the environment variables that Jittor reads. Raises EnvironmentBroken that says what is missing."""
    compiler = find_compiler()
    config = python_config(home)
    cores = len(os.sched_getaffinity(0))  # compiling is not bound to the threads that the stage computes with
    nvcc = "" if device == "cpu" else find_nvcc(required=device != "auto")
    return {
        _COMPILER: compiler,
        "python_config_path": str(config),
        _NVCC: nvcc,  # "" keeps Jittor from looking for one, and from downloading one
        _ONEDNN_USED: str(int(link_onednn(home))),
        "use_mpi": "0",
        "gdb_path": "",
        "log_silent": "1",  # its progress goes to stdout at the first import
        "JITTOR_HOME": str(home),
        # Each compilation is a process that would read $HOME/.cache/jittor/config.json, and write it, as others do.
        "HOME": str(home),
        "GEOFLOW_CACHE": str(cache_folder()),  # which may be below the user's own home folder
        "cache_name": "geoflow",
        _COMPILERS: os.environ.get(_COMPILERS) or str(min(cores, 16)),
        "OMP_NUM_THREADS": str(threads),
    }


def find_compiler() -> str:
    """Return the C++ compiler: $cc_path, else g++."""
    wanted = os.environ.get(_COMPILER) or "g++"
    if found := shutil.which(wanted):
        return found
    raise EnvironmentBroken(
        f"Jittor compiles its kernels, also in later runs, and there is no {wanted} on this machine; "
        "apt-get install g++ python3-dev libdnnl-dev"
    )


def python_config(home: Path) -> Path:
    """Return a script that answers as `python3-config` does, for the Python that runs.

    Jittor takes /usr/bin/python3.X-config for any Python 3.X, and finds none for a Python without one beside it.
    """
    include = sysconfig.get_path("include")
    if not (Path(include) / "Python.h").is_file():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise EnvironmentBroken(
            f"Jittor compiles against Python's headers, and {include} has no Python.h; apt-get install "
            f"python{version}-dev for the system's Python; those of pyenv, uv and conda have headers"
        )
    folders = dict.fromkeys((include, sysconfig.get_path("platinclude")))
    rows = {
        "--includes": " ".join(f"-I{folder}" for folder in folders),
        "--extension-suffix": sysconfig.get_config_var("EXT_SUFFIX"),
    }
    cases = "".join(f'  {name}) echo "{value}" ;;\n' for name, value in rows.items())
    text = f'#!/bin/sh\ncase "$1" in\n{cases}  *) exit 1 ;;\nesac\n'
    path = home / f"python{sys.version_info.major}.{sys.version_info.minor}-config"
    home.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text() != text:
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(text)
        draft.chmod(0o755)
        os.replace(draft, path)
    return path


def find_nvcc(*, required: bool) -> str:
    """Return CUDA's compiler if this process sees a GPU, else ""; `required`: a GPU must be there."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all") not in ("", "-1")
    if not (visible and os.path.exists("/dev/nvidiactl")):
        if required:
            raise EnvironmentBroken("device is cuda, and this process sees no GPU; choose auto or cpu")
        return ""
    places = [os.environ.get(_NVCC) or "nvcc", *_CUDA_COMPILERS]
    if found := next(filter(None, map(shutil.which, places)), None):
        return found
    raise EnvironmentBroken(
        "this machine has a GPU, and no nvcc with which Jittor compiles for it; install NVIDIA's CUDA toolkit "
        "(or set nvcc_path), or choose device=cpu"
    )


def find_onednn() -> tuple[Path, Path] | None:
    """Return the library of oneDNN 2 and the folder of its headers; None if they are not on this machine.

    They are looked for below $DNNLROOT, too.
    """
    if platform.machine() not in _ONEDNN:
        return None
    folders = [Path(row.format(machine=platform.machine())) for row in _LIBRARY_FOLDERS]
    if root := os.environ.get("DNNLROOT"):
        folders = [Path(root) / "lib" / f"{platform.machine()}-linux-gnu", Path(root) / "lib", *folders]
    for folder in folders:
        for headers in (folder.parent / "include", folder.parent.parent / "include"):
            if (folder / _LIBRARY).exists() and _is_version_2(headers):
                return folder / _LIBRARY, headers
    return None


def _is_version_2(headers: Path) -> bool:
    for name in ("oneapi/dnnl/dnnl_version.h", "dnnl_version.h"):
        with contextlib.suppress(OSError):
            if match := re.search(r"define\s+DNNL_VERSION_MAJOR\s+(\d+)", (headers / name).read_text()):
                return match[1] == "2"
    return False


def link_onednn(home: Path) -> bool:
    """Place this machine's oneDNN where Jittor looks for it, and return whether there is one.

    Without it, Jittor's convolutions take 60 to 90 times as long on a CPU.
    """
    found = find_onednn()
    if found is None:
        print(
            "oneDNN 2 is not on this machine, so Jittor's convolutions take 60 to 90 times as long on a CPU; "
            "apt-get install libdnnl-dev",
            file=sys.stderr,
        )
        return False
    library, headers = found
    place = home / ".cache" / "jittor" / "mkl" / _ONEDNN[platform.machine()]
    for folder in ("include", "lib", "examples"):
        (place / folder).mkdir(parents=True, exist_ok=True)
    for header in (*headers.glob("*dnnl*.h*"), headers / "oneapi"):
        _link(place / "include" / header.name, header)
    _link(place / "lib" / "libmkldnn.so", library)
    try:
        for name in ("libOpenCL.so.1", _LIBRARY):  # loaded already when a kernel asks for them by name
            if (library.parent / name).exists():
                ctypes.CDLL(str(library.parent / name), os.RTLD_GLOBAL | os.RTLD_NOW)
    except OSError as error:
        print(f"oneDNN is not used, since {library} does not load: {error}", file=sys.stderr)
        return False
    return True


def _link(place: Path, target: Path) -> None:
    if target.exists() and not (place.is_symlink() and os.readlink(place) == str(target)):
        place.unlink(missing_ok=True)
        place.symlink_to(target)


def describe() -> str:
    """Return what Jittor runs with, once it is imported, for a log."""
    import jittor

    command = [os.environ[_COMPILER], "-dumpfullversion"]
    compiler = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    where = f"CUDA by {os.environ[_NVCC]}" if os.environ[_NVCC] else "CPU"
    onednn = "with oneDNN" if os.environ[_ONEDNN_USED] == "1" else "without oneDNN"
    return f"Jittor {jittor.__version__}, {where}, {onednn}, g++ {compiler}, cache {os.environ['JITTOR_HOME']}"


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Let one process of this machine import Jittor at a time: the first one compiles its core, the others wait."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "import.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another process imports Jittor, and may compile its core; waiting for it", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # Jittor's compilers, forked meanwhile, have it open, too, and stay


@contextlib.contextmanager
def _without_host_name() -> Iterator[None]:
    """Keep the host's name out of the cache's path, which is chosen when Jittor is imported."""
    node = platform.node
    platform.node = lambda: "geoflow"
    try:
        import jittor_utils  # noqa: F401

        platform.node = node
        yield
    finally:
        platform.node = node


@contextlib.contextmanager
def _progress(home: Path) -> Iterator[None]:
    """Report on stderr how far the compilation of the core has come, if there is one."""
    ended = threading.Event()
    began = time.monotonic()

    def report() -> None:
        while not ended.wait(_REPORTS_EVERY_S):
            done = f"{compiled_files(home, '*.o')} of about {_CORE_FILES} files, {time.monotonic() - began:.0f} s"
            print(f"Jittor compiles its core, once on this machine: {done}", file=sys.stderr, flush=True)

    reporting = threading.Thread(target=report, daemon=True)
    reporting.start()
    try:
        yield
    finally:
        ended.set()
        reporting.join()


def compiled_files(home: Path, pattern: str) -> int:
    """Return how many files Jittor has compiled so far: *.o of its core, *.so of its kernels."""
    return sum(1 for _ in (home / ".cache" / "jittor").rglob(pattern))
