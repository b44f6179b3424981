"""The report in a real browser, headless Chromium: what its scripts do, phone width, dark mode, contrast."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from full_store import write_full_store
from ledger_events import done, one_run, write
from synthetic_store import Flaws, write_run

from geoflow.report import write_report
from geoflow.store.paths import RunPaths
from geoflow.synth import Clip

pytestmark = pytest.mark.long

_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SWITCHES = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOSTILE = "50% off?#1 <b>&\"'é"
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if found is None:
        pytest.skip("no Chromium on PATH: install the package chromium, or name one in CHROMIUM")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=_SWITCHES)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def out(small_clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ten videos, one of them with hands and pixels, and two failures, with a ledger that tells of memory."""
    out = tmp_path_factory.mktemp("run")
    names = [HOSTILE, *(f"clip {k}" for k in (10, 9, 2)), "z" * 100]
    write_run(out / "run", {name: (small_clip, Flaws()) for name in names}, {f"bad {k}": "no video" for k in range(5)})
    paths = RunPaths(out / "run")
    paths.video(HOSTILE).unlink()
    write_full_store(paths.video(HOSTILE), small_clip, segments=((0, 4), (2, 6), (5, 8)))
    memory = {"event": "memory", "promised_bytes": 9, "store_bytes": 5, "store_size": 99, "driver_bytes": 7}
    calls = [done(1003, "prior", 2, HOSTILE, k, private_bytes=10**8) for k in range(3)]
    write(paths.events, [*one_run(), *({**memory, "time": 1000.0 + k} for k in range(9)), *calls])
    write_report(paths.root)
    return paths.root


@pytest.fixture
def visit(browser: Any, out: Path) -> Iterator[Any]:
    """Opens a page from disk; at the end, nothing may have been complained of or fetched."""
    contexts, wrong = [], []

    def visit(page: str | Path = "report.html", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": DESKTOP, **options})
        contexts.append(context)
        opened = context.new_page()
        # Chromium warns of how `pixels` reads the canvas; that is the test's own doing.
        opened.on("console", lambda m: None if "willReadFrequently" in m.text else wrong.append(m.text))
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.on("request", lambda r: wrong.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
        opened.goto((out / page).as_uri())
        return opened

    yield visit
    for context in contexts:
        context.close()
    assert wrong == []


def pixels(page: Any) -> list[int]:
    """How many pixels of the scene are not empty, and a sum that changes with them."""
    page.wait_for_selector(".scene canvas[data-points]", state="attached")  # unpacked
    # A frame is drawn when the browser asks for one, and the next is asked for after that.
    return page.evaluate(
        """() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
            const canvas = document.querySelector(".scene canvas");
            const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            let drawn = 0, sum = 0;
            for (let k = 0; k < data.length; k += 4) {
                drawn += data[k + 3] > 0;
                sum = (sum * 31 + data[k] + 7 * data[k + 1] + data[k + 2]) % 1000003;
            }
            done([drawn, sum]);
        })))"""
    )


def names(page: Any) -> list[str]:
    return page.locator("table.videos tbody tr:not([hidden]) b").all_text_contents()


def test_the_list_is_sorted_and_searched(visit: Any) -> None:
    page = visit()
    first = names(page)
    assert first[:5] == [f"bad {k}" for k in range(5)] and len(first) == 10
    head = page.get_by_role("button", name="video", exact=True)
    head.focus()
    page.keyboard.press("Enter")
    up = [name for name in names(page) if name.startswith("clip")]
    assert up == ["clip 2", "clip 9", "clip 10"] and page.locator("th[aria-sort=ascending]").count() == 1
    head.click()
    assert [name for name in names(page) if name.startswith("clip")] == up[::-1]
    head.click()
    assert names(page) == first and page.locator("th[aria-sort]").count() == 0
    page.get_by_role("button", name="frames").click()
    assert names(page)[-5:] == [f"bad {k}" for k in range(5)]  # what has no number comes last
    page.locator("input[type=search]").fill("failed VIDEO 3")
    assert names(page) == ["bad 3"] and page.locator(".search output").text_content() == "1 of 10"


def test_links_lead_there_and_back(visit: Any) -> None:
    page = visit()
    page.get_by_role("link", name=HOSTILE).click()
    assert page.locator("h1").text_content() == HOSTILE
    page.get_by_role("link", name="Next").click()
    assert page.locator("h1").text_content() == "clip 10"
    page.get_by_role("link", name="All videos").click()
    assert page.locator("table.videos").count() == 1


def shown(page: Any) -> list[str]:
    return [frame.get_attribute("data-i") for frame in page.locator(".frame").all() if frame.is_visible()]


def test_the_slider_moves_all_strips_and_the_drawings(visit: Any, out: Path) -> None:
    page = visit(RunPaths(out).report_page(HOSTILE))
    assert shown(page) == ["0"] and page.locator(".frame.shown img").count() == 3
    scene = pixels(page)
    slider = page.get_by_role("slider", name="frame")
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert shown(page) == ["5"] and page.locator(".where").text_content() == "frame 5 · 1.25 s"
    assert page.locator(".frame.shown figure").count() == 4 and pixels(page) != scene  # its camera stands out now
    ends = {cursor.get_attribute("x1") for cursor in page.locator("#consistency .cursor").all()}
    assert ends == {str(58 + (428 - 58) * 5 / 7)}
    page.locator(".frames").focus()
    page.keyboard.press("ArrowLeft")
    assert shown(page) == ["4"]
    box = page.locator(".frame.shown").bounding_box()
    y = box["y"] + box["height"] - 40  # the slider is below, so this part is in view
    page.mouse.move(box["x"] + 5, y)
    page.mouse.down()
    page.mouse.move(box["x"] + 20, y)
    assert shown(page) == ["0"]
    page.mouse.up()
    page.locator("#consistency svg.follows").first.hover()  # its middle, left of that of the drawing
    assert shown(page) == ["3"]
    page.get_by_role("button", name="Play").click()
    page.locator(".frame.shown:not([data-i='0'])").wait_for()
    page.get_by_role("button", name="Pause").click()
    slider.press("End")
    assert page.locator(".frame.shown .hands").is_visible()
    page.get_by_label("hands").uncheck()
    assert not page.locator(".frame.shown .hands").is_visible()


def test_the_scene_turns_by_mouse_keys_and_buttons(visit: Any, out: Path) -> None:
    page = visit(RunPaths(out).report_page(HOSTILE))
    seen = [pixels(page)]
    assert seen[0][0] > 2000
    canvas = page.locator(".scene canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 400, box["y"] + 220, steps=3)
    page.mouse.up()
    seen.append(pixels(page))
    canvas.focus()
    for key in ("ArrowUp", "+"):
        page.keyboard.press(key)
        seen.append(pixels(page))
    page.get_by_role("button", name="from above").click()
    seen.append(pixels(page))
    page.locator("[data-scene=points]").uncheck()
    seen.append(pixels(page))
    page.locator("[data-scene=tracks]").check()
    seen.append(pixels(page))
    assert len(set(map(tuple, seen))) == len(seen) and min(drawn for drawn, _ in seen) > 200
    page.locator("[data-scene=points]").check()
    page.locator("[data-scene=tracks]").uncheck()
    canvas.focus()
    page.keyboard.press("0")
    assert pixels(page) == seen[0]


def test_a_finger_turns_the_scene(visit: Any, out: Path) -> None:
    page = visit(RunPaths(out).report_page(HOSTILE), viewport=PHONE, has_touch=True, is_mobile=True)
    page.locator(".scene canvas").scroll_into_view_if_needed()
    before, box = pixels(page), page.locator(".scene canvas").bounding_box()
    touch = page.context.new_cdp_session(page)
    for kind, x in (("touchStart", 90), ("touchMove", 120), ("touchMove", 160), ("touchEnd", None)):
        points = [] if x is None else [{"x": box["x"] + x, "y": box["y"] + 100}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert pixels(page) != before


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("which", ["overview", "video"])
def test_a_phone_shows_it_without_scrolling_sideways(visit: Any, out: Path, which: str, scripts: bool) -> None:
    path = "report.html" if which == "overview" else RunPaths(out).report_page(HOSTILE)
    page = visit(path, viewport=PHONE, java_script_enabled=scripts)
    widths = page.locator("html").evaluate("(html) => [html.scrollWidth, html.clientWidth]")
    assert widths[0] <= widths[1] == PHONE["width"]


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("which", ["overview", "video"])
def test_a_timeline_wider_than_the_screen_says_that_it_scrolls(
    visit: Any, out: Path, which: str, scripts: bool
) -> None:
    path = "report.html" if which == "overview" else RunPaths(out).report_page(HOSTILE)
    for viewport, scrolls in (
        (PHONE, True),
        ({"width": 817, "height": 740}, True),
        ({"width": 818, "height": 740}, False),
    ):
        page = visit(path, viewport=viewport, java_script_enabled=scripts)
        hint, box = page.locator("p.sideways"), page.locator(".scroll:has(svg.timeline)")
        wide, seen = box.evaluate("(box) => [box.scrollWidth, box.clientWidth]")
        assert (wide > seen) is hint.is_visible() is scrolls
        assert "scroll" in hint.text_content()


def test_the_points_of_the_scene_are_those_of_the_store(visit: Any, out: Path, small_clip: Clip) -> None:
    """The script unpacks what Python packed: as many points, and colours that the clip has."""
    page = visit(RunPaths(out).report_page(HOSTILE))
    pixels(page)
    count = int(page.locator(".scene canvas").get_attribute("data-points"))
    assert count == int(page.evaluate("JSON.parse(document.getElementById('scene-data').textContent).cloud.count"))
    assert count > 15_000
    page.locator("[data-scene=cameras]").uncheck()
    seen = np.array(
        page.evaluate(
            """() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
                const canvas = document.querySelector(".scene canvas"), found = [];
                const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                for (let k = 0; k < data.length; k += 28) if (data[k + 3] === 255) found.push(...data.slice(k, k + 3));
                done(found);
            })))"""
        )
    ).reshape(-1, 3)
    drawn = seen[np.ptp(seen, axis=1) > 25]  # the grid is grey
    known = {tuple(colour) for colour in small_clip.frames.reshape(-1, 3).tolist()}
    assert len(drawn) > 500 and np.mean([tuple(colour) in known for colour in drawn.tolist()]) > 0.98


def test_without_scripts_all_frames_and_a_flat_path_are_there(visit: Any, out: Path) -> None:
    page = visit(RunPaths(out).report_page(HOSTILE), java_script_enabled=False)
    assert shown(page) == [str(i) for i in range(8)]
    assert page.locator(".plots svg").count() == 2 and page.locator(".plots").is_visible()
    assert not page.locator(".scene").is_visible() and not page.locator(".slider").is_visible()


# Contrast of every text with what it stands on (WCAG 2.2, section 1.4.3), the least first.
_CONTRAST = """() => {
  const parse = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
    return { r, g, b, a };
  };
  const light = ({ r, g, b }) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.closest("script, style, title, .frame svg")) continue;
    const style = getComputedStyle(element);
    const ink = parse(element instanceof SVGElement ? style.fill : style.color);
    let under = element, ground = { a: 0 };
    while (under && !ground.a) { ground = parse(getComputedStyle(under).backgroundColor); under = under.parentElement; }
    const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
    const what = `${element.tagName}.${element.getAttribute("class") || ""}: ${element.textContent}`;
    found.push([(a + 0.05) / (b + 0.05), what]);
  }
  return found.sort((x, y) => x[0] - y[0]);
}"""


@pytest.mark.parametrize("which", ["overview", "video"])
def test_texts_can_be_read_in_light_and_in_the_dark(visit: Any, out: Path, which: str) -> None:
    path = "report.html" if which == "overview" else RunPaths(out).report_page(HOSTILE)
    grounds = set()
    for scheme in ("light", "dark"):
        page = visit(path, color_scheme=scheme)
        for block in page.locator("details").all():
            block.evaluate("(block) => { block.open = true; }")
        found = page.evaluate(_CONTRAST)
        assert len(found) > 50 and found[0][0] >= 4.5, found[:5]
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2


def test_the_scene_follows_the_colour_scheme(visit: Any, out: Path) -> None:
    page = visit(RunPaths(out).report_page(HOSTILE))
    before = pixels(page)
    page.emulate_media(color_scheme="dark")
    assert any(pixels(page) != before for _ in range(50))  # the browser tells of the change when it likes


def test_everything_that_can_be_used_has_a_name(visit: Any, out: Path) -> None:
    for path in ("report.html", RunPaths(out).report_page(HOSTILE)):
        page = visit(path)
        unnamed = page.evaluate(
            """() => [...document.querySelectorAll("button, input, a, svg[role=img], canvas, img, [tabindex='0']")]
            .filter((e) => !(e.ariaLabel || e.textContent.trim() || e.hasAttribute("alt") || e.labels?.length))
            .map((e) => e.outerHTML)"""
        )
        assert unnamed == []
        levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((h) => +h.tagName[1])")
        assert levels[0] == 1 and all(b - a <= 1 for a, b in pairwise(levels))


def test_charts_are_drawn(visit: Any, out: Path) -> None:
    page = visit()
    assert page.locator("#timeline svg.timeline rect.span").count() >= 3
    boxes = [curve.bounding_box() for curve in page.locator("polyline.curve").all()]
    assert len(boxes) == 4  # held, promised; prior, driver
    assert all(box["width"] > 5 for box in boxes)
    page = visit(RunPaths(out).report_page(HOSTILE))
    assert page.locator("#consistency polyline.curve").count() >= 6 and page.locator("#work rect.span").count() == 3
