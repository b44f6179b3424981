"""Options that several commands share, and the meaning of their texts."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geoflow.cli import completion
from geoflow.errors import ConfigError
from geoflow.values.yaml_text import parse_yaml
from geoflow.video.lens import lens_of

if TYPE_CHECKING:
    from geoflow.pipeline import Pipeline

Out = Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="output folder")]
Destination = Annotated[
    str, typer.Option("-o", "--out", metavar="OUT", help="output folder, or a URI such as s3://bucket/out")
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout and nothing else")]
PipelineName = Annotated[
    str,
    typer.Option(
        "--pipeline",
        metavar="NAME|FILE",
        help="embedded or manipulation-embedded (CPU); geometry, geometry-jittor, lingbot, manipulation, "
        "objects, tracks or vipe (GPU); or a file, such as an earlier OUT/pipeline.yaml",
        autocompletion=completion.pipelines,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="STAGE.PARAM=VALUE",
        help="change a parameter; may be repeated. `geoflow params` lists them",
        autocompletion=completion.settings,
    ),
]
Without = Annotated[
    str | None,
    typer.Option(
        metavar="STAGE,...",
        help="leave out these stages, such as hands,tracks",
        autocompletion=completion.stages,
    ),
]
Fps = Annotated[float | None, typer.Option(metavar="RATE", help="resample to this frame rate")]
Size = Annotated[str | None, typer.Option(metavar="WxH", help="process at this size, such as 640x360")]
Limit = Annotated[int | None, typer.Option(metavar="N", help="stop after this many frames of each video")]
Intrinsics = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|NUMBERS",
        help="known camera: fx,fy,cx,cy[,k1,k2,p1,p2,k3] (OpenCV), in pixels of the upright picture that players show; "
        "or a file with these",
    ),
]
Masks = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="folder with <video>/<frame images>; non-zero pixels are ignored"),
]
Objects = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER|FILE",
        help="folder with <video>/<label images>, whose pixel values are object numbers; or a file (CSV, YAML) of "
        "boxes and points",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Ray cluster to join; default: $RAY_ADDRESS, else a local one"),
]
Stream = Annotated[
    int | None,
    typer.Option(metavar="N", min=0, help="number of the stream to use, for files with several video streams"),
]
Pattern = Annotated[
    str | None,
    typer.Option(metavar="GLOB", help="for frame folders: use only pictures with these names, such as '*.color.png'"),
]
Cameras = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="known poses: a COLMAP model, ViPE artefacts, a TUM file, a GeoFlow store, or a folder with one per video",
    ),
]
Scale = Annotated[
    float | None, typer.Option(metavar="METRES", help="metres per unit of the known poses; 1: they are in metres")
]
Fit = Annotated[
    list[str] | None,
    typer.Option("--fit", metavar="NAME=VALUE", help="what counts as fit, such as blur=0.8; may be repeated"),
]
Where = Annotated[
    str | None,
    typer.Option(metavar="CONDITION", help='choose segments by their columns, such as "quality > 0.6 and posed == 1"'),
]
Chosen = Annotated[
    Path | None,
    typer.Option("--select", metavar="FILE", help="a list that `geoflow select` wrote: its frames only"),
]
Fresh = Annotated[bool, typer.Option("--resume/--fresh", help="continue from the work in OUT, or compute it again")]
Inputs = Annotated[
    list[str],
    typer.Argument(metavar="INPUT...", help="files, folders, globs, frame folders, manifests, URIs"),
]
Store = Annotated[str, typer.Argument(metavar="FILE", help="a store, OUT/videos/<name>.h5")]
RunFolder = Annotated[str, typer.Argument(metavar="OUT", help="a run's folder")]


def stages_of(names: str | None) -> list[str]:
    """Return the stages that `--without` names."""
    return [name.strip() for name in (names or "").split(",") if name.strip()]


def pipeline_of(name: str, set_: list[str] | None, without: str | None = None) -> Pipeline:
    """Return the pipeline that `--pipeline`, `--set` and `--without` describe. Raises ConfigError."""
    from geoflow.pipeline import Pipeline

    return Pipeline.load(name).with_settings(settings_of(set_)).without(stages_of(without))


def settings_of(pairs: list[str] | None, form: str = "STAGE.PARAM=VALUE", option: str = "--set") -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"{option} {pair}: write it as {form}")
        settings[key.strip()] = parse_yaml(value, f"{option} {pair}: the value")
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


def intrinsics_of(text: str | None) -> Any:
    """Return the value of `--intrinsics` for `ReadOptions`: numbers, or the content of a file (text, JSON or YAML) with
    numbers, a 3x3 matrix, or a mapping with the names of `geoflow.video.lens`."""
    if text is None:
        return None
    source, what = (_read_text(text), f"--intrinsics {text}") if os.path.isfile(text) else (text, "--intrinsics")
    try:
        values: Any = [float(part) for part in re.sub(r"[\[\](),;]", " ", source).split()]
    except ValueError:
        values = parse_yaml(source, what) if os.path.isfile(text) and ":" in source else []
    if not isinstance(values, dict) and len(values) not in (4, 5, 6, 8, 9):
        raise ConfigError(
            f"--intrinsics {text}: expected fx,fy,cx,cy or a file with these or with a 3x3 matrix; the distortion of "
            "the lens may follow: k1[,k2[,p1,p2[,k3]]]"
        )
    lens = lens_of(values, what)
    if lens.distortion is None and lens.size is None:
        return lens.pinhole
    return values


def _read_text(path: str) -> str:
    """Return the text of a file in UTF-8 or UTF-16. Raises ConfigError."""
    try:
        data = Path(path).read_bytes()
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); check the file and its rights") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not a text file with numbers; save it as UTF-8 text") from None
