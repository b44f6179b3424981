"""`geoflow bench reversal`: made-up films through `reconstruct`, and how often near and far come out exchanged."""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geoflow
from geoflow.bench.reversal.film_scores import OUTCOMES, REFUSED, REVERSED, score_film
from geoflow.bench.reversal.intervals import Rate, rate_of
from geoflow.errors import ConfigError
from geoflow.fields import DOUBT_FOCAL, DOUBT_NONE
from geoflow.store.whole import write_whole
from geoflow.synth.films import RECIPES, film
from geoflow.synth.films.drawn_film import drawn_film

if TYPE_CHECKING:
    from rich.console import Console

FAILED = "failed"  # the reconstruction raised an error
_CODE = ("geometry", "synth", "bench/reversal")  # what a film's figures depend on
_EVERY = 20  # films between two summaries


def bench_reversal(
    out: Path,
    *,
    recipes: Sequence[str],
    seeds: range,
    drawn: bool = False,
    workers: int = 2,
    fresh: bool = False,
    console: Console,
) -> dict[str, Any]:
    """Reconstruct and judge a film for each recipe and seed; return the content of `out/reversal.json`.

    Each film is a line of `out/films.jsonl` as soon as it is done. Films that this code has measured before are not
    measured again, unless `fresh` is set, so that an interrupted bench goes on where it was.

    With `drawn`, films are pictures from which tracks and SIFT matches are taken; else they are tracks alone.

    Raises ConfigError for an unknown recipe.
    """
    if unknown := sorted(set(recipes) - set(RECIPES)):
        raise ConfigError(f"unknown recipes {unknown}; there are: {', '.join(RECIPES)}")
    out.mkdir(parents=True, exist_ok=True)
    lines, code = out / "films.jsonl", _code_digest()
    if fresh:
        lines.unlink(missing_ok=True)
    wanted = [(recipe, seed) for seed in seeds for recipe in recipes]
    rows = {key: row for key, row in _measured(lines, code, drawn).items() if key in set(wanted)}
    missing = [key for key in wanted if key not in rows]
    console.print(f"{len(rows)} films measured before, {len(missing)} to do")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _quieten) as pool, lines.open("a") as log:
        log.write("\n")  # the last line may have been cut off
        try:
            running = {pool.submit(measure_film, *key, drawn): key for key in missing}
            for count, done in enumerate(as_completed(running), 1):
                row = rows[running[done]] = {"code": code, **done.result()}
                log.write(json.dumps(row) + "\n")
                log.flush()
                if count % _EVERY == 0:
                    console.print(
                        f"{count} of {len(missing)}: {dict(Counter(row['outcome'] for row in rows.values()))}"
                    )
                    _write(out, recipes, rows.values())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            found = _write(out, recipes, rows.values())
    return found


def measure_film(recipe: str, seed: int, drawn: bool = False) -> dict[str, Any]:
    """Make a film, reconstruct it and judge the result; return its row."""
    from geoflow.geometry.motion.structure import reconstruct

    if drawn:
        pictures = drawn_film(recipe, seed)
        made, grays = pictures.film, pictures.grays
    else:
        made = film(recipe, seed)
        grays = made.blank_frames()
    row: dict[str, Any] = {"recipe": recipe, "seed": seed, "drawn": drawn, "setup": asdict(made.setup)}
    began = time.process_time()
    try:
        structures = reconstruct(made.chains, grays)
    except Exception as error:  # one film must not stop the others
        return row | {"outcome": FAILED, "tellable": False, "reason": f"{type(error).__name__}: {error}", "cpu_s": 0.0}
    seconds = time.process_time() - began
    score = score_film(structures, made.chains, made.truth)
    return row | asdict(score) | {"tellable": score.tellable, "cpu_s": seconds}


def summarise(recipes: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the outcomes and the two rates, by recipe and for all films.

    `reversed_valid` is the share of reversed ones among the films of which a structure was returned, `right_refused`
    the share without a structure among the films that can be told from their mirror image. `focal_within_one` and
    `focal_within_two` are the shares of structures whose true focal length lies within that many standard deviations
    of the estimated one.
    """
    rows = list(rows)
    by_recipe = {name: _figures([row for row in rows if row["recipe"] == name]) for name in recipes}
    return {"overall": _figures(rows), "recipes": by_recipe}


def _figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    outcomes = Counter(row["outcome"] for row in rows)
    tellable = [row for row in rows if row["tellable"]]
    returned = sum(outcomes.values()) - outcomes[REFUSED] - outcomes[FAILED]
    refused = sum(row["outcome"] == REFUSED for row in tellable)
    return {
        "films": len(rows),
        **{name: outcomes[name] for name in (*OUTCOMES, FAILED)},
        "reversed_valid": asdict(rate_of(outcomes[REVERSED], returned)),
        "right_refused": asdict(rate_of(refused, len(tellable))),
        "focal_within_one": asdict(_focal_within(rows, 1)),
        "focal_within_two": asdict(_focal_within(rows, 2)),
        "cpu_s_per_film": round(sum(row["cpu_s"] for row in rows) / max(1, len(rows)), 2),
    }


def _focal_within(rows: Sequence[Mapping[str, Any]], deviations: float) -> Rate:
    """Return how often the true focal length lies within so many stated deviations; assumed lenses do not count."""
    told = [row for row in rows if row.get("lens") in (DOUBT_NONE, DOUBT_FOCAL) and row["focal_deviation"] > 0]
    off = [abs(math.log1p(row["focal_error"])) / row["focal_deviation"] for row in told]
    return rate_of(sum(distance <= deviations for distance in off), len(off))


def _write(out: Path, recipes: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    found = summarise(recipes, rows)
    write_whole(out / "reversal.json", json.dumps(found, indent=1).encode())
    return found


def _measured(lines: Path, code: str, drawn: bool) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the rows that this very code has written; a line cut off by an interruption is left out."""
    found = {}
    for line in lines.read_text().splitlines() if lines.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if row["code"] == code and row["drawn"] == drawn:
            found[row["recipe"], row["seed"]] = row
    return found


def _code_digest() -> str:
    """Return a digest of the modules on which a film's figures depend."""
    root, digest = Path(geoflow.__file__).parent, hashlib.sha256()
    for path in sorted(path for part in _CODE for path in (root / part).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _quieten() -> None:
    """Send this process's stderr away: COLMAP writes lines about every adjustment, whatever its level of logging."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
