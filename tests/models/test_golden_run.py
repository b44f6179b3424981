"""`make golden`: sizes and options are the folder's, the table and the exit status say what is off, and why."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import golden_run  # noqa: E402
import other_golden  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return other_golden.make(tmp_path_factory.mktemp("golden"))


def changed(folder: Path, to: Path, **changes: Any) -> Path:
    """A copy of the folder with another side-car."""
    made = to / "geometrycrafter"
    made.mkdir(parents=True)
    (to / "fill.py").write_text(other_golden.FILL)
    (made / "other.npz").write_bytes((folder / "other.npz").read_bytes())
    side = json.loads((folder / "other.json").read_text())
    (made / "other.json").write_text(json.dumps({**side, **changes}))
    return made


@pytest.mark.long
def test_sizes_options_and_weights_are_those_of_the_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for given in (folder, folder.parent):
        assert golden_run.main(["geometrycrafter", str(given), "--all"]) == 0
        text = capsys.readouterr().out
        assert "1 cases, 4 results compared; all right" in text and "point_map_sub3" in text


@pytest.mark.long
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"decode_chunk_size": None}, "off: other"),  # the usual noise strength
        ({"decode_chunk_size": 2, "noise_aug_strength": 0.3}, "off: other"),
        ({"decode_chunk_size": None, "noise_aug_strength": 0.3, "steps": 2}, "options that no runner knows: steps"),
    ],
)
def test_what_is_off_is_named_and_the_status_is_1(
    folder: Path, tmp_path: Path, options: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = changed(folder, tmp_path, options={**other_golden.OPTIONS, **options})
    assert golden_run.main(["geometrycrafter", str(made)]) == 1
    assert said in " ".join(capsys.readouterr().out.split())


def test_a_case_that_cannot_be_run_is_not_right(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = changed(folder, tmp_path, kind="tracker")
    (made / "alone.json").write_text("{}")
    assert golden_run.main(["geometrycrafter", str(made)]) == 1
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())  # cells wrap where paths are long
    assert "the kind 'tracker', which no runner knows" in text and "lacks alone.npz" in text
    assert "off: alone, other" in text


def test_a_result_that_is_not_a_number_is_off() -> None:
    assert not golden_run.Comparison("x", float("nan"), 1.0, "fair_atol").right


def test_what_cannot_begin_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (
        (["nobody", str(tmp_path)], "no runner for the model 'nobody'; there are: geometrycrafter"),
        (["geometrycrafter", str(tmp_path)], "holds no cases; each is NAME.npz with NAME.json beside it"),
        (["geometrycrafter", str(tmp_path / "none")], "is no folder"),
    ):
        assert golden_run.main(arguments) == 2
        assert said in capsys.readouterr().err


def test_make_says_what_it_wants() -> None:
    root = Path(__file__).parents[2]
    if not (root / ".venv" / ".dev").exists():
        pytest.skip("make would install the environment first")
    done = subprocess.run(["make", "-o", ".venv/.dev", "golden"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 2 and "make golden MODEL=NAME DIR=FOLDER" in done.stderr
