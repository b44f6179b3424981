"""The judgement of the facts: pure functions that each answer one question, and say what to do if the answer is no."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from geoflow.cluster.machine import object_store
from geoflow.doctor.facts import Facts, Folder, StageNeeds
from geoflow.planning.preflight import without_gpus

State = Literal["ok", "warning", "failure"]

_GB, _GIB = 1e9, float(1 << 30)
_NEWEST_PYTHON = (3, 12)  # the tests run on 3.10 up to this version, and MediaPipe has no wheels for later ones
# The embedded pipeline takes 1.6 GB (benchmarks/memory.json), and Ray gives 30 % of the memory to its object store.
_LEAST_MEMORY = 3 * _GIB
_FULL = 0.95  # of a disk: above this Ray stops spilling
_ROOMY, _TIGHT = 5 * _GB, 0.5 * _GB  # an environment with torch takes 3 GB
_BUSY = 0.1  # of a GPU's memory used by others: above this, less is left than `gpu_memory` expects
_DECODERS = {  # by FFmpeg's names of their decoders
    "H.264": ("h264",),
    "H.265": ("hevc",),
    "VP9": ("vp9", "libvpx-vp9"),
    "AV1": ("libdav1d", "av1", "libaom-av1"),
    "MPEG-4": ("mpeg4",),
    "ProRes": ("prores",),
}


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: what was checked, the result, and what to do about it."""

    check: str
    state: State
    found: str
    remedy: str = ""


def _ok(check: str, found: str) -> Finding:
    return Finding(check, "ok", found)


def _warning(check: str, found: str, remedy: str) -> Finding:
    return Finding(check, "warning", found, remedy)


def _failure(check: str, found: str, remedy: str) -> Finding:
    return Finding(check, "failure", found, remedy)


def judge(facts: Facts) -> list[Finding]:
    """Return every finding, in the order in which a run would meet them."""
    return [finding for check in CHECKS for finding in check(facts)]


def can_run(findings: list[Finding]) -> bool:
    """Return whether the pipeline can run on this machine."""
    return all(finding.state != "failure" for finding in findings)


def check_python(facts: Facts) -> Iterator[Finding]:
    from packaging.specifiers import SpecifierSet

    version = ".".join(map(str, facts.python))
    found, newest = f"Python {version} on {facts.system}", ".".join(map(str, _NEWEST_PYTHON))
    if not SpecifierSet(facts.requires_python).contains(version, prereleases=True):
        yield _failure("python", found, f"GeoFlow needs Python {facts.requires_python}; make a new environment")
    elif facts.python[:2] > _NEWEST_PYTHON:
        yield _warning("python", found, f"not tested beyond {newest}; some environments have no wheels for it")
    elif facts.system != "linux":
        yield _warning("python", found, "GeoFlow is made for Linux, and tested only there")
    else:
        yield _ok("python", found)


def check_packages(facts: Facts) -> Iterator[Finding]:
    """Check the packages of GeoFlow's own environment: installed, new enough, and loadable."""
    again = "pip install --upgrade geoflow-video, or `pip install .` in a checkout"
    if not facts.packages:
        yield _warning("packages", "GeoFlow is not installed as a package, so versions are unknown", again)
    for package in facts.packages:
        if not package.fits:
            have = f"found {package.version}" if package.version else "it is missing"
            yield _failure("packages", f"{package.name}{package.wanted} is needed, {have}", again)
    for name, error in facts.import_errors.items():
        yield _failure("packages", f"{name} does not load: {error}", "install it again, or the library that it lacks")
    if facts.packages and all(package.fits for package in facts.packages) and not facts.import_errors:
        yield _ok("packages", ", ".join(f"{package.name} {package.version}" for package in facts.packages))


def check_codecs(facts: Facts) -> Iterator[Finding]:
    """Check which videos can be read, and whether clips can be written as `demo` does."""
    if "av" in facts.import_errors:
        return
    lacking = [kind for kind, names in _DECODERS.items() if not facts.decoders & set(names)]
    again = "install PyAV from its wheel: pip install --force-reinstall av"
    if "H.264" in lacking:
        yield _failure("codecs", f"no decoder for {', '.join(lacking)}", again)
    elif lacking:
        yield _warning("codecs", f"no decoder for {', '.join(lacking)}", again)
    else:
        yield _ok("codecs", f"decodes {', '.join(_DECODERS)} ({facts.ffmpeg})")
    if "libx264" not in facts.encoders:
        yield _warning("codecs", "no encoder libx264: `demo` and `synth` write MPEG-4 instead", again)


def check_machine(facts: Facts) -> Iterator[Finding]:
    """Check processors and memory."""
    found = f"{facts.cores} core{'s' if facts.cores > 1 else ''}, {facts.memory / _GIB:.1f} GiB of memory"
    if facts.memory < _LEAST_MEMORY:
        least = f"{_LEAST_MEMORY / _GIB:.0f} GiB"
        yield _warning("machine", found, f"the embedded pipeline needs {least}, including Ray's object store")
    elif facts.cores < 2:
        yield _warning("machine", found, "stages will take turns on one core; GeoFlow is tested on two")
    else:
        yield _ok("machine", found)


def check_shared_memory(facts: Facts) -> Iterator[Finding]:
    """Check /dev/shm, where Ray's object store lies; if it is too small the store lies on disk."""
    store = object_store(facts.memory)
    found = f"/dev/shm has {facts.shm_free / _GIB:.1f} GiB free, Ray's object store takes {store / _GIB:.1f} GiB"
    if facts.shm_free < store:
        remedy = f"Ray will use the disk, which is slow; in a container: --shm-size={store / _GIB + 0.1:.1f}g"
        yield _warning("shared memory", found, remedy)
    else:
        yield _ok("shared memory", found)


def check_folders(facts: Facts) -> Iterator[Finding]:
    for folder in facts.folders:
        yield _folder(folder)


def _folder(folder: Folder) -> Finding:
    full = 1 - folder.free / max(folder.total, 1)
    found = f"{folder.purpose}: {folder.path}, {folder.free / _GB:.1f} GB free, {full:.0%} full"
    remedy = {
        "Ray's sessions": "or set RAY_TMPDIR to another disk",
        "GeoFlow's cache": "or set GEOFLOW_CACHE",
        "the hub's cache": "or set HF_HOME",
    }.get(folder.purpose, "or write elsewhere with -o")
    bad: State = "failure" if folder.needed else "warning"
    if not folder.writable:
        unwritable = f"{folder.purpose}: {folder.path} cannot be written"
        return Finding("disk", bad, unwritable, f"change its permissions, {remedy}")
    if folder.free < _TIGHT:
        return Finding("disk", bad, found, f"free some space, {remedy}")
    if full > _FULL or folder.free < _ROOMY:
        return _warning("disk", found, f"environments and stores may not fit: free some space, {remedy}")
    return _ok("disk", found)


def check_gpus(facts: Facts) -> Iterator[Finding]:
    """Check the GPUs that the pipeline needs, and whether others use them."""
    needing = [stage.slot for stage in facts.stages if stage.gpu and not stage.optional]
    if not facts.gpus and needing:
        yield _failure("gpus", f"none; {', '.join(needing)} need one", without_gpus(needing))
    elif not facts.gpus:
        yield _ok("gpus", "none, and the pipeline needs none")
    for index, gpu in enumerate(facts.gpus):
        found = f"GPU {index}: {gpu.name}, {gpu.free / _GIB:.1f} of {gpu.total / _GIB:.1f} GiB free"
        if needing and gpu.free < (1 - _BUSY) * gpu.total:
            yield _warning("gpus", found, "other processes use it: end them, or exclude it with CUDA_VISIBLE_DEVICES")
        else:
            yield _ok("gpus", found)


def check_hub(facts: Facts) -> Iterator[Finding]:
    """Check the source of weights."""
    found = {
        "answers": "the Hugging Face hub answers",
        "silent": "the Hugging Face hub does not answer",
        "offline": "the Hugging Face hub is not used: HF_HUB_OFFLINE is set",
    }[facts.hub]
    if facts.hub == "answers" or not any(stage.missing for stage in facts.stages):
        yield _ok("hub", found if facts.hub == "answers" else f"{found}; nothing has to be fetched")
    else:
        remedy = (
            "set HTTPS_PROXY or HF_ENDPOINT if you have a proxy or a mirror"
            if facts.hub == "silent"
            else "unset HF_HUB_OFFLINE"
        )
        yield _warning("hub", found, remedy)


def check_weights(facts: Facts) -> Iterator[Finding]:
    """Check the weights that the pipeline's models need with its parameters."""
    right = True
    for stage in facts.stages:
        bad: State = "warning" if stage.optional else "failure"
        fetch = f"`geoflow models fetch {stage.backend}`"
        for line in stage.broken:
            right = False
            yield Finding("weights", bad, f"{stage.slot}: {line}", "`geoflow models check` looks at them again")
        for line in stage.elsewhere:
            right = False
            yield _warning("weights", f"{stage.slot}: {line}", f"the run fetches it, or {fetch} now")
        for line in stage.missing:
            right = False
            if facts.hub == "answers":
                yield _warning("weights", f"{stage.slot}: {line}", f"the run fetches it, or {fetch} now")
            else:
                remedy = f"{fetch} on a machine where the hub answers, then copy its cache here (HF_HOME)"
                yield Finding("weights", bad, f"{stage.slot}: {line}", remedy)
    if right:
        yield _ok("weights", "all weights that the pipeline needs are here")


def check_environments(facts: Facts) -> Iterator[Finding]:
    """Check that environments' files are valid and their tools exist; only building them shows more."""
    by_env: dict[str, list[StageNeeds]] = {}
    for stage in facts.stages:
        if stage.env:
            by_env.setdefault(stage.env, []).append(stage)
    for env, stages in by_env.items():
        bad: State = "warning" if all(stage.optional for stage in stages) else "failure"
        for line in stages[0].env_problems:
            yield Finding("environments", bad, f"{env}: {line}", "correct its file; see `geoflow envs check`")
        if stages[0].installs and not facts.has_pip:
            found = f"{env} is made with pip, which this Python lacks"
            yield Finding("environments", bad, found, "python -m ensurepip")
            continue
        if stages[0].lacks_interpreter:
            found, _, remedy = stages[0].lacks_interpreter.partition("; ")
            yield Finding("environments", bad, found, remedy)
        elif not stages[0].env_problems and "ray" not in facts.import_errors:  # Ray reads the files
            within = f", its stages run in {stages[0].interpreter}" if stages[0].interpreter else ""
            yield _ok("environments", f"{env}: its file is valid{within}; `geoflow envs build {env}` tries it")


def check_address(facts: Facts) -> Iterator[Finding]:
    if facts.ray_refusal:
        yield Finding("cluster", "failure", f"RAY_ADDRESS is set: {facts.ray_refusal}", "correct it, or unset it")
    elif facts.ray_address:
        found = f"RAY_ADDRESS is set: runs join the cluster at {facts.ray_address}"
        yield _warning("cluster", found, "these checks are about this machine only; unset it to run here")


CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    check_python,
    check_packages,
    check_codecs,
    check_machine,
    check_shared_memory,
    check_folders,
    check_gpus,
    check_hub,
    check_weights,
    check_environments,
    check_address,
)
