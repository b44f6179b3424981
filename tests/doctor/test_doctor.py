"""The doctor's checks, on machines that are made up, and one look at this one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from geoflow import cli
from geoflow.cluster import machine
from geoflow.doctor import Facts, Finding, can_run, checks, facts, gather, judge, render_findings
from geoflow.doctor.facts import Folder, Package, StageNeeds
from geoflow.engine.gpu.nvml import GpuDevice
from geoflow.pipeline import Pipeline

GIB = 1 << 30
GOOD = Facts(
    pipeline="p",
    stages=(StageNeeds("decode", "geoflow.stages.decode"), StageNeeds("hands", "hands", optional=True, env="hands")),
    system="linux",
    python=(3, 11, 7),
    requires_python=">=3.10",
    packages=(Package("ray", ">=2.40", "2.60.0", True), Package("av", ">=17.1", "17.2", True)),
    import_errors={},
    has_pip=True,
    ffmpeg="libavcodec 62",
    decoders=frozenset({"h264", "hevc", "vp9", "libdav1d", "mpeg4", "prores"}),
    encoders=frozenset({"libx264"}),
    cores=8,
    memory=64 * GIB,
    shm_free=32 * GIB,
    folders=(Folder("Ray's sessions", "/tmp/ray", True, 500 * 10**9, 100 * 10**9),),
    gpus=(),
    hub="answers",
    ray_address="",
)
GPU = GpuDevice("NVIDIA A100", 80 * GIB, 79 * GIB)
MODEL = StageNeeds("prior", "moge", gpu=True, env="moge", installs=True)


def made(**changes: Any) -> Facts:
    return replace(GOOD, **changes)


def with_stage(**changes: Any) -> Facts:
    """A machine with a GPU, and a pipeline with one more stage."""
    return made(stages=(*GOOD.stages, replace(MODEL, **changes)), gpus=(GPU,))


# A pipeline that can do without the model whose weights are missing.
LACKING = with_stage(missing=("m@1 lacks a.pt",), optional=True)


def folder(**changes: Any) -> Facts:
    return made(folders=(replace(GOOD.folders[0], **changes),))


def test_a_machine_that_has_it_all() -> None:
    for found in (judge(GOOD), judge(with_stage())):
        assert {finding.state for finding in found} == {"ok"} and can_run(found)
        assert {finding.check for finding in found} == {
            *("python", "packages", "codecs", "machine", "shared memory"),
            *("disk", "gpus", "hub", "weights", "environments"),
        }


@pytest.mark.parametrize(
    ("found", "check", "state", "message", "remedy"),
    [
        (made(python=(3, 9, 2)), "python", "failure", "Python 3.9.2", "needs Python >=3.10"),
        (made(python=(3, 13, 0)), "python", "warning", "Python 3.13.0", "not tested beyond 3.12"),
        (made(system="darwin"), "python", "warning", "darwin", "made for Linux"),
        (made(packages=()), "packages", "warning", "not installed as a package", "pip install"),
        (
            made(packages=(Package("ray", ">=2.40", "2.9.0", False),)),
            *("packages", "failure", "ray>=2.40 is needed, found 2.9.0", "pip install --upgrade"),
        ),
        (made(packages=(Package("av", ">=17", None, False),)), "packages", "failure", "it is missing", "pip install"),
        (
            made(import_errors={"cv2": "ImportError: libGL.so.1: cannot open"}),
            *("packages", "failure", "cv2 does not load: ImportError: libGL.so.1", "the library that it lacks"),
        ),
        (made(decoders=GOOD.decoders - {"h264"}), "codecs", "failure", "no decoder for H.264", "its wheel"),
        (made(decoders=GOOD.decoders - {"libdav1d"}), "codecs", "warning", "no decoder for AV1", "its wheel"),
        (made(encoders=frozenset()), "codecs", "warning", "libx264", "its wheel"),
        (made(memory=2 * GIB), "machine", "warning", "2.0 GiB of memory", "needs 3 GiB"),
        (made(cores=1), "machine", "warning", "1 core,", "take turns"),
        (made(shm_free=64 << 20), "shared memory", "warning", "takes 19.2 GiB", "--shm-size=19.3g"),
        (folder(writable=False), "disk", "failure", "/tmp/ray cannot be written", "RAY_TMPDIR"),
        (folder(writable=False, needed=False), "disk", "warning", "cannot be written", "permissions"),
        (folder(free=10**8), "disk", "failure", "0.1 GB free", "free some space"),
        (folder(free=3 * 10**9), "disk", "warning", "3.0 GB free", "may not fit"),
        (folder(total=10**13), "disk", "warning", "99% full", "may not fit"),
        (replace(with_stage(), gpus=()), "gpus", "failure", "none; prior need one", "--set prior.num_gpus=0"),
        (
            replace(with_stage(), gpus=(replace(GPU, free=40 * GIB),)),
            "gpus",
            "warning",
            "40.0 of 80.0",
            "other processes use",
        ),
        (replace(LACKING, hub="silent"), "hub", "warning", "does not answer", "HTTPS_PROXY"),
        (replace(LACKING, hub="offline"), "hub", "warning", "HF_HUB_OFFLINE", "unset"),
        (with_stage(missing=("m@1 lacks a.pt",)), "weights", "warning", "prior: m@1 lacks a.pt", "models fetch moge"),
        (
            replace(with_stage(missing=("m@1 lacks a.pt",)), hub="silent"),
            *("weights", "failure", "prior: m@1 lacks a.pt", "where the hub answers"),
        ),
        (with_stage(broken=("a.pt: torn",)), "weights", "failure", "prior: a.pt: torn", "models check"),
        (with_stage(broken=("a.pt: torn",), optional=True), "weights", "warning", "a.pt: torn", "models check"),
        (with_stage(env_problems=("pip: odd",)), "environments", "failure", "moge: pip: odd", "envs check"),
        (
            with_stage(env_problems=("pip: odd",), optional=True),
            *("environments", "warning", "moge: pip: odd", "envs check"),
        ),
        (replace(with_stage(), has_pip=False), "environments", "failure", "which this Python lacks", "ensurepip"),
        (
            with_stage(interpreter="Python 3.12", lacks_interpreter="this machine has no Python 3.12; install it"),
            *("environments", "failure", "this machine has no Python 3.12", "install it"),
        ),
        (made(ray_address="head", ray_refusal="has no port"), "cluster", "failure", "is set: has no port", "unset it"),
        (made(ray_address="head:6379"), "cluster", "warning", "the cluster at head:6379", "unset it"),
    ],
)
def test_each_fault_is_told_with_its_remedy(found: Facts, check: str, state: str, message: str, remedy: str) -> None:
    findings = judge(found)
    (told,) = [row for row in findings if row.state == state and row.check == check]
    assert message in told.found and remedy in told.remedy
    assert can_run(findings) == (state != "failure")


def test_what_the_pipeline_does_not_need_may_be_absent() -> None:
    optional = replace(with_stage(optional=True), gpus=())
    assert can_run(judge(optional)), "a stage that may be left out needs no GPU"
    for hub in ("silent", "offline"):
        assert {row.state for row in judge(made(hub=hub)) if row.check == "hub"} == {"ok"}
    without_av = judge(made(import_errors={"av": "ImportError: x"}, decoders=frozenset(), encoders=frozenset()))
    assert [row.check for row in without_av if row.state == "failure"] == ["packages"], "one cause, one failure"
    busy = made(gpus=(replace(GPU, free=0),))
    assert {row.state for row in judge(busy)} == {"ok"}, "others may have a GPU that this pipeline does not use"
    assert can_run(judge(made(has_pip=False))), "no environment of this pipeline is made with pip"


def test_every_check_is_made() -> None:
    there = {value for name, value in vars(checks).items() if name.startswith("check_")}
    assert there == set(checks.CHECKS)


def test_a_container_s_limits_count(tmp_path: Path) -> None:
    def reading(**files: str) -> Callable[[Path], str]:
        return lambda path: files.get(path.name.replace(".", "_"), "")

    physical = machine.memory(reading())
    assert physical > GIB and machine.memory(reading(memory_max="max")) == physical
    assert machine.memory(reading(memory_max="40")) == machine.memory(reading(memory_limit_in_bytes="40")) == 40
    own = machine.cores(reading())
    assert own >= 1 and machine.cores(reading(cpu_max="max 100000")) == own
    assert machine.cores(reading(cpu_max="50000 100000")) == 1


def test_a_folder_that_is_not_there_yet_is_judged_by_what_is_above(tmp_path: Path) -> None:
    new = facts.look_at("x", tmp_path / "a" / "b")
    assert new.writable and new.free > 0 and not (tmp_path / "a").exists(), "looking makes nothing"
    (tmp_path / "file").touch()
    assert not facts.look_at("x", tmp_path / "file" / "b").writable


def test_this_machine_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = gather(Pipeline.load("geometry"))
    assert found.python == sys.version_info[:3] and found.import_errors == {}
    assert {"ray", "numpy", "av"} <= {package.name for package in found.packages}
    assert all(package.version for package in found.packages)
    assert {"h264", "hevc"} <= found.decoders and "libx264" in found.encoders
    assert "libdav1d" not in found.encoders, "it only decodes"
    assert found.cores >= 1 and found.memory > GIB and found.hub == "offline"
    needs = {stage.slot: stage for stage in found.stages}
    assert needs["prior"].gpu and needs["prior"].installs and needs["prior"].env_problems == ()
    assert "lacks model.pt" in needs["prior"].missing[0] and len(needs["geometry"].missing) == 3
    assert needs["decode"] == StageNeeds("decode", "geoflow.stages.decode")
    assert {row.path for row in found.folders} >= {str(tmp_path / "hf" / "hub"), str(Path.cwd())}
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize("module", ["ray", "av", "cv2"])
def test_a_package_that_does_not_load_is_one_failure_and_no_traceback(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setitem(sys.modules, module, None)  # importing it raises
    found = replace(gather(Pipeline.load("embedded")), folders=GOOD.folders)
    (told,) = [row for row in judge(found) if row.state == "failure"]
    assert told.found.startswith(f"{module} does not load: ModuleNotFoundError")
    assert any(row.check == "environments" for row in judge(found)) == (module != "ray")


@pytest.mark.parametrize(("changes", "status"), [({}, 0), ({"python": (3, 9, 0)}, 3), ({"cores": 1}, 0)])
def test_the_command_ends_with_status_3_when_it_cannot_run(
    changes: dict[str, Any], status: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("geoflow.doctor.gather", lambda pipeline: made(**changes))
    for options in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["geoflow", "doctor", *options])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == status
    out = capfd.readouterr().out
    found = json.loads(out.splitlines()[-1])
    assert found["pipeline"] == "embedded" and found["can_run"] == (status == 0)
    assert found["findings"] == [vars(row) for row in judge(made(**changes))]
    assert ("embedded can run here" if status == 0 else "embedded cannot run here: 1 failures") in out


def test_findings_are_shown_as_they_are(tmp_path: Path) -> None:
    console = Console(width=100, file=(tmp_path / "out").open("w+"))
    console.print(render_findings("p", [Finding("disk", "failure", "/a[b] cannot be written", "chmod [it]")]))
    console.file.seek(0)
    text = console.file.read()
    assert "/a[b] cannot be written" in text and "→ chmod [it]" in text and "p cannot run here" in text
