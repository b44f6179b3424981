"""The streaming executor on Ray. Where to look:

- decisions, as pure functions, without Ray: `schedule` (what runs next, what a failure means), `resume` and `keys`
  (what is done again), `sizing` (actors of each stage), `gpu.allocation` (which models fit together), `gpu.tokens` (who
    computes on a GPU, which waits)
- the driver's books: `graph`, `state` (videos and segments), `calls`, `gpu.residency` (models on GPUs), `checkpoint`,
  `profile` (for the next run)
- the loop: `executor`, with `flow` (segments through the graph), `finishing` (ends of videos), `intake` (what may
  start)
- actors: `fleet` (all pools), `pool`, `gpu.gpu_fleet` (which model is on which GPU), `gpu.placement`
- `actor/`: what runs in a worker's process; `bridge/`: a stage of another Python, in a child of that process
"""
