"""The notebooks from top to bottom on this Python, far from the checkout, and what they come to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from kernels import OwnAsyncKernel, place_for_kernels
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = ("01_quickstart", "02_explore_a_video", "03_add_a_model", "04_connect_to_a_cluster", "05_dataset")

# Run in the notebook's kernel when its last cell has ended; the value is printed as JSON.
FACTS = {
    "01_quickstart": """{
        "states": [video.status for video in result.videos],
        "frames": result.videos[0].frames,
        "geometry": scores.geometry.abs_rel, "constant": scores.constant_plane.abs_rel,
        "posed": scores.poses.frames_posed, "report": report.is_file(),
    }""",
    "02_explore_a_video": """{
        "trajectory": [trace.name for trace in trajectory.data],
        "tracks": len(tracks_figure.data), "known": int((depth > 0).sum()),
        "by_hand": by_hand.tolist(), "points_of": points_of_pixel.tolist(),
        "points": len(points), "colmap": [model.num_reg_images(), model.num_points3D()],
    }""",
    "03_add_a_model": """{"faults": faults, "errors": errors, "filled": scores["own"].prior.filled}""",
    "05_dataset": """{
        "scanned": {video.name: video.is_broken for video in scanned}, "failed": sorted(v.name for v in result.failed),
        "complete": sorted(v.name for v in result.complete), "frames": done.frames, "samples": len(members) // 4,
        "left_out": sorted(done.left_out), "same": same, "split": dict(done.splits), "episodes": len(done.episodes),
        "chosen": sum(stop - start for ranges in chosen.values() for start, stop in ranges),
    }""",
    "04_connect_to_a_cluster": """{
        "direct": [video.status for video in result.videos], "job": state.value, "counts": status["counts"],
        "videos": sorted(run.videos), "head": head.returncode is not None, "log": Path(folder).exists(),
    }""",
}


def load(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def test_there_are_tests_for_all_of_them() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(NAMES) == sorted(FACTS)


@pytest.mark.parametrize("name", NAMES)
def test_they_are_kept_without_outputs(name: str) -> None:
    notebook = load(name)
    nbformat.validate(notebook)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    assert notebook.metadata == {"kernelspec": kernel}, "CONTRIBUTING.md has the command that strips a notebook"
    for cell in notebook.cells:
        assert not cell.metadata and cell.source.strip()
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


def test_their_links_lead_somewhere() -> None:
    for name in NAMES:
        text = "\n".join(cell.source for cell in load(name).cells if cell.cell_type == "markdown")
        for target in re.findall(r"\]\(([^)]+)\)", text):
            assert (FOLDER / target).exists(), f"{name}: {target}"


def execute(name: str, folder: Path, env: dict[str, str]) -> tuple[Any, dict[str, Any]]:
    """The notebook with its outputs, and its facts."""
    notebook = load(name)
    notebook.cells.append(nbformat.v4.new_code_cell(f"import json\nprint(json.dumps({FACTS[name]}))"))
    place = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, kernel_manager_class=OwnAsyncKernel, timeout=300, resources=place)
    client.execute(env=env)
    facts = json.loads(notebook.cells.pop().outputs[0].text)
    return notebook, facts


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    with place_for_kernels(tmp_path_factory.mktemp("notebooks")) as place:
        yield place


def outputs(notebook: Any, kind: str) -> list[Any]:
    rows = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [row.data[kind] for row in rows if kind in row.get("data", {})]


@pytest.mark.ray
def test_quickstart(place: tuple[Path, dict[str, str]]) -> None:
    notebook, facts = execute("01_quickstart", *place)
    assert facts["states"] == ["complete"] and facts["frames"] == 24 and facts["report"]
    assert facts["geometry"] < 0.5 * facts["constant"] and facts["posed"] == 1
    progress, result, card = outputs(notebook, "text/html")[:3]
    assert "finished: 1 of 1 video" in progress and "1 complete" in result and 'href="quickstart/out' in result
    assert card.count("data:image/jpeg") == 9 and "24 frames with a pose" in card


@pytest.mark.ray
def test_explore(place: tuple[Path, dict[str, str]]) -> None:
    """On the store of the quick start, if that test ran before; else it makes its own."""
    notebook, facts = execute("02_explore_a_video", *place)
    assert facts["trajectory"] == ["camera", "views", "first pose", "tracks"] and facts["tracks"] == 61
    assert facts["known"] > 0.5 * 160 * 120 and facts["points"] > 5000
    assert facts["by_hand"] == pytest.approx(facts["points_of"], rel=1e-3)  # one is computed in float32
    images, points = facts["colmap"]
    assert images == 6 and points > 100
    assert len(outputs(notebook, "application/vnd.plotly.v1+json")) == 4
    html = outputs(notebook, "text/html")  # what an export shows, offline: the figures, and plotly.js once
    assert sum("Plotly.newPlot(" in part and len(part) < 2e6 for part in html) == 4
    assert sum(len(part) > 2e6 for part in html) == 1
    assert len(outputs(notebook, "image/png")) == 1  # `show` shows once, and no numbers


@pytest.mark.slow
@pytest.mark.ray
def test_add_a_model(place: tuple[Path, dict[str, str]]) -> None:
    notebook, facts = execute("03_add_a_model", *place)
    errors = facts["errors"]
    assert facts["faults"] == [] and facts["filled"] == 1
    assert errors["own"] < 0.7 * errors["constant plane"] and errors["embedded"] < errors["constant plane"]
    assert sum("data:image/jpeg" in html for html in outputs(notebook, "text/html")) == 2


@pytest.mark.slow
@pytest.mark.ray
def test_connect_to_a_cluster(place: tuple[Path, dict[str, str]]) -> None:
    _, facts = execute("04_connect_to_a_cluster", *place)
    assert facts["direct"] == ["complete"] and facts["job"] == "SUCCEEDED"
    assert facts["counts"]["complete"] == 2 and facts["videos"] == ["first", "second"]
    assert facts["head"] and not facts["log"]


@pytest.mark.slow
@pytest.mark.ray
def test_dataset(place: tuple[Path, dict[str, str]]) -> None:
    """From videos of which one is broken, through a real run, to a dataset whose values are the stores'."""
    notebook, facts = execute("05_dataset", *place)
    assert facts["scanned"] == {"broken": True, "desk": False, "shelf": False, "tripod": False}
    assert facts["complete"] == ["desk", "shelf", "tripod"] and facts["failed"] == facts["left_out"] == ["broken"]
    assert 0 < facts["frames"] == facts["samples"] == facts["chosen"] <= 72
    assert facts["split"] == {"train": f"0:{facts['episodes']}"} and facts["same"]
    assert len(outputs(notebook, "image/png")) == 1
