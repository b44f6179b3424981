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
- to be seen: `ledger`, `progress`, `metrics`, `timeline`, `trace`
"""
