"""Observation of runs. Where to look:

- the ledger: `events` (every event with its fields), `ledger` (writes and reads them), `clock`
- counted from the ledger: `tally` with `counts` (the one count of a run), `news` (what did not go as planned)
- shown: `console`, `board` (for notebooks), `status`, `metrics` with `metric_names` and `dashboard`
- rebuilt after a run: `timeline`, `trace`
"""
