"""All settings that made a video's store: parameters of every stage, versions, weights, licences, reading options."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from geoflow.report import markup
from geoflow.report.markup import text
from geoflow.store.reader import Video

_OF_STAGE = ("backend", "version", "env", "licence", "weights", "revision", "num_cpus", "num_gpus", "gpu_memory")


def parameter_section(video: Video) -> str:
    """Return the store's attribute `pipeline` as tables, and as JSON."""
    made_by = video.pipeline
    rows = [
        ("geoflow version", video.version),
        ("pipeline", made_by.get("name")),
        ("fingerprint", made_by.get("fingerprint")),
        ("source", video.source),
        ("source SHA-256", video.source_sha256 or None),
        *((f"segment.{key}", value) for key, value in _items(made_by.get("segment"))),
        *((f"reading.{key}", value) for key, value in _items(made_by.get("reading"))),
    ]
    general = "".join(f"<div><dt>{text(name)}</dt><dd>{_value(value)}</dd></div>" for name, value in rows)
    stages = made_by.get("stages")
    tables = "".join(_stage(stage) for stage in stages if isinstance(stage, dict)) if isinstance(stages, list) else ""
    return (
        f'<section id="parameters"><h2>Parameters</h2><dl class="settings">{general}</dl>'
        f'<div class="stages">{tables}</div>'
        f"{markup.details('As JSON', made_by)}</section>"
    )


def _stage(stage: Mapping[str, Any]) -> str:
    about = [(key, stage[key]) for key in _OF_STAGE if stage.get(key) not in (None, "", [], {})]
    rest = [(key, value) for key, value in stage.items() if key not in {*_OF_STAGE, "slot", "params"}]
    params = "".join(
        f"<tr><th scope='row'>{text(k)}</th><td>{_value(v)}</td></tr>" for k, v in _items(stage.get("params"))
    )
    held = f"<table class='params'><tbody>{params}</tbody></table>" if params else '<p class="soft">no parameters</p>'
    facts = "".join(f"<dt>{text(key)}</dt><dd>{_value(value)}</dd>" for key, value in [*about, *rest])
    return f'<div class="stage"><h3>{text(stage.get("slot", "stage"))}</h3>{held}<dl class="about">{facts}</dl></div>'


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, Mapping) else []


def _value(value: Any) -> str:
    if value is None or value == "":
        return markup.MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "<br>".join(text(item) for item in value)
    return text(value if isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False, default=str))
