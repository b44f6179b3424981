"""What a run tells of itself. Where to look:

- the ledger: `events` (every event with its fields), `ledger` (writes and reads them), `clock`
- counted from it: `tally` with `counts` (the one count of a run), `news` (what went otherwise than planned)
- shown: `console`, `board` (for notebooks), `status`, `metrics` with `metric_names` and `dashboard`
- rebuilt afterwards: `timeline`, `trace`
"""
