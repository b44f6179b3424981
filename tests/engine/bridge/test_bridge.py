"""A stage in a child process: it does what it does in the actor, whatever it prints, and however it or others end."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from bridged_stages import Counting, Foreign, Weighted, Whole, all_gone, is_running

from geoflow.backends import contract, loading
from geoflow.engine.actor.wire import unpack
from geoflow.engine.actor.worker import StageWorker, classify, describe
from geoflow.engine.bridge.abroad import abroad
from geoflow.engine.bridge.foreign_meter import ForeignMeter
from geoflow.engine.bridge.remote_errors import ChildDied, InterpreterBroken
from geoflow.engine.calls import ask, make_jobs, read_answer
from geoflow.engine.schedule import Kind
from geoflow.environments.interpreter import Interpreter
from geoflow.errors import ConfigError, EnvironmentBroken, InputError, StageError
from geoflow.segments import Segment, Span, VideoInfo
from geoflow.stage import SegmentRecord, Stage
from geoflow.store.paths import RunPaths

pytestmark = pytest.mark.long  # each starts a process

HERE = Interpreter(path=sys.executable)
VIDEO = VideoInfo("v", "v.mp4", "", 6, 30.0, 48, 64, 48, 64)
SEGMENT = Segment(VIDEO, 0, 0, 6)
GIVEN = {"frames.rgb": np.arange(6 * 48 * 64 * 3, dtype=np.uint8).reshape(6, 48, 64, 3)}
Make = Callable[..., Any]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Stage] = []

    def start(kind: type[Stage] = Foreign, **params: Any) -> Any:
        stage = abroad(kind, loading.name_of(kind), HERE, "here")(kind.Params(**params))
        made.append(stage)
        stage.setup()
        return stage

    yield start
    for stage in made:
        stage.teardown()


def test_results_are_those_of_the_stage_itself_and_its_model_loads_once(make: Make) -> None:
    stage, own = make(), Foreign()
    expected = own.process(SEGMENT, GIVEN)
    for _ in range(3):
        found = stage.process(SEGMENT, GIVEN)
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            assert found[name].dtype == array.dtype and np.array_equal(found[name], array)
    where = stage._ask("where")
    assert where["pid"] != os.getpid() and (where["pid"],) == stage.processes() and where["setups"] == 1
    assert {"numpy", "geoflow"} <= set(where["modules"])
    assert not {"ray", "yaml", "pydantic", "cv2", "scipy", "h5py"} & set(where["modules"])


def test_a_stage_is_warmed_without_its_model_and_what_it_prints_is_told(make: Make) -> None:
    lines: list[str] = []
    stage = make()
    stage.listener, stage.threads = lines.append, 3
    stage.warm()
    deadline = time.monotonic() + 10
    while not lines and time.monotonic() < deadline:
        time.sleep(0.01)
    assert lines == ["warmed with 3 threads"]
    broken = abroad(Foreign, loading.name_of(Foreign), HERE, "here")(Foreign.Params(mode="warm"))
    with pytest.raises(EnvironmentBroken, match="no compiler; apt-get install g"):
        broken.warm()
    broken.teardown()


def test_declarations_stay() -> None:
    kind = abroad(Foreign, "bridged_stages:Foreign", HERE, "here")
    stage = kind(Foreign.Params(cheap=True))
    assert (kind.__module__, kind.__name__) == ("bridged_stages", "Foreign") and isinstance(stage, Foreign)
    assert stage.ladder == Foreign.ladder and stage.outputs == Foreign.outputs and stage.processes() == ()
    assert type(stage)(dataclasses.replace(stage.params, mode="x")).params.mode == "x"


def test_what_it_keeps_of_one_call_is_not_changed_by_the_next(make: Make) -> None:
    stage = make()
    first = stage._ask("keep", np.full(100_000, 1.0))
    second = stage._ask("keep", np.full(100_000, 2.0))
    assert (first == 1.0).all() and (second == 2.0).all()
    assert stage._ask("sums") == [100_000.0, 200_000.0]


def test_prints_of_any_kind_reach_the_log_with_the_stage_s_name(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    stage = make(mode="print")
    stage.process(SEGMENT, GIVEN)
    stage.teardown()
    out, log = capfd.readouterr()
    assert out == ""
    for line in ("a plain line", '{"p": "no message"}a line from C', "not � text"):
        assert f"[prior] {line}" in log
    assert all(row.startswith("[prior] ") for row in log.split("\n") if row)


@pytest.mark.parametrize(("mode", "kind"), [("raise", Kind.STAGE), ("input", Kind.INPUT), ("memory", Kind.MEMORY)])
def test_errors_are_described_as_in_the_actor(make: Make, mode: str, kind: Kind) -> None:
    own = Foreign(Foreign.Params(mode=mode))
    stage = make(mode=mode)
    found = []
    for each in (own, stage):
        with pytest.raises(Exception) as caught:
            each.process(SEGMENT, GIVEN)
        found.append(caught.value)
    assert classify(found[0]) == classify(found[1]) == kind
    assert describe(found[0]).message == describe(found[1]).message
    assert "in _misbehave" in describe(found[1]).traceback, "where in the child"
    assert is_running(*stage.processes()), "an error is no reason to load the model again"


def test_numpy_s_own_lack_of_memory_is_one(make: Make) -> None:
    with pytest.raises(MemoryError) as caught:
        make(mode="numpy-memory").process(SEGMENT, GIVEN)
    assert classify(caught.value) is Kind.MEMORY


def test_an_answer_that_cannot_be_sent_is_an_error_and_the_next_call_works(make: Make) -> None:
    stage = make()
    with pytest.raises(StageError, match="only arrays of numbers"):
        stage._ask("objects")
    with pytest.raises(StageError, match="only arrays of numbers"):
        stage._ask("doubled", {"a": np.array([None])})
    assert stage._ask("doubled", {"a": np.arange(3)})["a"].tolist() == [0, 2, 4]


def test_the_state_of_ordered_stages_passes(make: Make) -> None:
    stage, own = make(Counting), Counting()
    own.setup()
    for each in (own, stage):
        each.restore({})
    given = {"frames.index": np.arange(4)}
    for each in (own, stage):
        each.process(SEGMENT, given)
    expected, found = own.state(), stage.state()
    assert found["name"] == "one" and type(found["sum"]) is type(expected["sum"]) and found["sum"] == expected["sum"]
    assert np.array_equal(found["last"], expected["last"])
    other = make(Counting)
    other.restore(found)
    other.process(SEGMENT, given)
    record = SegmentRecord(0, 0, 6, "complete", {}, {})
    assert other.finish(VIDEO, [record], meshes={}) == {"sum": 12, "segments": [0], "more": ["meshes"]}


def test_a_survey_reads_the_actor_s_frames(make: Make) -> None:
    pieces = [{"frames.index": np.arange(k, k + 2), "frames.rgb": np.full((2, 9, 9, 3), k)} for k in (0, 2, 4)]
    reads = []

    def read() -> Iterator[dict[str, np.ndarray]]:
        reads.append(len(reads))
        yield from pieces

    found = make(Whole).survey(Span(VIDEO, "video", 0, 0, 6, 0, 0), read)
    assert found["index"].tolist() == [0, 1, 2, 3, 4, 5] and len(reads) == 2


def test_an_error_of_reading_stays_the_actor_s_own(make: Make) -> None:
    class Odd(InputError):
        pass

    def read() -> Iterator[dict[str, np.ndarray]]:
        yield {"frames.index": np.arange(2), "frames.rgb": np.zeros((2, 9, 9, 3))}
        raise Odd("frame 2 is gone")

    stage = make(Whole)
    with pytest.raises(Odd, match="frame 2 is gone"):
        stage.survey(Span(VIDEO, "video", 0, 0, 6, 0, 0), read)
    assert is_running(*stage.processes())


@pytest.mark.parametrize(
    ("mode", "how"), [("kill", "killed by SIGKILL"), ("crash", "killed by SIGSEGV"), ("exit", "exit status 7")]
)
def test_a_child_s_death_is_reported_with_its_last_words(make: Make, tmp_path: Path, mode: str, how: str) -> None:
    note = tmp_path / "pids"
    stage = make(mode=mode, note=str(note), once=str(tmp_path / "once"))
    with all_gone() as pids:
        with pytest.raises(ChildDied, match=how) as caught:
            stage.process(SEGMENT, GIVEN)
        pids += map(int, note.read_text().split())
    assert classify(caught.value) is Kind.DIED and describe(caught.value).message == str(caught.value)
    assert mode != "crash" or "| the last words" in str(caught.value)
    assert np.array_equal(
        stage.process(SEGMENT, GIVEN)["prior.points"], Foreign().process(SEGMENT, GIVEN)["prior.points"]
    )


def test_a_child_that_the_system_killed_for_memory_is_out_of_memory(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = make(mode="kill")
    monkeypatch.setattr("geoflow.engine.bridge.child_process._oom_kills", lambda: 10**9)
    with pytest.raises(MemoryError, match="out of memory"):
        stage.process(SEGMENT, GIVEN)


def test_teardown_leaves_nothing_behind(make: Make, tmp_path: Path) -> None:
    note = tmp_path / "pids"
    stage = make(note=str(note))
    with all_gone() as pids:
        stage.process(SEGMENT, GIVEN)
        pids += map(int, note.read_text().split())
        assert all(map(is_running, pids)) and len(pids) == 3
        stage.teardown()


ACTOR = """
import sys, threading
import numpy as np
from bridged_stages import Foreign
from geoflow.engine.bridge.abroad import abroad
from geoflow.environments.interpreter import Interpreter
from test_bridge import GIVEN, SEGMENT

stage = abroad(Foreign, "bridged_stages:Foreign", Interpreter(path=sys.executable), "here")
stage = stage(Foreign.Params(mode="hang", note=sys.argv[1]))
made = threading.Thread(target=stage.setup)  # the thread that starts the child may end before the process
made.start()
made.join()
stage.process(SEGMENT, GIVEN)
"""


@pytest.mark.parametrize("ended", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_actor_is_ended_while_foreign_code_holds_the_child(
    tmp_path: Path, ended: signal.Signals
) -> None:
    note = tmp_path / "pids"
    path = os.pathsep.join([str(Path(__file__).parents[2] / "support"), str(Path(__file__).parent)])
    actor = subprocess.Popen([sys.executable, "-c", ACTOR, str(note)], env={**os.environ, "PYTHONPATH": path})
    with all_gone() as pids:
        deadline = time.monotonic() + 60
        while len(pids) < 3 and time.monotonic() < deadline and actor.poll() is None:
            time.sleep(0.05)
            pids[:] = map(int, note.read_text().split()) if note.exists() else []
        assert all(map(is_running, pids)) and len(pids) == 3
        actor.send_signal(ended)
        actor.wait(20)


@pytest.mark.parametrize("victim", ["guard", "stage"])
def test_nothing_is_left_when_any_of_the_child_s_processes_is_killed(make: Make, tmp_path: Path, victim: str) -> None:
    note = tmp_path / "pids"
    stage = make(note=str(note))
    stage.process(SEGMENT, GIVEN)
    with all_gone() as pids:
        pids += map(int, note.read_text().split())
        os.kill(pids[1 if victim == "guard" else 0], signal.SIGKILL)
        with pytest.raises(ChildDied, match="SIGKILL"):
            stage.process(SEGMENT, GIVEN)


def test_an_interpreter_without_numpy_or_that_is_none_is_named(tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys._base_executable} -I -S "$@"\n')  # type: ignore[attr-defined]
    bare.chmod(0o755)
    for path, message in ((bare, "has no numpy"), (tmp_path / "none", "does not run as Python")):
        stage = abroad(Foreign, "bridged_stages:Foreign", Interpreter(path=str(path)), "mine")()
        with pytest.raises(InterpreterBroken, match=message) as caught:
            stage.setup()
        assert classify(caught.value) is Kind.ENVIRONMENT and "environment 'mine'" in str(caught.value)


def test_the_worker_s_ladder_memory_cpu_and_gpu_meter_are_the_child_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caps = tmp_path / "caps"
    monkeypatch.setenv("BRIDGED_CAPS", str(caps))
    monkeypatch.setenv("GEOFLOW_GPU_METER", "bridged_stages:Meter")
    params = {"mode": "numpy-memory", "cheap": False, "note": "", "once": ""}
    worker = StageWorker("bridged_stages:Foreign", params, 1, gpu_memory=0.5, interpreter=(HERE, "here"))
    try:
        where = worker.load().value
        assert where["child"] != where["pid"] == os.getpid() and where["interpreter"].startswith("Python 3.")
        jobs, _ = make_jobs([(SEGMENT, {}, level, None) for level in (0, 1)], measure=True)
        jobs = [job._replace(names=("frames.rgb",), places=((0, None),)) for job in jobs]
        answered = worker.process(ask(jobs, None), GIVEN["frames.rgb"])
        full, cheap = read_answer(answered[0])
        assert full.failure is not None and full.failure.kind is Kind.MEMORY
        assert cheap.failure is None and cheap.gpu_total == 80
        (child,) = worker._stage.processes()
        assert cheap.gpu_peak == child and cheap.cpu_seconds > 0.05, "the new child's start, too"
        assert unpack(answered[1][1]).shape == (6, 48, 64, 3) and answered[1][0] is None
        assert caps.read_text().split("\n")[:-1] == [f"{where['child']} 0.5", f"{child} 0.5"], "each rung's child"
        assert (worker._own_memory() or 0) > 10 << 20 or worker._own_memory() is None
    finally:
        worker.teardown()


RUNNABLE = ("geoflow.stages.write", "embedded.temporal_fusion", "embedded.motion_stereo")


@pytest.mark.parametrize("name", [*RUNNABLE, "geoflow.stages.stitch", "embedded.klt", "embedded.colmap"])
def test_backends_keep_their_contract_abroad(name: str, tmp_path: Path) -> None:
    params = {}
    if name.endswith(".write"):
        params["out"] = str(tmp_path)
        RunPaths(tmp_path).events.touch()
    assert contract.problems(name, params, interpreter=HERE) == []


def test_a_traceback_shows_both_sides(make: Make) -> None:
    try:
        make(mode="raise").process(SEGMENT, GIVEN)
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        assert "in the child process:" in text and "bridged_stages.py" in text and "abroad.py" in text


def test_a_gpu_s_memory_is_counted_for_actor_and_child_together(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nvml:
        """Of three processes on the GPU, one is somebody else's."""

        used: ClassVar[dict[int, int]] = {os.getpid(): 100, 4321: 900, 1: 7000}

        nvmlInit = staticmethod(lambda: None)
        nvmlDeviceGetHandleByIndex = staticmethod(lambda index: index)

        @staticmethod
        def nvmlDeviceGetMemoryInfo(_: int) -> SimpleNamespace:
            return SimpleNamespace(total=80_000, used=8000)

        @classmethod
        def nvmlDeviceGetComputeRunningProcesses(cls, _: int) -> list[SimpleNamespace]:
            return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in cls.used.items()]

    monkeypatch.delenv("GEOFLOW_GPU_METER", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("geoflow.engine.gpu.meter.nvml_bindings", lambda: Nvml)
    told: list[Any] = []
    stage = SimpleNamespace(processes=lambda: (4321,), meter=lambda *words: told.append(words))
    meter = ForeignMeter(lambda: stage)
    meter.start()
    assert meter.stop() == 1000 and meter.total() == 80_000
    meter.cap(0.25)
    assert told == [("start",), ("stop",), ("cap", 0.25)]


def test_the_actor_finds_the_weights(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child could not: there is no entry in models.yaml, nor, in its Python, anything to read that with."""
    with pytest.raises(ConfigError, match="Weighted"):
        make(Weighted)
    monkeypatch.setattr("geoflow.backends.weights.locate", lambda backend, name, own="": tmp_path / name)
    assert make(Weighted)._ask("found") == str(tmp_path / "large")


def test_what_a_node_lacks_is_its_environment_s_failure(make: Make) -> None:
    """So that another node may have a try, and the reason stands as it was said."""
    with pytest.raises(InterpreterBroken) as caught:
        make(mode="node")
    assert classify(caught.value) is Kind.ENVIRONMENT
    assert describe(caught.value).message == "environment 'here': no compiler; apt-get install g++"


def test_a_stage_that_cannot_be_set_up_says_why_and_leaves_no_child(make: Make) -> None:
    own = Foreign(Foreign.Params(mode="setup"))
    with pytest.raises(ImportError) as expected:
        own.setup()
    with pytest.raises(Exception, match="libfancy") as caught:
        make(mode="setup")
    assert describe(caught.value).message == describe(expected.value).message


INSTALLED = """
import sys
import decoy
from bridged_stages import Foreign
from geoflow.engine.bridge.abroad import abroad
from geoflow.environments.interpreter import Interpreter

stage = abroad(Foreign, "bridged_stages:Foreign", Interpreter(path=sys.executable), "here")()
stage.setup()
print([stage._ask("place_of", name) for name in ("decoy", "geoflow", "bridged_stages")])
stage.teardown()
"""


def test_of_installed_packages_the_child_sees_geoflow_alone(tmp_path: Path) -> None:
    """An installed GeoFlow lies among all packages of Ray's Python, which another Python must not see."""
    installed, root = tmp_path / "site-packages", Path(__file__).parents[3]
    installed.mkdir()
    for name in ("geoflow", "actors"):
        (installed / name).symlink_to(root / name)
    (installed / "decoy.py").touch()
    path = os.pathsep.join([str(installed), str(root / "tests" / "support")])
    found = subprocess.run(
        [sys.executable, "-c", INSTALLED],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    support = root / "tests" / "support" / "bridged_stages.py"
    assert found.stdout.strip() == str(["", str(installed / "geoflow" / "__init__.py"), str(support)])
