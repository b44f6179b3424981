"""`geoflow envs prune`: what no run will use goes; what may be in use stays, whatever else is said of it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from geoflow.cli import main
from geoflow.environments import kept, overlay
from geoflow.planning import environment_pruning
from geoflow.planning.environment_pruning import KeptEnvironment, find_environments, remove

PRESENT = overlay.instead_of_pip({"pip": ["six"]})[overlay.FIELD]
LONG_AGO = 1_600_000_000.0


@pytest.fixture(autouse=True)
def no_other_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs a Ray beside the tests has processes named raylet, too."""
    found = environment_pruning.command_line

    def without_rays(pid: int) -> bytes:
        words = found(pid)
        return b"" if words.partition(b"\0")[0].endswith(b"/raylet/raylet") else words

    monkeypatch.setattr(environment_pruning, "command_line", without_rays)


def environment(name: str, *, borrowed: str = "", used: float = LONG_AGO, **note: object) -> Path:
    """An environment as a run leaves it: from this Python, beside the present packages, unless the note says else."""
    home = kept.folder() / name
    inside = home / "lib" / "python3" / "site-packages"
    inside.mkdir(parents=True)
    (home / "bin").mkdir()
    (home / "bin" / "python").symlink_to(sys.executable)
    (inside / "own.py").write_bytes(b"x" * 1000)
    (inside / kept.BORROWED).write_text(f"import site; site.addsitedir({borrowed or kept.installed_packages()[0]!r})\n")
    home.with_suffix(".lock").touch()
    if note.get("host") != "":
        kept.note(home, ["six"])
        known = json.loads(home.with_suffix(".json").read_text())
        home.with_suffix(".json").write_text(json.dumps({**known, **note}))
    os.utime(home.with_suffix(".lock"), (used, used))
    return home


def verdicts(**options: bool) -> dict[str, tuple[bool, str]]:
    return {Path(row.path).name: (row.removable, row.reason) for row in find_environments(**options)}


def test_what_was_made_beside_other_packages_goes_and_what_fits_stays(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("pip: [six]\n")
    environment("stale", surroundings="other")
    environment("fits")
    environment(mine := overlay.key(PRESENT))
    environment("elsewhere", around=str(tmp_path), surroundings="other")
    environment("orphan", around=str(tmp_path / "gone"), surroundings="other")
    found = {
        Path(row.path).name: (row.removable, row.reason) for row in find_environments([str(tmp_path / "mine.yaml")])
    }
    assert found == {
        "stale": (True, "made beside other packages than there are now"),
        "orphan": (True, f"the Python that it borrows from is gone: {tmp_path / 'gone'}"),
        "fits": (False, "it fits, but no file of runtime_envs/ asks for it: --unwanted removes it"),
        mine: (False, f"it is the present environment {tmp_path / 'mine.yaml'}"),
        "elsewhere": (False, f"it belongs to another Python: {tmp_path}"),
    }
    assert verdicts(unwanted=True)["fits"] == (True, "no file of runtime_envs/ asks for it")


def test_environments_of_earlier_versions_are_known_by_what_they_borrow(tmp_path: Path) -> None:
    """They have no note."""
    environment("ours", host="")
    environment("gone", host="", borrowed=str(tmp_path / "gone"))
    environment("theirs", host="", borrowed=str(tmp_path))
    found = verdicts(other_machines=True)
    assert (found["ours"][0], found["gone"][0], found["theirs"][0]) == (True, True, False)


def test_what_another_machine_may_use_stays_unless_the_user_knows_better(monkeypatch: pytest.MonkeyPatch) -> None:
    environment("theirs", surroundings="other", host="node7")
    environment("unknown", host="")
    monkeypatch.setattr(environment_pruning, "is_local", lambda path: False)
    found = verdicts()
    assert found["theirs"] == (
        False,
        "node7 used it last: prune there, or add --other-machines if no cluster runs there",
    )
    assert found["unknown"][0] is False and "--other-machines" in found["unknown"][1]
    assert all(removable for removable, _ in verdicts(other_machines=True).values())
    monkeypatch.setattr(environment_pruning, "is_local", lambda path: True)
    assert verdicts()["unknown"][0], "no other machine can use this disk"


@pytest.fixture
def raylet(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of that name."""
    shutil.copy(shutil.which("sleep") or "/bin/sleep", tmp_path / "raylet")
    with subprocess.Popen([str(tmp_path / "raylet"), "60"]) as process:
        yield process
        process.kill()


def test_a_cluster_keeps_what_was_used_since_it_started(raylet: subprocess.Popen[bytes]) -> None:
    environment("before", surroundings="other")
    environment("since", surroundings="other", used=time.time())
    found = verdicts(unwanted=True, other_machines=True)
    assert found["before"][0] and found["since"] == (
        False,
        f"a Ray cluster that runs here may use it (process {raylet.pid})",
    )


def test_what_a_process_runs_in_stays_also_if_it_began_after_the_list() -> None:
    home = environment("busy", surroundings="other")
    rows = find_environments()
    assert [row.removable for row in rows] == [True]
    command = [str(home / "bin" / "python"), "-S", "-c", "import sys; print('up', flush=True); sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        (kept_row,) = remove(rows)
        assert not kept_row.removed and kept_row.reason == f"process {process.pid} runs in it"
        assert find_environments()[0].reason == kept_row.reason
    assert home.is_dir()
    (gone,) = remove(find_environments())
    assert gone.removed and gone.bytes >= 1000 and not home.exists() and not home.with_suffix(".json").exists()


def test_what_is_being_made_stays_and_what_was_left_of_it_goes() -> None:
    environment("abc.new", host="")
    lock = kept.folder() / "abc.lock"
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert verdicts()["abc.new"] == (False, "it is being made at this moment")
        (row,) = remove([KeptEnvironment(str(kept.folder() / "abc.new"), 0, 0.0, (), True, "")])
        assert not row.removed and (kept.folder() / "abc.new").is_dir()
    assert verdicts()["abc.new"] == (True, "left by a process that was ended")
    assert remove(find_environments())[0].removed and list(kept.folder().iterdir()) == [lock]


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[object, str, str]:
    monkeypatch.setattr(sys, "argv", ["geoflow", "envs", "prune", *args])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, *capsys.readouterr()


def test_nothing_is_removed_unasked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    home = environment("stale", surroundings="other")
    code, out, _ = run(monkeypatch, capsys, "--dry-run")
    assert code == 0 and "can go: 1, 0 MB" in out and str(home) in out and home.is_dir()
    code, _, err = run(monkeypatch, capsys)
    assert code == 2 and "add --yes to remove them, or --dry-run" in err and home.is_dir()
    code, out, _ = run(monkeypatch, capsys, "--yes", "--json")
    assert code == 0 and [row["removed"] for row in json.loads(out)] == [True] and not home.exists()
    code, out, _ = run(monkeypatch, capsys)
    assert code == 0 and "".join(out.split()) == f"noenvironmentsin{kept.folder()}", "long folders wrap"


@pytest.mark.long
def test_an_environment_that_was_removed_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    nothing = {"packages": [], "options": ["--disable-pip-version-check", "-r", os.devnull], "check": False}
    python = overlay.install(nothing, {})
    note = kept.read_note(python.parents[1])
    assert note is not None and note.around == sys.prefix and note.surroundings == kept.surroundings()
    (row,) = find_environments(unwanted=True)
    assert remove([row])[0].removed and not python.exists()
    assert overlay.install(nothing, {}) == python and python.exists()
