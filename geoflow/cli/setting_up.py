"""Commands about machines and models: doctor, models, envs, worker."""

from __future__ import annotations

from typing import Annotated

import typer

from geoflow.cli.arguments import Address, AsJson, PipelineName, Settings, settings_of
from geoflow.cli.output import print_json, result_alone, result_console

app = typer.Typer()
models = typer.Typer(
    help="Show, fetch and check the models of backends: licences, weights, needs.", no_args_is_help=True
)
envs = typer.Typer(help="Show, check and build the environments of stages.", no_args_is_help=True)
for name, group in (("models", models), ("envs", envs)):
    app.add_typer(group, name=name)

Names = Annotated[list[str] | None, typer.Argument(metavar="[BACKEND]...", help="default: all")]
EnvNames = Annotated[list[str] | None, typer.Argument(metavar="[NAME|FILE]...", help="default: all")]


@app.command()
def doctor(pipeline: PipelineName = "embedded", set_: Settings = None, as_json: AsJson = False) -> None:
    """Check whether a pipeline will run on this machine, and say what to do if not; exit status 3 if it cannot run."""
    from dataclasses import asdict

    from geoflow.doctor import can_run, gather, judge, render_findings
    from geoflow.pipeline import Pipeline

    pipe = Pipeline.load(pipeline, settings_of(set_))
    with result_alone():
        findings = judge(gather(pipe))
    if as_json:
        rows = [asdict(finding) for finding in findings]
        print_json({"pipeline": pipe.name, "can_run": can_run(findings), "findings": rows})
    else:
        result_console(width=160).print(render_findings(pipe.name, findings))
    raise typer.Exit(0 if can_run(findings) else 3)


@models.command("list")
def models_list(as_json: AsJson = False) -> None:
    """List every backend's licence, weights and needs, and whether its weights are on this machine."""
    from geoflow.backends.catalogue import describe_models, render_models

    rows = describe_models()
    if as_json:
        print_json(rows)
    else:
        result_console(width=160).print(render_models(rows))


@models.command("fetch")
def models_fetch(
    backends: Annotated[list[str], typer.Argument(metavar="BACKEND[:NAME]...", help="such as geometrycrafter:determ")],
) -> None:
    """Download the pinned weights: from the hub into its own cache ($HF_HOME), others into GeoFlow's cache.

    For files that only you can get, such as files behind a registration, it says how to get them; exit status 2.
    """
    from geoflow.backends.catalogue import fetch_models

    for label, source in fetch_models(backends):
        print(f"{label}: {source.folder}")


@models.command("prefetch")
def models_prefetch(
    pipeline: Annotated[str, typer.Argument(help="name in configs/pipelines/, or a file")],
    set_: Settings = None,
    address: Address = None,
) -> None:
    """Fetch a pipeline's weights on every node of a cluster, before a run needs them."""
    from geoflow.planning.prefetch import prefetch

    with result_alone():
        found = prefetch(pipeline, settings=settings_of(set_), address=address)
    print("\n".join(f"{node}: {', '.join(folders)}" for node, folders in found.items()) or "no weights are needed")


@models.command("check")
def models_check(
    backends: Names = None,
    quick: Annotated[bool, typer.Option("--quick", help="check that files are complete, not their SHA-256")] = False,
    as_json: AsJson = False,
) -> None:
    """Check the weights on this machine: revision, completeness, SHA-256; exit status 3 if something is wrong."""
    from geoflow.backends.catalogue import check_models

    found = check_models(backends or [], deep=not quick)
    if as_json:
        print_json(found)
    else:
        lines = [f"{label}: {', '.join(wrong) or 'right'}" for label, wrong in found.items()]
        print("\n".join(lines) or "no weights are here")
    raise typer.Exit(3 if any(found.values()) else 0)


@envs.command("list")
def envs_list(as_json: AsJson = False) -> None:
    """List every file of runtime_envs/: the stages that use it, and the packages that it installs."""
    from geoflow.planning.environment_listing import list_environments, render_environments

    rows = list_environments()
    if as_json:
        print_json(rows)
    else:
        result_console(width=160).print(render_environments(rows))


@envs.command("check")
def envs_check(names: EnvNames = None, as_json: AsJson = False) -> None:
    """Check the files, without building anything: valid for Ray, packages readable; exit status 3 if not."""
    from geoflow.planning.environment_listing import check_environments

    found = check_environments(names or [])
    if as_json:
        print_json(found)
    else:
        print("\n".join(f"{name}: {line}" for name, wrong in found.items() for line in wrong or ["right"]))
    raise typer.Exit(3 if any(found.values()) else 0)


@envs.command("build")
def envs_build(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE")],
    backend: Annotated[
        list[str] | None,
        typer.Option(help="a backend to import in it; default: all that pipelines run in it"),
    ] = None,
    load: Annotated[bool, typer.Option("--load", help="also load the models, which fetches weights")] = False,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Build an environment, start an actor in it and import its stages; show the time and size, or the error."""
    from dataclasses import asdict

    from geoflow.planning.environment_building import build
    from geoflow.planning.environment_listing import backends_of, render_built

    with result_alone():
        built = build(name, backend or backends_of(name), load=load, address=address)
    if as_json:
        print_json(asdict(built))
    else:
        print(render_built(built))


@app.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    help="Serve a backend to other programs, as a child process: `geoflow worker --help` lists them, and "
    "`geoflow worker NAME --help` shows its arguments. It runs in this Python, which must have the backend's packages.",
)
def worker(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="NAME [ARGUMENT]...", help="see NAME --help")] = None,
) -> None:
    """Print JSON on stdout and nothing else; logs go to stderr."""
    from geoflow.workers import serving

    if not arguments or arguments[0] in ("--help", "-h"):
        print(f"usage: geoflow worker NAME [ARGUMENT]... [--set PARAM=VALUE]...\n\n{serving.overview()}")
        raise typer.Exit(0 if arguments else 2)
    name, *rest = arguments
    serving.serve(name, rest, lambda settings: settings_of(settings, "PARAM=VALUE"))
