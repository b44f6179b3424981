"""A run's settings as a pipeline file: `OUT/pipeline.yaml`, with which `geoflow run` does the same work again.

Every parameter is in it, defaults included, so that it still says the same when a default changes.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from geoflow.pipeline import Pipeline, StageSpec
from geoflow.stage import bound_by_run
from geoflow.values.plain import plain, printable
from geoflow.values.version import VERSION
from geoflow.values.yaml_text import write_yaml
from geoflow.video.options import ReadOptions

_PATHS = ("masks", "objects", "cameras")


def as_file(pipeline: Pipeline, reading: ReadOptions) -> dict[str, Any]:
    """Return the content of a pipeline file that says what a run with these settings does.

    Relative paths of files become absolute. Options that are not set are left out.
    """
    own = pipeline.model_dump(exclude={"reading", "stages"}, exclude_none=True)
    options = {name: value for name, value in asdict(reading).items() if value is not None}
    for name in _PATHS & options.keys():
        options[name] = os.path.abspath(os.path.expanduser(options[name]))
    found = {**own, **({"reading": options} if options else {}), "stages": [_stage(spec) for spec in pipeline.stages]}
    return dict(plain(found, "pipeline"))


def as_text(pipeline: Pipeline, reading: ReadOptions) -> str:
    """Return the same as YAML, which begins with how to use it."""
    head = (
        f"# Settings of a run of GeoFlow {VERSION}, defaults included. To do the same work again:\n"
        "#   geoflow run INPUT... -o OUT --pipeline THIS_FILE\n"
    )
    return head + printable(write_yaml(as_file(pipeline, reading)))


def _stage(spec: StageSpec) -> dict[str, Any]:
    stage = spec.make_stage()
    filled_in = bound_by_run(type(stage.params))
    row = spec.model_dump(exclude={"params"}, exclude_none=True)
    if spec.env and os.path.isfile(spec.env) and spec.env.endswith((".yaml", ".yml")):
        row["env"] = os.path.abspath(spec.env)
    params = {name: value for name, value in asdict(stage.params).items() if name not in filled_in}
    return {**row, **({"params": params} if params else {})}
