"""A stage in a Python that is not Ray's: the actor stays in Ray's and forwards its calls to a child process.

- `abroad`: the Stage that the actor has, which forwards
- `child_process`: starts the child, brings what it prints to the log, and ends it
- `bootstrap`, `foreign_worker`: what runs in the child; of GeoFlow they import what needs no package except numpy
- `channel`, `shared_arrays`: messages between the two, and arrays in shared memory that has no name
- `remote_errors`, `foreign_meter`: errors and GPU memory of the child as if they were the actor's own
"""
