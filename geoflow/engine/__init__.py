"""The streaming executor on Ray. Where to look:

- decisions, as pure functions, without Ray: `schedule` (what runs next, what a failure means), `allocation` (which
  models fit together), `tokens` (who computes on a GPU, and who waits), `resume` and `keys` (what is done again),
  `splitting` (segments in halves)
- the driver's books: `graph`, `state` (videos and segments), `calls`, `residency` (models on GPUs), `checkpoint`,
  `profile` (for the next run)
- the loop: `executor`, with `flow` (segments through the graph), `finishing` (ends of videos), `intake` (what may
  start)
- actors: `fleet` (all pools), `pool`, `gpu_fleet` (who lives on which GPU), `gpus`, `cluster` (what there is), `host`
  and `worker` (in the actor's process), `gpu_memory`, `wire`, `workfiles`
- Ray itself: `cluster` (joined, or started and left), `joining`, `job_server` and `auth_token` (before it is joined),
  `keeper` and `watch` (nothing outlives its driver; it may end under a run), `overlay` and `own_first` (environments)
- to be seen: `clock`, `ledger`, `progress`, `metrics`, `timeline`, `trace`
"""
