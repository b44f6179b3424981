"""The help of every command, as a newcomer reads it at 80 columns; what a shell completes."""

from __future__ import annotations

import functools
import io
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import typer

from geoflow.cli import app, main
from geoflow.cli.arguments import pipeline_of
from geoflow.cli.running import arguments_of_run
from geoflow.values.version import VERSION
from geoflow.workers import serving

_WIDTH = 80
_LEAST_EXAMPLES = 2
# What a user never types and need not know: module paths, private names, parts of Ray and of the CLI library.
_INTERNAL = re.compile(
    r"\b(?:geoflow|actors)\.\w+|\b_\w+|\bray\.\w+|raylet|runtime_env\b|\b\w+\(\)|<(?:str|int|float|path|list|bool)|typer|"
    r"\bPath\b|\bNone\b"
)


def every_command() -> Iterator[tuple[str, Any]]:
    """Every command by the words that call it, groups and the root included."""

    def below(command: Any, words: str) -> Iterator[tuple[str, Any]]:
        yield words, command
        for name, part in getattr(command, "commands", {}).items():
            yield from below(part, f"{words} {name}")

    yield from below(typer.main.get_command(app), "geoflow")


COMMANDS = dict(every_command())


def printed(*args: str, status: int = 0) -> str:
    """What `geoflow ARGS` prints to stdout."""
    text, before = io.StringIO(), sys.argv
    sys.argv = ["geoflow", *args]
    try:
        with redirect_stdout(text), pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = before
    assert ended.value.code == status
    return text.getvalue()


@functools.cache
def help_of(words: str) -> str:
    return printed(*words.split()[1:], "--help")


@pytest.fixture(scope="module", autouse=True)
def columns() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(_WIDTH))
        patch.setenv("TERM", "dumb")
        yield


@pytest.fixture(params=COMMANDS)
def words(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_help_names_every_pipeline() -> None:
    said = re.split(r"[^\w-]+", printed("run", "-h"))
    names = {path.stem for path in (Path(__file__).parents[2] / "configs" / "pipelines").glob("*.yaml")}
    assert names and names <= {*said}


def test_help_has_examples_and_nothing_internal(words: str) -> None:
    text = help_of(words)
    assert len(examples_in(text)) >= _LEAST_EXAMPLES
    assert all(line.startswith(words) for line in examples_in(text)), "examples of this command"
    assert not _INTERNAL.findall(text)
    assert max(map(len, text.splitlines())) <= _WIDTH or words == "geoflow worker", "a table of models, as they name it"
    assert not re.search(r"[a-z:;]\.\.\.", text), "no description is cut off"


def test_every_argument_and_option_is_explained(words: str) -> None:
    for row in COMMANDS[words].params:
        assert row.help, f"{words}: {row.name}"
        assert row.is_flag if row.param_type_name == "option" and not row.metavar else True, f"{words}: {row.name}"


def test_examples_are_accepted_by_the_parser(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bench" / "engine").mkdir(parents=True)
    (tmp_path / "bench" / "engine" / "engines.json").touch()  # the parser itself asks for it
    root = COMMANDS["geoflow"].make_context("geoflow", ["demo"])
    for line in examples_in(help_of(words)):
        name, command, rest = command_of(shlex.split(line))
        if name == "geoflow worker":
            assert rest[0] in serving.overview()
            continue
        try:
            given = command.make_context(name, list(rest), parent=root)
        except typer.Exit as ended:
            assert rest == ["-h"] and ended.exit_code == 0
            continue
        values = arguments_of_run(given.args) if name == "geoflow submit" else given.params
        if "without" in values and not str(values["pipeline"]).endswith(".yaml"):
            pipeline_of(values["pipeline"], values["set_"], values["without"])


def test_an_example_with_a_misspelt_option_is_caught() -> None:
    name, command, rest = command_of(shlex.split("geoflow run clip.mp4 -o out --witout hands"))
    with pytest.raises(Exception, match="No such option"):
        command.make_context(name, list(rest))


def test_submit_shows_and_completes_the_options_of_run() -> None:
    text = help_of("geoflow submit")
    for row in COMMANDS["geoflow run"].params:
        if row.param_type_name == "option":
            assert row.opts[0] in text, row.opts[0]
    assert text.count("--address") == text.count("--address URL") + len(re.findall("geoflow submit .*--address", text))
    assert "--without" in completed("geoflow submit --wi", 2)


@pytest.mark.parametrize("words", ["geoflow", "geoflow run", "geoflow envs list", "geoflow worker"])
def test_a_short_option_shows_the_same(words: str) -> None:
    assert printed(*words.split()[1:], "-h") == help_of(words)


def test_the_version_and_the_exit_statuses() -> None:
    assert printed("--version") == f"geoflow {VERSION}\n"
    text = help_of("geoflow")
    for status in (0, 1, 2, 3, 130):
        assert re.search(rf"^ +{status}  +\w", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("line", "word", "expected"),
    [
        ("geoflow para", 1, {"params"}),
        ("geoflow run --pipeline man", 3, {"manipulation", "manipulation-embedded"}),
        ("geoflow run --set hands.max_ha", 3, {"hands.max_hands=", "hands.max_hand_velocity="}),
        ("geoflow run --pipeline geometry --set decode.", 5, {"decode.long_side="}),
        ("geoflow run --without hands,t", 3, {"hands,tracks"}),
        ("geoflow params tra", 2, {"tracks"}),
        ("geoflow export x.h5 --to tap", 4, {"tapip3d", "tapvid3d"}),
        ("geoflow envs build med", 3, {"mediapipe"}),
        ("geoflow models fetch geo", 3, {"geometrycrafter", "geometrycrafter_jittor"}),
        ("geoflow run --pipeline absent.yaml --set a", 5, set()),
    ],
)
def test_a_shell_completes_names(line: str, word: int, expected: set[str]) -> None:
    assert completed(line, word) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_GEOFLOW_COMPLETE", f"source_{shell}")
    assert f"_GEOFLOW_COMPLETE=complete_{shell}" in printed()


def completed(line: str, word: int) -> set[str]:
    """What bash is offered for the word number `word` of a line."""
    variables = {"COMP_WORDS": line, "COMP_CWORD": str(word), "_GEOFLOW_COMPLETE": "complete_bash"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return set(printed().split())


def examples_in(text: str) -> list[str]:
    return [line.strip() for line in text.partition("Examples:\n")[2].splitlines() if line.strip()]


def command_of(words: list[str]) -> tuple[str, Any, list[str]]:
    """The command that a line calls, its name, and its arguments."""
    name, *rest = words
    command = COMMANDS[name]
    while hasattr(command, "commands") and rest and f"{name} {rest[0]}" in COMMANDS:
        name, rest = f"{name} {rest[0]}", rest[1:]
        command = COMMANDS[name]
    return name, command, rest
