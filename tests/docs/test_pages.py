"""The pages: links and anchors lead somewhere, generated parts say what the code says, the README stays short."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)|(?:src|href)=\"([^\"]+)\"")
_FENCE = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
_MOST_BYTES = 9 * 1024  # of the README: what a newcomer reads in a few minutes


def _text(page: Path) -> str:
    """A page's prose, or that of a notebook's Markdown cells, without blocks of code."""
    if page.suffix == ".ipynb":
        cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
        return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def _links(page: Path) -> list[str]:
    found = [first or second for first, second in _LINK.findall(re.sub(r"`[^`\n]*`", "", _text(page)))]
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings that are the same on GitHub and on the site, which make them differently."""
    anchors = set()
    for heading in re.findall(r"^#+ (.+)$", _text(page), re.MULTILINE):
        words = re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading).strip().lower()
        github = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        ascii_words = unicodedata.normalize("NFKD", words).encode("ascii", "ignore").decode()
        site = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", ascii_words).strip())
        anchors |= {github} & {site}
    return anchors


def _dead(page: Path) -> list[str]:
    dead = []
    for link in _links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=lambda page: page.name)
def test_links_and_anchors_lead_somewhere(page: Path) -> None:
    assert _dead(page) == []


def test_a_dead_link_and_a_dead_anchor_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Two words\n[a](gone.md) [b](#two-words) [c](#three) ![d](gone.png)\n```\n[e](in_code.md)\n```\n")
    assert _dead(page) == ["gone.md", "#three", "gone.png"]


def test_every_page_is_reached_from_the_readme_and_stands_in_the_site() -> None:
    linked = {link.removeprefix("docs/") for page in PAGES[:1] for link in _links(page)}
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    for page in PAGES[2:]:
        assert page.name in navigation, page.name
        assert page.name in linked or page.name in ("index.md", "bench-engine.md"), page.name
    assert "bench-engine.md" in _links(ROOT / "docs" / "performance.md")


def test_the_readme_is_short() -> None:
    assert (ROOT / "README.md").stat().st_size <= _MOST_BYTES


def test_generated_parts_are_up_to_date() -> None:
    run = [sys.executable, str(ROOT / "docs" / "scripts" / "generate.py"), "--check"]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}run `python docs/scripts/generate.py`"


def test_a_stale_part_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "scripts"))
    import generate

    text = "before\n<!-- generated: index-columns -->\nof yesterday\n<!-- end -->\nafter\n"
    made = generate.filled(text)
    assert "| `num_frames` | int64 |" in made and "of yesterday" not in made
    assert made.startswith("before\n") and made.endswith("<!-- end -->\nafter\n")
    assert generate.filled(made) == made


def test_every_parameter_that_a_user_can_set_is_on_its_page() -> None:
    """Counted from the classes, not from the generator."""
    import dataclasses

    from geoflow.pipeline import Pipeline

    page = (ROOT / "docs" / "pipelines.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "configs" / "pipelines").glob("*.yaml")):
        for spec in Pipeline.load(path).stages:
            here = page.partition(f"## The pipeline `{path.stem}`\n")[2].partition("\n## ")[0]
            same = re.search(rf"- `{spec.slot}` as in \[`([\w-]+)`\]", here)
            stands_in = same[1] if same else path.stem
            part = page.partition(f"### `{spec.slot}` in `{stands_in}`")[2].partition("\n### ")[0]
            for row in dataclasses.fields(spec.stage_class().Params):
                if not row.metadata.get("bound_by_run"):
                    assert f"| `{row.name}` |" in part, f"{spec.slot}.{row.name}"
