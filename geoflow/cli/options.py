"""Options that several commands share, and what their texts stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from geoflow.errors import ConfigError

Out = Annotated[Path, typer.Option("-o", "--out", help="output folder")]
Destination = Annotated[str, typer.Option("-o", "--out", help="output folder, or a URI such as s3://bucket/out")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout and nothing else")]
PipelineName = Annotated[str, typer.Option("--pipeline", help="name in configs/pipelines/, or a file")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="STAGE.PARAM=VALUE", help="change a parameter")]
Address = Annotated[str | None, typer.Option(help="Ray cluster to join; default: $RAY_ADDRESS, else a local one")]
Stream = Annotated[
    int | None,
    typer.Option(metavar="N", min=0, help="of files with several video streams, the one of this number in the file"),
]
Pattern = Annotated[
    str | None,
    typer.Option(metavar="GLOB", help="of frame folders, the pictures of these names, such as '*.color.png'"),
]
Fresh = Annotated[bool, typer.Option("--resume/--fresh", help="go on from what OUT already holds, or compute it again")]


def settings_of(pairs: list[str] | None, form: str = "STAGE.PARAM=VALUE") -> dict[str, Any]:
    import yaml

    settings = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set {pair}: write it as {form}")
        settings[key.strip()] = yaml.safe_load(value)
    return settings


def size_of(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise ConfigError(f"--size {text}: write it as WIDTHxHEIGHT, such as 640x360") from None
    if width < 1 or height < 1:
        raise ConfigError(f"--size {text}: width and height should be positive")
    return width, height


def intrinsics_of(text: str | None) -> tuple[float, float, float, float] | None:
    """Four numbers as they are, or a file that holds them or a 3x3 matrix (text, JSON or YAML)."""
    if text is None:
        return None
    path = Path(text)
    source = path.read_text() if path.is_file() else text
    try:
        values = [float(part) for part in source.replace("[", " ").replace("]", " ").replace(",", " ").split()]
    except ValueError:
        values = []
    if len(values) == 9:
        values = [values[0], values[4], values[2], values[5]]
    if len(values) != 4:
        raise ConfigError(f"--intrinsics {text}: expected fx,fy,cx,cy or a file with them or with a 3x3 matrix")
    return values[0], values[1], values[2], values[3]
