"""Workers: backends as child processes, for programs in another environment.

`geoflow worker NAME` serves the worker that the backend NAME declares (`declaration`). The rules are the same for all
workers (`serving`): no module here depends on a model.
"""
