"""Plotly's figures in a notebook that is read elsewhere: exported as HTML, without a network."""

from __future__ import annotations

import os
from typing import Any

from geoflow.environments.extras import library
from geoflow.values.frontend import in_notebook

_DATA_ALONE = "plotly_mimetype"  # plotly's own choice in Jupyter: for frontends that have plotly.js
_WITH_SCRIPT = "plotly_mimetype+notebook"


def keep_figures_offline() -> None:
    """Have plotly put plotly.js into the notebook below the next figure, once, and each figure as HTML beside its data.

    Without them an exported notebook shows nothing where a figure was. They take about 5 MB. A renderer that the user
    chose, by `plotly.io.renderers.default` or PLOTLY_RENDERER, is left as it is; outside of notebooks nothing is done.

    Raises ConfigError if plotly is not installed.
    """
    if not in_notebook() or "PLOTLY_RENDERER" in os.environ:
        return
    renderers: Any = library("plotly.io", "notebook", "a figure").renderers
    if renderers.default == _DATA_ALONE:
        renderers.default = _WITH_SCRIPT
