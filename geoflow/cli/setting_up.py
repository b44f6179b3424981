"""Commands about machines and models: doctor, models, envs, worker."""

from __future__ import annotations

from typing import Annotated

import typer

from geoflow.cli.arguments import Address, AsJson, PipelineName, Settings, Without, pipeline_of, settings_of
from geoflow.cli.command import command, examples
from geoflow.cli.completion import backends, environments, pipelines
from geoflow.cli.output import confirm, print_json, result_alone, result_console

app = typer.Typer()
models = typer.Typer(
    help="Show, fetch and check models: licences, weights, needs.",
    no_args_is_help=True,
    epilog=examples("geoflow models list", "geoflow models fetch geometrycrafter:determ"),
)
envs = typer.Typer(
    help="Show, check, build and remove the environments of stages.",
    no_args_is_help=True,
    epilog=examples("geoflow envs list", "geoflow envs build mediapipe", "geoflow envs prune --dry-run"),
)
for name, group in (("models", models), ("envs", envs)):
    app.add_typer(group, name=name)

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[BACKEND]...", help="such as moge; default: all", autocompletion=backends),
]
EnvNames = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME|FILE]...", help="such as mediapipe, or your own file; default: all", autocompletion=environments
    ),
]


@command(app, "geoflow doctor", "geoflow doctor --pipeline geometry --json")
def doctor(
    pipeline: PipelineName = "embedded", set_: Settings = None, without: Without = None, as_json: AsJson = False
) -> None:
    """Check whether a pipeline will run on this machine.

    What is wrong is shown with what to do. The exit status is 3 if the pipeline cannot run.
    """
    from dataclasses import asdict

    from geoflow.doctor import can_run, gather, judge, render_findings

    pipe = pipeline_of(pipeline, set_, without)
    with result_alone():
        findings = judge(gather(pipe))
    if as_json:
        rows = [asdict(finding) for finding in findings]
        print_json({"pipeline": pipe.name, "can_run": can_run(findings), "findings": rows})
    else:
        result_console(width=160).print(render_findings(pipe.name, findings))
    raise typer.Exit(0 if can_run(findings) else 3)


@command(models, "geoflow models list", "geoflow models list --json", name="list")
def models_list(as_json: AsJson = False) -> None:
    """List every backend's licence, weights and needs.

    The list says, too, whether the weights are on this machine.
    """
    from geoflow.backends.catalogue import describe_models, render_models

    rows = describe_models()
    if as_json:
        print_json(rows)
    else:
        result_console(width=160).print(render_models(rows))


@command(models, "geoflow models fetch moge", "geoflow models fetch geometrycrafter:determ", name="fetch")
def models_fetch(
    names: Annotated[
        list[str],
        typer.Argument(metavar="BACKEND[:NAME]...", help="such as geometrycrafter:determ", autocompletion=backends),
    ],
) -> None:
    """Download the pinned weights of backends.

    Weights of the Hugging Face hub go into its own cache ($HF_HOME), others into GeoFlow's cache. For files that only
    you can get, such as files behind a registration, it says how to get them; exit status 2.
    """
    from geoflow.backends.catalogue import fetch_models

    for label, source in fetch_models(names):
        print(f"{label}: {source.folder}")


@command(
    models,
    "geoflow models prefetch geometry --address auto",
    "geoflow models prefetch geometry --set geometry.model_type=determ",
    name="prefetch",
)
def models_prefetch(
    pipeline: Annotated[
        str, typer.Argument(metavar="PIPELINE", help="embedded, geometry, or a file", autocompletion=pipelines)
    ],
    set_: Settings = None,
    address: Address = None,
) -> None:
    """Fetch a pipeline's weights on every node of a cluster."""
    from geoflow.planning.prefetch import prefetch

    with result_alone():
        found = prefetch(pipeline, settings=settings_of(set_), address=address)
    print("\n".join(f"{node}: {', '.join(folders)}" for node, folders in found.items()) or "no weights are needed")


@command(models, "geoflow models check", "geoflow models check moge --quick", name="check")
def models_check(
    names: Names = None,
    quick: Annotated[bool, typer.Option("--quick", help="check that files are complete, not their SHA-256")] = False,
    as_json: AsJson = False,
) -> None:
    """Check the weights on this machine: revision, SHA-256.

    The exit status is 3 if something is wrong.
    """
    from geoflow.backends.catalogue import check_models

    found = check_models(names or [], deep=not quick)
    if as_json:
        print_json(found)
    else:
        lines = [f"{label}: {', '.join(wrong) or 'right'}" for label, wrong in found.items()]
        print("\n".join(lines) or "no weights are here")
    raise typer.Exit(3 if any(found.values()) else 0)


@command(envs, "geoflow envs list", "geoflow envs list --json", name="list")
def envs_list(as_json: AsJson = False) -> None:
    """List environments, the stages that use them, and their packages."""
    from geoflow.planning.environment_listing import list_environments, render_environments

    rows = list_environments()
    if as_json:
        print_json(rows)
    else:
        result_console(width=160).print(render_environments(rows))


@command(envs, "geoflow envs check", "geoflow envs check moge --json", name="check")
def envs_check(names: EnvNames = None, as_json: AsJson = False) -> None:
    """Check the files of environments, without building anything.

    They must be valid for Ray, and their packages must be readable. The exit status is 3 if they are not.
    """
    from geoflow.planning.environment_listing import check_environments

    found = check_environments(names or [])
    if as_json:
        print_json(found)
    else:
        print("\n".join(f"{name}: {line}" for name, wrong in found.items() for line in wrong or ["right"]))
    raise typer.Exit(3 if any(found.values()) else 0)


@command(envs, "geoflow envs build mediapipe", "geoflow envs build moge --load", name="build")
def envs_build(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME|FILE", help="such as mediapipe, or your own file", autocompletion=environments),
    ],
    backend: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BACKEND",
            help="a backend to import in it; may be repeated; default: all that pipelines run in it",
            autocompletion=backends,
        ),
    ] = None,
    load: Annotated[bool, typer.Option("--load", help="also load the models, which fetches weights")] = False,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Build an environment and try the stages that use it.

    It shows the time and the size, or the error.
    """
    import sys
    from dataclasses import asdict
    from functools import partial

    from geoflow.planning.environment_building import build
    from geoflow.planning.environment_listing import backends_of, render_built

    with result_alone():
        progress = partial(print, file=sys.stderr, flush=True)
        built = build(name, backend or backends_of(name), load=load, address=address, progress=progress)
    if as_json:
        print_json(asdict(built))
    else:
        print(render_built(built))


@command(envs, "geoflow envs prune --dry-run", "geoflow envs prune --yes --unwanted my_env.yaml", name="prune")
def envs_prune(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE]...", help="files of your own whose environments stay, beside runtime_envs/"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would go, and remove nothing")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="remove without asking")] = False,
    unwanted: Annotated[
        bool, typer.Option("--unwanted", help="remove also what fits, but no file of runtime_envs/ asks for")
    ] = False,
    other_machines: Annotated[
        bool, typer.Option("--other-machines", help="remove also what another machine with this disk used last")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove environments that no run will use again.

    Each change of GeoFlow's packages makes new environments in GeoFlow's cache and leaves the old ones. What a process
    or a Ray cluster on this machine may use stays. Whatever is removed is built again when a run needs it.
    """
    from dataclasses import asdict

    from geoflow.planning.environment_pruning import find_environments, remove, render_environments_kept

    rows = find_environments(files or [], unwanted=unwanted, other_machines=other_machines)
    if any(row.removable for row in rows) and not dry_run:
        if not (as_json or yes):
            result_console().print(render_environments_kept(rows))
        if not yes:
            confirm("remove those that can go?", "add --yes to remove them, or --dry-run to see them only")
        rows = remove(rows)
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        result_console().print(render_environments_kept(rows))


_WORKER_EXAMPLES = ("geoflow worker moge points.npy", "geoflow worker moge --help")


@command(
    app,
    *_WORKER_EXAMPLES,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    help="Serve a model to other programs, as a child process.\n\n`geoflow worker --help` lists the models, and "
    "`geoflow worker NAME --help` shows the arguments of one. It runs in this Python, which must have the model's "
    "packages.",
)
def worker(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="NAME [ARGUMENT]...", help="a model's name, and its own arguments")
    ] = None,
) -> None:
    """Print JSON on stdout and nothing else; logs go to stderr."""
    from geoflow.workers import serving

    if not arguments or arguments[0] in ("--help", "-h"):
        shown = examples(*_WORKER_EXAMPLES).removeprefix("\b\n")
        print(
            f"Usage: geoflow worker NAME [ARGUMENT]... [--set PARAM=VALUE]...\n\n"
            "  Serve a model to other programs, as a child process. It runs in this Python,\n"
            f"  which must have the model's packages.\n\nModels:\n{serving.overview()}\n\n{shown}"
        )
        raise typer.Exit(0 if arguments else 2)
    name, *rest = arguments
    serving.serve(name, rest, lambda settings: settings_of(settings, "PARAM=VALUE"))
