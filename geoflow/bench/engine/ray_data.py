"""A workload on Ray Data, with the settings that suit it best.

One item is one block (or `batch` items, if stated); every stage is a pool of actors with two tasks in flight each. Ray
Data supports only chains: if the workload forks, the stages are put one after the other, and a row carries only the
arrays that later stages still read.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from geoflow.bench.engine.bounds import Pools
from geoflow.bench.engine.sleeper import Sleeper
from geoflow.bench.engine.workloads import Workload


class SleepRows:
    """The callable class of one stage."""

    def __init__(self, workload: str, index: int, trace: str) -> None:
        self._workload = Workload.from_json(workload)
        self._stage = self._workload.stages[index]
        self._keep = self._workload.read_later(index)
        self._sleeper = Sleeper(self._workload, self._stage.name, trace)

    def __call__(self, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Process columns `item` (B), and one (B, payload_bytes) uint8 per stage whose output is carried along."""
        items = rows["id"]
        made = [
            self._sleeper.work(int(item), [rows[name][i] for name in self._stage.after]) for i, item in enumerate(items)
        ]
        columns = {name: rows[name] for name in self._keep if name != self._stage.name}
        if self._stage.name in self._keep:
            columns[self._stage.name] = np.stack(made)
        return {"id": items, **columns}


def drive(workload: Workload, pools: Pools | None, trace: str, cpus_per_worker: float, *, batch: int = 1) -> list[int]:
    """Run the workload; return the items that came out.

    With `pools` None each pool may grow from 1 to what fits on the GPUs.
    """
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    rows = ray.data.range(workload.items, override_num_blocks=math.ceil(workload.items / batch))
    for index, stage in enumerate(workload.stages):
        room: dict[str, Any] = (
            {"size": pools[stage.name]} if pools else {"min_size": 1, "max_size": int(workload.gpus / stage.gpus)}
        )
        rows = rows.map_batches(
            SleepRows,
            fn_constructor_args=(workload.to_json(), index, trace),
            batch_size=batch,
            batch_format="numpy",
            zero_copy_batch=True,
            compute=ray.data.ActorPoolStrategy(**room, max_tasks_in_flight_per_actor=2),
            num_cpus=cpus_per_worker,
            num_gpus=stage.gpus,
        )
    return [int(item) for out in rows.iter_batches(batch_size=None) for item in out["id"]]
