"""Where things live: which room may import which, how many modules lie loose, and that a name stands for one thing."""

from __future__ import annotations

import ast
import functools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import tomllib

ROOT = Path(__file__).parents[1]
FRONT_DOOR = "geoflow"  # `geoflow/__init__.py` itself

# From the ground up, with the reason why a row stands where it stands. A room may import from the rows below its own.
# Rooms of one row do not know each other. A name with a point is a module that has a place of its own, apart from the
# folder that it lies in.
ORDER: tuple[tuple[tuple[str, ...], str], ...] = (
    (("errors",), "what goes wrong, in everyone's words"),
    (("values", "files"), "a user's values and files, before anyone knows what they are for"),
    (("fields", "segments"), "the words of the design: what arrays there are, which frames"),
    (("geometry",), "mathematics on fields; knows of no stages"),
    (("video",), "frames of a video, and what is known of its camera; knows of no stages"),
    (("quality",), "what frames are worth, from their fields; knows no stage and no store"),
    (("stage",), "the seam: what a backend fills in"),
    (("observe.events",), "the words of the ledger, which stores are judged by"),
    (("models", "synth"), "networks, and made-up scenes: computations that know neither Ray nor the pipeline"),
    (("store",), "what a run leaves behind; read without everything above"),
    (("stages", "environments"), "the library's own stages; the environments that stages run in"),
    (("backends",), "finds stages by name, with their weights and licences"),
    (("workers",), "backends that other programs start; a backend declares its own"),
    (("actors", "pipeline"), "the backends themselves; the graph of stages, which names backends and environments"),
    (("cluster",), "Ray itself, in which environments come up"),
    (("engine",), "runs a pipeline on Ray; knows no model, and nobody who watches it"),
    (("observe",), "watches the engine"),
    (("curation",), "which of a run's stores, and what of them, is worth using"),
    (("planning", "scanning", "export", "evaluate"), "what comes before a run, and what is made of its stores"),
    (("backends.contract", "report", "doctor"), "what looks at a backend, a store or a machine as a whole"),
    (("notebook", "comparison"), "shows in Jupyter what the report draws; two stores side by side, drawn as there"),
    (("results",), "how a run ended; a notebook shows it as a table"),
    (("run_records",), "what is written down of a run"),
    (("runner",), "everything that a run does, in order"),
    ((FRONT_DOOR,), "the names that users import"),
    (("submission", "demo"), "a run elsewhere; a run on a made-up clip"),
    (("bench",), "runs that are measured"),
    (("cli",), "knows nothing but the library"),
    (("__main__",), "python -m geoflow"),
)

# Imports that climb, with the reason why they have to.
CLIMBS = {
    ("geoflow.store.reader", "geoflow.notebook.video_card"): "Jupyter asks the object itself for its HTML",
    ("geoflow.store.reader", "geoflow.notebook.scene_figure"): "`video.trajectory()` is a method of what is drawn",
}

MOST_AT_THE_TOP = 12
RANK = {room: rank for rank, (rooms, _) in enumerate(ORDER) for room in rooms}


@functools.lru_cache(maxsize=1)
def modules() -> dict[str, ast.Module]:
    """Every module of `geoflow` and `actors` by its dotted name; a package's is that of its `__init__`."""
    found = {}
    for path in sorted(path for home in ("geoflow", "actors") for path in (ROOT / home).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def own() -> list[str]:
    """The modules of `geoflow` itself, without the backends."""
    return [name for name in modules() if name.startswith("geoflow")]


def room_of(module: str) -> str:
    """The row's name for a module: its own where it has one, else that of its folder."""
    if module == FRONT_DOOR:
        return FRONT_DOOR
    inside = module.removeprefix("geoflow.")
    return inside if inside in RANK else inside.split(".")[0]


@functools.lru_cache(maxsize=1)
def imports() -> dict[str, set[str]]:
    """The modules that each module imports, wherever in it, except for types only."""
    known = modules()
    found: dict[str, set[str]] = {}
    for name, tree in known.items():
        wanted: set[str] = set()
        for node in _running(tree):
            if isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inside = [f"{node.module}.{alias.name}" for alias in node.names]
                wanted |= {module if module in known else node.module for module in inside}
        found[name] = wanted & known.keys() - {name}
    return found


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below one, leaving out what stands under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield other
                yield from _running(other)
        else:
            yield child
            yield from _running(child)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that reach each other, by Tarjan's algorithm (1972)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            group = stack[stack.index(name) :]
            del stack[-len(group) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in graph:
        if name not in order:
            visit(name)
    return found


def climbs(graph: dict[str, set[str]]) -> set[tuple[str, str]]:
    """Imports from a row that is not below the importer's own."""
    pairs = ((name, other) for name, others in graph.items() for other in others)
    return {(a, b) for a, b in pairs if room_of(a) != room_of(b) and RANK[room_of(b)] >= RANK[room_of(a)]}


def test_every_module_is_in_a_room_of_the_order() -> None:
    assert {name: room_of(name) for name in modules() if room_of(name) not in RANK} == {}
    assert {room for room in RANK if room not in {room_of(name) for name in modules()}} == set(), "rooms that are gone"


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles(imports()) == []


def test_no_import_climbs() -> None:
    assert ("geoflow.store.x", "geoflow.cli.y") in climbs({"geoflow.store.x": {"geoflow.cli.y", "geoflow.errors"}})
    found = climbs(imports())
    assert {pair for pair in found if pair not in CLIMBS} == set()
    assert {pair for pair in CLIMBS if pair not in found} == set(), "no longer needed"


def test_imports_for_types_only_do_not_count_and_those_inside_functions_do() -> None:
    source = "if typing.TYPE_CHECKING:\n    import a\nelse:\n    import b\ndef f():\n    import c\n"
    nodes = [node for node in _running(ast.parse(source)) if isinstance(node, ast.Import)]
    assert [node.names[0].name for node in nodes] == ["b", "c"]


def test_few_modules_lie_loose_at_the_top() -> None:
    loose = sorted(path.name for path in (ROOT / "geoflow").glob("*.py") if path.name != "__init__.py")
    assert len(loose) <= MOST_AT_THE_TOP, loose


def test_no_two_modules_have_one_name() -> None:
    """Except for the rooms of models, whose words are their own."""
    found = defaultdict(list)
    for name in own():
        if room_of(name) != "models" and not (ROOT / name.replace(".", "/")).is_dir():
            found[name.rsplit(".")[-1]].append(name)
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def test_no_two_classes_have_one_name() -> None:
    """Except for the rooms of models. Classes inside of classes go by both names, such as the `Params` of a stage."""
    found = defaultdict(list)
    for name in (name for name in own() if room_of(name) != "models"):
        for node in modules()[name].body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(name)
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def test_the_reader_is_shipped_with_all_that_it_imports() -> None:
    """`geoflow-reader` holds whole rooms up to `store`; what it must not do without is named here if it lacks it."""
    project = tomllib.loads((ROOT / "packaging/reader/pyproject.toml").read_text())
    shipped = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert all((ROOT / "packaging/reader" / source).exists() for source in shipped)
    assert {source.removeprefix("../../") for source in shipped} - {"LICENSE"} == {*shipped.values()} - {
        "geoflow/LICENSE"
    }, "each file keeps its place"
    homes = {path.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".") for path in shipped.values()}
    folders = {home for home in homes if (ROOT / home.replace(".", "/")).is_dir() and home.count(".") == 1}
    whole = folders - {"geoflow.geometry", "geoflow.observe", "geoflow.quality"}
    held = {name for name in modules() if name in homes or ".".join(name.split(".")[:2]) in whole}
    assert {"geoflow.store.reader", "geoflow.video.decoder", "geoflow.geometry.rigid"} <= held
    lacking = {(name, other) for name in held for other in imports()[name] - held}
    assert lacking - CLIMBS.keys() == set(), "put the module into packaging/reader/pyproject.toml"
