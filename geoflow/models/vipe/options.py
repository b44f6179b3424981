"""Options for the user; defaults are those of the published program."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from geoflow.errors import ConfigError
from geoflow.models.vipe.adjustment import RULES
from geoflow.models.vipe.preparing import AREA
from geoflow.models.vipe.robust import RobustKernel


def _option(default: Any, help: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class SlamOptions:
    """Settings of one call of `Slam.run`. Distances are mean lengths of flow in pixels of the grid."""

    area: int = _option(AREA, "pixels of a frame at work, at most; larger frames are resized")
    enlarge: bool = _option(False, "smaller frames are resized as well, as in the original")
    optimize_intrinsics: bool | None = _option(None, "find the focal length; None: if no intrinsics are given")
    start_focal: float = _option(1.0, "first guess of a focal length that is not given, in widths of the frame")
    beta: float = _option(0.3, "weight of the whole motion in distances; that of translation alone has the rest")
    filter_thresh: float = _option(2.4, "motion since the last keyframe, from which on a frame becomes one")
    warmup: int = _option(8, "keyframes before the first adjustment")
    keyframe_thresh: float = _option(4.0, "distance below which the keyframe before the last is dropped")
    frontend_thresh: float = _option(16.0, "largest distance of an edge")
    frontend_window: int = _option(25, "keyframes that new ones may get edges to")
    frontend_radius: int = _option(2, "keyframes that are always joined by an edge")
    frontend_nms: int = _option(1, "how far around itself an edge keeps others away")
    frontend_factors: int = _option(48, "edges at once")
    frontend_backend_iters: tuple[int, ...] = _option((16, 64, 256), "keyframes at which the focal length is improved")
    backend_thresh: float = _option(22.0, "as frontend_thresh, for the adjustment of everything")
    backend_radius: int = _option(2, "as frontend_radius")
    backend_nms: int = _option(3, "as frontend_nms")
    backend_factors: int = _option(16, "edges per keyframe")
    backend_iters: int = _option(24, "rounds of the last adjustment")
    init_disp: float = _option(1.0, "disparity of the first keyframes, at first")
    infill_chunk_size: int = _option(16, "frames whose poses are found at once")
    map_filter_thresh: float = _option(0.05, "largest difference of depth between keyframes, in parts of the mean")
    dense_disp_alpha: float = _option(0.001, "weight of the depth prior")
    prior_follows_focal: bool = _option(False, "the prior's depth grows with the focal length, which it did not know")
    prior_scale_free: bool = _option(False, "the prior of each keyframe is brought to the map's scale, as far as it "
        "differs from that of most: a prior is often wrong by one factor throughout a frame")  # fmt: skip
    rule: str = _option("generic", "generic, or that of the fused kernel")
    robust: RobustKernel | None = dataclasses.field(
        default=None, metadata={"help": "a kernel that lessens the weight of large residuals"}
    )
    most_keyframes: int = _option(96, "keyframes that are adjusted at once; beyond that, the oldest are settled")
    kept_keyframes: int = _option(
        32, "keyframes that stay when others are settled; the poses of half of them are fixed"
    )
    close_loops: bool = _option(
        False, "bring settled keyframes into agreement with later visits to the same places; off until shown "
        "to bend no long walk wrongly and to keep memory bounded"
    )  # fmt: skip
    keep_volumes: bool = _option(True, "keep correlation volumes of the front end, which costs memory and saves time")
    stable_order: bool = _option(
        True, "edges of one age are stored away in the order of their making, on every machine; False: as PyTorch's "
        "sort happens to leave them, which differs between processors, as in the original"
    )  # fmt: skip

    def __post_init__(self) -> None:
        least = {"area": 64, "warmup": 3, "frontend_window": 1, "frontend_radius": 1, "backend_radius": 1,
                 "frontend_factors": 1, "backend_factors": 1, "backend_iters": 1, "infill_chunk_size": 1,
                 "frontend_nms": 0, "backend_nms": 0, "kept_keyframes": 8}  # fmt: skip
        for name, limit in least.items():
            if getattr(self, name) < limit:
                raise ConfigError(f"{name} should be at least {limit}, found {getattr(self, name)}")
        for name in ("init_disp", "start_focal", "map_filter_thresh"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} should be above 0, found {getattr(self, name)}")
        if self.most_keyframes < max(2 * self.kept_keyframes, self.warmup + 1):
            raise ConfigError(
                f"most_keyframes should be at least twice kept_keyframes ({self.kept_keyframes}) and more than warmup "
                f"({self.warmup}), found {self.most_keyframes}"
            )
        if not 0 <= self.beta <= 1:
            raise ConfigError(f"beta should be in 0..1, found {self.beta}")
        if self.rule not in RULES:
            raise ConfigError(f"rule should be one of {', '.join(RULES)}, found {self.rule!r}")
