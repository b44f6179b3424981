"""Recipes of films: ranges out of which each seed draws one scene, lens, flight and quality of tracks."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

Range = tuple[float, float]


@dataclass(frozen=True)
class FilmRecipe:
    """Ranges, each drawn from uniformly (in the logarithm where both ends are positive)."""

    scenes: tuple[str, ...] = ("relief", "cards")
    flights: tuple[str, ...] = ("sideways", "arc")
    field_of_view_deg: Range = (40.0, 70.0)  # horizontal
    relief: Range = (0.3, 1.0)  # depth range over middle distance
    travel: Range = (0.1, 0.4)  # way over middle distance
    noise_px: Range = (0.3, 1.0)
    drift_px: Range = (0.0, 0.1)  # per frame, as a random walk
    wrong: Range = (0.0, 0.05)  # share of points that wander off
    sticking: Range = (0.2, 0.6)  # share of covered points that stick to what covers them
    shake_deg: Range = (0.1, 0.6)
    frames: Range = (10, 20)
    keyframe_every: Range = (1, 1)
    points: Range = (100, 220)  # alive at a time
    radial: Range = (0.0, 0.0)  # k1


@dataclass(frozen=True)
class FilmSetup:
    """What one seed drew; see FilmRecipe for units."""

    scene: str
    flight: str
    field_of_view_deg: float
    relief: float
    travel: float
    noise_px: float
    drift_px: float
    wrong: float
    sticking: float
    shake_deg: float
    frames: int
    keyframe_every: int
    points: int
    radial: float


RECIPES: dict[str, FilmRecipe] = {
    "any": FilmRecipe(
        scenes=("relief", "cards", "ground", "room"),
        flights=("sideways", "forward", "arc", "walk", "corner"),
        field_of_view_deg=(20, 120),
        relief=(0.1, 1.4),
        travel=(0.08, 0.6),
        noise_px=(0.2, 1.2),
        shake_deg=(0.1, 1.5),
    ),
    "far_relief": FilmRecipe(field_of_view_deg=(20, 40), relief=(0.1, 0.5), travel=(0.1, 0.5)),
    "bas_relief": FilmRecipe(scenes=("relief",), field_of_view_deg=(40, 70), relief=(0.05, 0.3)),
    "sideways": FilmRecipe(flights=("sideways",), relief=(0.2, 1.0)),
    "arc": FilmRecipe(flights=("arc",), relief=(0.2, 1.0)),
    "forward": FilmRecipe(
        scenes=("relief", "cards", "ground", "room"), flights=("forward",), relief=(0.3, 1.0), travel=(0.15, 0.35)
    ),
    "ground_ahead": FilmRecipe(  # of all recipes the one that mapping reversed most often
        scenes=("ground",),
        flights=("walk", "forward"),
        field_of_view_deg=(50, 80),
        relief=(0.7, 1.4),
        travel=(0.2, 0.4),
        noise_px=(0.4, 0.8),
        frames=(10, 16),
        points=(100, 150),
    ),
    "walk": FilmRecipe(
        scenes=("ground", "room"), flights=("walk", "corner"), relief=(0.6, 1.4), travel=(0.15, 0.4), frames=(20, 36)
    ),
    "wide": FilmRecipe(
        scenes=("room", "cards", "ground"),
        flights=("walk", "sideways", "corner", "forward"),
        field_of_view_deg=(85, 120),
        relief=(0.5, 1.4),
        shake_deg=(0.3, 1.5),
    ),
    "long": FilmRecipe(field_of_view_deg=(20, 30), relief=(0.3, 1.0), travel=(0.1, 0.6)),
    "few": FilmRecipe(flights=("sideways", "arc", "forward"), frames=(6, 12), noise_px=(0.3, 0.8)),
    "phone": FilmRecipe(
        scenes=("relief", "cards", "ground", "room"),
        flights=("sideways", "arc", "walk"),
        field_of_view_deg=(50, 75),
        relief=(0.3, 1.2),
        frames=(36, 48),
        keyframe_every=(2, 3),
    ),
}


def draw(recipe: FilmRecipe, rng: np.random.Generator) -> FilmSetup:
    """Draw one film's values."""
    found = {"scene": str(rng.choice(recipe.scenes)), "flight": str(rng.choice(recipe.flights))}
    for field in fields(FilmSetup)[2:]:
        low, high = getattr(recipe, field.name)
        value = float(np.exp(rng.uniform(np.log(low), np.log(high))) if low > 0 else rng.uniform(low, high))
        found[field.name] = round(value) if field.type == "int" else value  # type: ignore[assignment]
    return FilmSetup(**found)  # type: ignore[arg-type]
