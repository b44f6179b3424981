"""`--objects`: what it names is looked at before work starts, and goes with a submitted job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import clips
import pytest
from plain_pipeline import PLAIN

import geoflow
from geoflow.cli import main
from geoflow.errors import ConfigError
from geoflow.pipeline import Pipeline
from geoflow.planning.shown_objects import check_objects, check_shown, without_idle
from geoflow.segments import Prompt
from geoflow.submission import Submitted
from geoflow.values.yaml_text import parse_yaml

PROMPTS = "a: [{object: 1, frame: 0, box: [1, 2, 3, 4]}]\n"


def pipeline(*more: dict[str, Any]) -> Pipeline:
    raw = parse_yaml(PLAIN, "PLAIN")
    stages = [*raw["stages"]]
    stages[1:1] = more
    return Pipeline.from_dict({**raw, "stages": stages})


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    clips.write(tmp_path / "a.mp4", 4)
    (tmp_path / "p.yaml").write_text(PLAIN)
    (tmp_path / "prompts.yaml").write_text(PROMPTS)
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (5, "objects should be a path"),
        ("absent", "--objects absent should be a folder with a folder of label images per video, or a file of prompts"),
        ("empty", "--objects empty holds no folder for any of the videos; expected label images such as empty/a/00000"),
        ("prompts.yaml", "holds prompts, and no stage of pipeline 'plain' takes any; add a stage for the slot objects"),
        ("a.mp4", "a.mp4"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(place: Path, objects: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        geoflow.run("a.mp4", "o", "p.yaml", objects=objects)


TAKER = {"slot": "objects", "backend": "object_stages:PromptedObjects"}


def test_prompts_are_for_pipelines_that_take_them(place: Path) -> None:
    taker = pipeline(TAKER)
    assert check_objects("prompts.yaml", ["a", "b"], taker) == {"a": (Prompt(1, 0, (1, 2, 3, 4)),)}
    assert check_objects(None, ["a"], taker) == {}
    with pytest.raises(ConfigError, match="has prompts for a, which is none of the videos: b, c"):
        check_objects("prompts.yaml", ["b", "c"], taker)
    (place / "labels" / "a").mkdir(parents=True)
    assert check_objects("labels", ["a", "b"], pipeline()) == {}


def test_a_table_for_one_video_need_not_name_it(place: Path) -> None:
    taker = pipeline(TAKER)
    (place / "objects.csv").write_text("frame,id,x,y\n0,1,2,3\n")
    assert check_objects("objects.csv", ["a"], taker) == {"a": (Prompt(1, 0, None, ((2, 3, True),)),)}
    with pytest.raises(ConfigError, match="does not say which video its rows are for, and there are 2; add a column"):
        check_objects("objects.csv", ["a", "b"], taker)


def test_words_are_for_backends_that_know_some(place: Path) -> None:
    (place / "words.csv").write_text("frame,id,text\n0,1,red mug\n")
    with pytest.raises(ConfigError, match=r"has the text 'red mug' for object 1, and .*PromptedObjects knows no words"):
        check_objects("words.csv", ["a"], pipeline(TAKER))


def test_a_stage_that_is_shown_no_object_is_left_out(place: Path) -> None:
    taker = pipeline(TAKER)
    assert [spec.slot for spec in without_idle(taker, None).stages] == [spec.slot for spec in pipeline().stages]
    assert without_idle(taker, "objects.csv") is taker


def test_a_run_for_objects_of_which_none_is_shown_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = Pipeline.load("objects")
    with pytest.raises(ConfigError, match="stage 'mesh' that works on objects, and none is shown; give --objects"):
        check_shown(without_idle(shipped, None), None)
    check_shown(without_idle(shipped, "objects.csv"), "objects.csv")
    check_shown(pipeline(TAKER), None)  # whatever finds labels may find objects
    left = without_idle(shipped.without(["mesh"]), None)
    assert {"objects", "mesh"}.isdisjoint(spec.slot for spec in left.stages)
    monkeypatch.setattr(sys, "argv", ["geoflow", "run", "a.mp4", "-o", "out", "--pipeline", "objects"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and "--without mesh" in capsys.readouterr().err
    assert not (place / "out").exists()


@pytest.mark.parametrize("objects", ["prompts.yaml", "labels"])
def test_a_job_gets_the_prompts_and_finds_the_labels(
    place: Path, monkeypatch: pytest.MonkeyPatch, objects: str
) -> None:
    (place / "labels").mkdir()
    asked: dict[str, Any] = {}

    def submit(arguments: list[str], **options: Any) -> Submitted:
        asked.update(options)
        return Submitted("j", "http://there")

    monkeypatch.setattr("geoflow.submission.submit", submit)
    command = ["submit", "a.mp4", "-o", "o", "--pipeline", "p.yaml", "--objects", objects, "--no-wait"]
    monkeypatch.setattr(sys, "argv", ["geoflow", *command])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert asked["files"] == ["p.yaml"] + (["prompts.yaml"] if objects == "prompts.yaml" else [])
    assert ("labels" in asked["paths"]) == (objects == "labels") and "prompts.yaml" not in asked["paths"]
