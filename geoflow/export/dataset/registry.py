"""The formats of datasets by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints

from geoflow.errors import ConfigError
from geoflow.export.dataset.kinds import DatasetKind
from geoflow.export.dataset.lerobot_dataset import LeRobotDataset
from geoflow.export.dataset.tapvid3d_dataset import TapVid3DDataset
from geoflow.export.dataset.webdataset import WebDataset
from geoflow.export.dataset.y2r_dataset import Y2RDataset
from geoflow.export.dataset.zarr_dataset import ZarrDataset
from geoflow.export.formats import check_values
from geoflow.values.plain import plain

DATASETS: dict[str, type[DatasetKind]] = {
    "lerobot": LeRobotDataset,
    "y2r": Y2RDataset,
    "webdataset": WebDataset,
    "zarr": ZarrDataset,
    "tapvid3d": TapVid3DDataset,
}


def dataset_kind(to: str, options: Mapping[str, Any]) -> DatasetKind:
    """Return a format of datasets with its options. Raises ConfigError for an unknown name, option or value."""
    if to not in DATASETS:
        raise ConfigError(f"--to {to}: there is no such format of datasets; the formats are: {', '.join(DATASETS)}")
    options = plain(dict(options), "options")
    check_values(f"a dataset of {to}", options, DATASETS[to].defaults(), get_type_hints(DATASETS[to]))
    return DATASETS[to](**options)
