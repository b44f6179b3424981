"""The engines that are compared, and the settings of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from geoflow.bench.engine.workloads import Workload
from geoflow.errors import ConfigError


@dataclass(frozen=True)
class Engine:
    """One engine with one way of setting it; `module` has the function `drive`."""

    name: str
    module: str
    how: str  # the settings, in words, for the table
    fixed: bool = False  # gets the best pools of the simulation; otherwise it sizes its pools itself
    resident: bool = False  # GeoFlow's own way: as many models stay on a GPU as fit into its memory, and take turns
    batched: bool = False  # takes `Workload.batch` items at a time
    phased: bool = False  # runs stage by stage
    dashboard: bool = False  # lists actors through Ray's dashboard
    env: dict[str, str] = field(default_factory=dict)  # variables that must be set before Ray starts
    resumes: bool = False  # keeps finished work in a folder it is given
    needs: tuple[str, ...] = ()  # modules that it needs

    def options(self, workload: Workload, folder: str) -> dict[str, Any]:
        """Return further arguments of `drive`; `folder` is kept after the run."""
        batch = {"batch": workload.batch} if self.batched else {}
        resident = {"resident": True} if self.resident else {}
        return batch | resident | ({"kept": folder} if self.resumes and workload.killed_at else {})

    def suits(self, workload: Workload) -> bool:
        """Return whether the engine is worth running on the workload."""
        return workload.batch > 1 or not self.batched


_HERE = __name__.rpartition(".")[0]
_GEOFLOW: dict[str, Any] = {"module": f"{_HERE}.geoflow_engine", "resumes": True}
_PLAIN: dict[str, Any] = {"module": f"{_HERE}.plain_engine"}
_RAY_DATA: dict[str, Any] = {"module": f"{_HERE}.ray_data", "needs": ("pandas", "pyarrow")}
_XENNA: dict[str, Any] = {
    "module": f"{_HERE}.xenna",
    "dashboard": True,
    # The engine asks for this many actors at a time, and sets these limits itself if it starts Ray.
    "env": {"RAY_MAX_LIMIT_FROM_API_SERVER": "40000", "RAY_MAX_LIMIT_FROM_DATA_SOURCE": "40000"},
    "needs": ("cosmos_xenna", "tqdm"),
}

ENGINES = {
    engine.name: engine
    for engine in (
        Engine("geoflow", how="sizes itself, a model takes its share of a GPU's memory", **_GEOFLOW),
        Engine("geoflow-fixed", how="best fixed pools, as `geoflow` otherwise", fixed=True, **_GEOFLOW),
        Engine("geoflow-resident", how="sizes itself, a model takes 0.1 of a GPU's memory", resident=True, **_GEOFLOW),
        Engine("plain", how="best fixed pools, two calls in flight an actor", fixed=True, **_PLAIN),
        Engine("plain-batch", how="best fixed pools, many items a call", fixed=True, batched=True, **_PLAIN),
        Engine("ray-data", how="best fixed pools, one item a block", fixed=True, **_RAY_DATA),
        Engine("ray-data-auto", how="actor pools from 1 to what fits", **_RAY_DATA),
        Engine("ray-data-batch", how="best fixed pools, blocks of many items", fixed=True, batched=True, **_RAY_DATA),
        Engine("xenna", how="best fixed pools, work stealing", fixed=True, **_XENNA),
        Engine("xenna-auto", how="autoscaled every second", **_XENNA),
        Engine("staged", f"{_HERE}.staged", "stage by stage, all GPUs for each", phased=True),
    )
}


def engine(name: str) -> Engine:
    """Look an engine up. Raises ConfigError for an unknown name."""
    if name not in ENGINES:
        raise ConfigError(f"unknown engine {name!r}; the engines are: {', '.join(ENGINES)}")
    return ENGINES[name]
