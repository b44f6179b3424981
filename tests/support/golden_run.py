"""`make golden MODEL=NAME DIR=FOLDER`: hold a network against a folder of golden data; exit status 1 when it is off.

The folder is the model's own (`NAME.npz` with `NAME.json` each), or one that holds it under the model's name. Its
fill.py, in it or beside it, is run: it makes the weights. Sizes, seeds, options and tolerances are those it states.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from golden import Case, Comparison, Unusable

_HERE = Path(__file__).parent
_PREFIX = "golden_"


@dataclass
class Outcome:
    """What became of one case."""

    name: str
    compared: list[Comparison] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)  # results that were not compared
    fault: str = ""  # why it could not be run to its end

    @property
    def right(self) -> bool:
        return bool(self.compared) and not self.fault and all(row.right for row in self.compared)


def main(arguments: list[str]) -> int:
    """Print the table; return 0 when every case is right, 1 when one is not, 2 when there is nothing to run."""
    parser = argparse.ArgumentParser("make golden MODEL=NAME DIR=FOLDER", description=__doc__)
    parser.add_argument("model", help=f"one of {', '.join(models())}")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--all", action="store_true", help="every result, and not each case's worst alone")
    given = parser.parse_args(arguments)
    try:
        outcomes = run(given.model, given.folder)
    except Unusable as error:
        print(f"golden: {error}", file=sys.stderr)
        return 2
    show(given.model, outcomes, everything=given.all)
    return 0 if all(outcome.right for outcome in outcomes) else 1


def models() -> list[str]:
    """Return the models that say how their golden data is run."""
    names = (path.stem.removeprefix(_PREFIX) for path in sorted(_HERE.glob(f"{_PREFIX}*.py")))
    return [name for name in names if name != "run"]


def run(model: str, folder: Path) -> list[Outcome]:
    """Run every case of a folder.

    Raises Unusable when the model is unknown, the folder holds no cases, or this machine cannot run the model.
    """
    if model not in models():
        raise Unusable(f"no runner for the model {model!r}; there are: {', '.join(models())}")
    declared = importlib.import_module(f"{_PREFIX}{model}")
    name = getattr(declared, "DATA", model)
    folder = folder / name if (folder / name).is_dir() else folder
    if not folder.is_dir():
        raise Unusable(f"{folder} is no folder; give one with golden data as DIR=FOLDER")
    getattr(declared, "prepare", lambda: None)()
    names = sorted({path.stem for kind in ("npz", "json") for path in folder.glob(f"*.{kind}")})
    lists = [name for name in getattr(declared, "LISTS", {}) if (folder / name).is_file()]
    cases = [name for name in names if name not in {Path(item).stem for item in lists}]
    if not cases and not lists:
        raise Unusable(f"{folder} holds no cases; each is NAME.npz with NAME.json beside it")
    outcomes = [_attempt(name, lambda row, name=name: _run_case(declared, folder, name, row)) for name in cases]
    return outcomes + [
        _attempt(name, lambda row, name=name: row.compared.extend(declared.LISTS[name](folder / name)))
        for name in lists
    ]


def _run_case(declared: Any, folder: Path, name: str, outcome: Outcome) -> None:
    case = Case(folder, name)
    outcome.compared = case.compared
    kinds = [kind for kind in declared.RUNNERS if case.kind == kind or case.kind.startswith(f"{kind}_")]
    if not kinds:
        raise Unusable(
            f"{name}.json has the kind {case.kind!r}, which no runner knows; there are: {', '.join(declared.RUNNERS)}"
        )
    declared.RUNNERS[max(kinds, key=len)](case)
    outcome.skipped = case.not_compared()


def _attempt(name: str, work: Any) -> Outcome:
    """Whatever goes wrong with one case is its outcome; the next may be right."""
    import torch

    torch.set_num_threads(1)  # as most of the reference was made; on a busy machine it is quicker, too
    outcome = Outcome(name)
    try:
        with torch.inference_mode():
            work(outcome)
    except (Unusable, AssertionError) as error:
        outcome.fault = str(error)
    except Exception as error:  # of a network whose shapes do not fit, of a side-car that lacks a key
        traceback.print_exc()
        outcome.fault = f"{type(error).__name__}: {error}"
    return outcome


def show(model: str, outcomes: list[Outcome], *, everything: bool) -> None:
    """Print each case's worst result, or every result; all that are off in any case."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("case", "results", "result", "error", "allowed", "of allowed", "rule", title=f"{model}: golden data")
    for outcome in outcomes:
        rows = sorted(outcome.compared, key=_share, reverse=True)
        shown = rows if everything else [row for k, row in enumerate(rows) if k == 0 or not row.right]
        for k, row in enumerate(shown):
            colour = "" if row.right else "[red]"
            share = f"{colour}{_share(row):.2f}"
            name, count = (outcome.name, str(len(rows))) if k == 0 else ("", "")
            table.add_row(name, count, row.output, f"{row.error:.3g}", f"{row.allowed:.3g}", share, row.rule)
        if outcome.fault or not rows:
            fault = escape(outcome.fault or "nothing was compared")
            table.add_row("" if rows else outcome.name, "", f"[red]{fault}", "", "", "", "")
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    for outcome in outcomes:
        if outcome.skipped:
            console.print(f"{outcome.name}: not compared: {', '.join(outcome.skipped)}", markup=False)
    off = [outcome.name for outcome in outcomes if not outcome.right]
    count = sum(len(outcome.compared) for outcome in outcomes)
    verdict = f"off: {', '.join(off)}" if off else "all right"
    console.print(f"{len(outcomes)} cases, {count} results compared; {verdict}", markup=False)


def _share(row: Comparison) -> float:
    if row.error != row.error:
        return float("inf")
    return row.error / row.allowed if row.allowed else (float("inf") if row.error else 0.0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
