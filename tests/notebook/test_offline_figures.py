"""Figures that an exported notebook shows without a network: plotly.js comes once, and a user's choice stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from geoflow.notebook import offline_figures

pio = pytest.importorskip("plotly.io")


@dataclass
class Displayed:
    scripts: list[str] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)

    def show(self) -> dict[str, Any]:
        """Show a figure as a cell does, and return what the frontend gets."""
        import plotly.graph_objects as go

        go.Figure(go.Scatter(x=[1, 2], y=[2, 1]))._ipython_display_()
        return self.figures[-1]


@pytest.fixture
def jupyter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Displayed]:
    """As in a kernel, where plotly chose its renderer."""
    displayed = Displayed()
    display = pytest.importorskip("IPython.display")
    monkeypatch.setattr(display, "display_html", lambda html, raw: displayed.scripts.append(html))
    monkeypatch.setattr(display, "display", lambda bundle, raw: displayed.figures.append(bundle))
    monkeypatch.setattr(offline_figures, "in_notebook", lambda: True)
    monkeypatch.delenv("PLOTLY_RENDERER", raising=False)
    before = pio.renderers.default
    pio.renderers.default = "plotly_mimetype"
    yield displayed
    pio.renderers.default = before or None


def test_the_script_comes_once_and_each_figure_as_html(jupyter: Displayed) -> None:
    assert "text/html" not in jupyter.show(), "plotly's own choice shows nothing where there is no plotly.js"
    for _ in range(2):
        offline_figures.keep_figures_offline()
        found = jupyter.show()
        assert "Plotly.newPlot" in found["text/html"] and "application/vnd.plotly.v1+json" in found
        assert len(found["text/html"]) < 20_000, "the script is not in each figure"
    (script,) = jupyter.scripts
    assert len(script) > 1_000_000 and "cdn.plot.ly" not in script.split("<script>")[1]


@pytest.mark.parametrize("chosen", ["svg", "plotly_mimetype+notebook_connected"])
def test_a_users_renderer_stays(jupyter: Displayed, chosen: str) -> None:
    pio.renderers.default = chosen
    offline_figures.keep_figures_offline()
    assert pio.renderers.default == chosen and jupyter.scripts == []


def test_the_environments_choice_stays_and_nothing_happens_elsewhere(
    jupyter: Displayed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLOTLY_RENDERER", "plotly_mimetype")
    offline_figures.keep_figures_offline()
    monkeypatch.delenv("PLOTLY_RENDERER")
    monkeypatch.setattr(offline_figures, "in_notebook", lambda: False)
    offline_figures.keep_figures_offline()
    assert pio.renderers.default == "plotly_mimetype"
