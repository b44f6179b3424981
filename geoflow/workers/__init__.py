"""Backends as child processes, for programs that live in another environment.

`geoflow worker NAME` serves the worker that the backend NAME declares (`declaration`), by rules that are the same for
all (`serving`): nothing here knows a model.
"""
