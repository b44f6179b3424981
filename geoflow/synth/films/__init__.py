"""Films that tempt a reconstruction into exchanging near and far: flat scenes, long and wide lenses, noisy tracks."""

from __future__ import annotations

from geoflow.synth.films.film_recipes import RECIPES, FilmRecipe
from geoflow.synth.films.track_film import TrackFilm, film

__all__ = ["RECIPES", "FilmRecipe", "TrackFilm", "film"]
