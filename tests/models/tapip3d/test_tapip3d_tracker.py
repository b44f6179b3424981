"""The tracker's own promises: folded attention, flat memory, refused input, and checkpoints that run nothing."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from small_tracker import SMALL, publish_tracker, small_network, standing_network, wall_clip  # noqa: E402

from geoflow.errors import ConfigError  # noqa: E402
from geoflow.models.inert_pickle import Inert, load_inert  # noqa: E402
from geoflow.models.tapip3d import edge_repair  # noqa: E402
from geoflow.models.tapip3d.attention import CrossBlock, Pooling, plain_norm  # noqa: E402
from geoflow.models.tapip3d.checkpoint import from_checkpoint, plain  # noqa: E402
from geoflow.models.tapip3d.clip import Clip  # noqa: E402
from geoflow.models.tapip3d.edge_repair import repair_edges  # noqa: E402
from geoflow.models.tapip3d.options import LADDER, TrackOptions  # noqa: E402
from geoflow.models.tapip3d.prepared import RepairedDepth, depth_range  # noqa: E402
from geoflow.models.tapip3d.tracker import Tracker  # noqa: E402
from geoflow.models.tapip3d.windows import track_windows  # noqa: E402


@pytest.mark.parametrize("heads", [1, 3])
def test_folded_attention_is_attention(heads: int) -> None:
    torch.manual_seed(1)
    block = CrossBlock(12, heads, 5, 2.0)
    tokens, others = torch.randn(3, 4, 12), torch.randn(2, 3, 6, 12)
    wanted = block(tokens.expand(2, -1, -1, -1), others)
    assert torch.allclose(block.attend_from(tokens, block.fold_tokens(tokens), others), wanted, atol=1e-5)
    wanted = block(others, tokens.expand(2, -1, -1, -1))
    assert torch.allclose(block.attend_to(others, block.fold_context(tokens)), wanted, atol=1e-5)


def test_a_pooled_token_is_attention_too() -> None:
    torch.manual_seed(2)
    pooling, token, context = Pooling(12, 2, 6), torch.randn(1, 12), torch.randn(5, 7, 12)
    k, v = (rows.unflatten(-1, (2, 6)).transpose(1, 2) for rows in pooling.to_kv(context).chunk(2, -1))
    q = pooling.to_q(token).unflatten(-1, (2, 6)).transpose(0, 1).expand(5, 2, 1, 6)
    wanted = pooling.to_out(torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
    assert torch.allclose(pooling(token, context), wanted[:, 0], atol=1e-6)
    assert plain_norm(token).mean().abs() < 1e-6


def test_how_many_points_go_at_once_does_not_change_them() -> None:
    tracker, given = Tracker(small_network(), (64, 80)), wall_clip(12)
    options = {"resolution_factor": None, "grid_size": 5, "num_iters": 2}
    found = [tracker.track(**given, **options, tokens=tokens) for tokens in (1, 100_000)]
    assert found[0].xyz.shape == (12, 24, 3), "one point of the grid has no depth"
    assert np.allclose(found[0].xyz, found[1].xyz, atol=1e-5)
    assert np.abs(found[0].xyz[1:] - found[0].xyz[:1]).max() > 1e-4, "a made-up network, but it moves points"


def test_half_precision_is_for_the_network_and_not_for_places() -> None:
    from geoflow.models.tapip3d.rays import project, unproject_maps, unproject_pixels

    given = wall_clip(12)
    depth, k, e = (torch.from_numpy(given[name]) for name in ("depth", "intrinsics", "cam_from_world"))
    xy = torch.tensor([[70.3, 50.2]])
    exact = unproject_maps(depth, k, e), unproject_pixels(xy, depth[0, 0, 9:10], k[0], e[0])
    points = project(exact[0].flatten(1, 2), k, e, (64, 80))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(unproject_maps(depth, k, e), exact[0])
        assert torch.equal(unproject_pixels(xy, depth[0, 0, 9:10], k[0], e[0]), exact[1])
        assert torch.equal(project(exact[0].flatten(1, 2), k, e, (64, 80)), points)
    tracker = Tracker(standing_network(), (64, 80), torch.bfloat16)
    found = tracker.track(**given, resolution_factor=None, grid_size=5, num_iters=1)
    assert np.allclose(found.xyz, found.xyz[:1], atol=1e-5) and np.allclose(
        found.xyz[0], found.queries[:, 1:], atol=1e-5
    )


def test_frames_before_a_query_come_from_the_clip_run_backwards() -> None:
    tracker, given = Tracker(small_network(), (64, 80)), wall_clip(12)
    queries = np.array([[0, 0.1, 0.1, 2.5], [11, 0.1, 0.1, 2.5]], np.float32)
    options = {"resolution_factor": None, "support_grid_size": 0, "num_iters": 1}
    both = tracker.track(**given, queries=queries, **options)
    forward = tracker.track(**given, queries=queries, **options, bidirectional=False)
    assert np.array_equal(both.xyz[:, 0], forward.xyz[:, 0])
    assert np.array_equal(both.xyz[11, 1], forward.xyz[11, 1])
    assert (both.xyz[:11, 1] != forward.xyz[:11, 1]).any()


def test_the_threshold_is_what_decides_visibility() -> None:
    tracker, given = Tracker(small_network(), (64, 80)), wall_clip(9)
    options = {"resolution_factor": None, "grid_size": 4, "num_iters": 1}
    found = tracker.track(**given, **options, visibility_threshold=0.0)
    assert found.visible.all()
    middle = float(torch.from_numpy(found.logits).sigmoid().median())
    some = tracker.track(**given, **options, visibility_threshold=middle)
    assert 0.3 < some.visible.mean() < 0.8 and some.logits[some.visible].min() > some.logits[~some.visible].max()


def test_frames_are_held_for_one_window_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from geoflow.models.tapip3d import frames

    held: list[int] = []
    slide = frames.WindowFrames.slide

    def counted(self: Any, start: int, stop: int) -> Any:
        found = slide(self, start, stop)
        held.append(len(self._held))
        return found

    monkeypatch.setattr(frames.WindowFrames, "slide", counted)
    given = wall_clip(64)
    track_windows(small_network(), Clip.of(*given.values()), np.array([[0, 0, 0, 2.0]], np.float32), iterations=1)
    assert len(held) == 15 and max(held) == SMALL.seq_len


def test_quartiles_are_exact() -> None:
    rng = np.random.default_rng(0)
    depth = rng.gamma(2.0, 3.0, (7, 30, 41)).astype(np.float32)
    depth[rng.random(depth.shape) < 0.2] = 0
    valid = np.sort(depth[depth > 0])
    low, high = (float(valid[int(share * len(valid)) - 1]) for share in (0.25, 0.75))
    assert depth_range(depth) == (1e-7, high + 1.5 * (high - low))
    assert depth_range(np.zeros_like(depth)) is None


def test_edges_take_the_depth_of_a_surface_and_holes_stay() -> None:
    depth = np.full((40, 40), 4.0, np.float32)
    depth[10:30, 10:30] = 2.0
    depth[10:30, 9] = 3.0  # a pixel between both
    depth[0:3, 0:3] = 0
    camera = np.array([[40, 0, 20], [0, 40, 20], [0, 0, 1.0]])
    repaired = repair_edges(depth, camera)
    assert set(np.unique(repaired)) == {0, 2, 4} and (repaired[:3, :3] == 0).all()
    again = RepairedDepth(depth[None], camera[None], (40, 40))
    assert np.allclose(again[0], repaired, atol=1e-5) and len(again) == 1, "resizing divides by 1 + 1e-6"


def test_bends_near_steps_are_those_of_a_map_in_which_all_are_computed() -> None:
    rng = np.random.default_rng(3)
    camera = np.array([[40.0, 0, 20], [0, 45, 15], [0, 0, 1]])
    for _ in range(5):
        depth = 2 + np.cumsum(rng.normal(0, 0.03, (30, 40)), axis=1)
        depth[rng.random(depth.shape) < 0.1] = 0
        depth[5:20, :12] *= 0.6
        chosen = edge_repair._steps(depth, depth > 0)
        bends = [edge_repair._bends(depth, depth > 0, camera, where) for where in (chosen, np.ones_like(chosen))]
        assert 0.05 < chosen.mean() < 0.9 and np.array_equal(bends[0][chosen], bends[1][chosen])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rgb": np.zeros((12, 64, 80, 3), np.float32)}, "uint8"),
        ({"depth": np.full((12, 64, 80), np.nan, np.float32)}, "0 where it is unknown"),
        ({"depth": np.zeros((11, 64, 80), np.float32)}, r"\(12, H, W\)"),
        ({"cam_from_world": np.full((12, 4, 4), np.nan, np.float32)}, "poses should be"),
        ({"intrinsics": np.eye(3, dtype=np.float32)}, "intrinsics should be"),
        ({"queries": np.zeros((3, 3), np.float32)}, "frame, x, y, z"),
        ({"queries": np.array([[12, 0, 0, 1]], np.float32)}, r"0\.\.11"),
        ({"queries": np.array([[0.5, 0, 0, 1]], np.float32)}, "whole numbers"),
        ({"visibility_threshold": 2.0}, "0..1"),
        ({"num_iters": 0}, "num_iters"),
        ({"resolution_factor": 0.0}, "resolution_factor"),
    ],
)
def test_what_cannot_be_used_is_said(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Tracker(small_network(), (64, 80)).track(**{**wall_clip(12), **changes})


def test_frames_without_enough_points_for_the_neighbours_are_refused() -> None:
    with pytest.raises(ConfigError, match="larger resolution_factor"):
        Tracker(small_network(), (64, 80)).track(**wall_clip(12), resolution_factor=0.1)


def test_no_depth_at_all_gives_no_points_and_no_error() -> None:
    given = wall_clip(9) | {"depth": np.zeros((9, 64, 80), np.float32)}
    found = Tracker(small_network(), (64, 80)).track(**given, resolution_factor=None)
    assert found.xyz.shape == (9, 0, 3)


def test_every_rung_of_the_ladder_is_a_setting() -> None:
    for rung in LADDER:
        assert TrackOptions(**rung) != TrackOptions()


class _Bomb:
    """Runs a command if it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch exploded",)


def test_a_checkpoint_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": {"a": torch.ones(3)}, "cfg": _Bomb(), "note": [1, "two"]}, tmp_path / "bad.pth")
    found = load_inert(tmp_path / "bad.pth")
    assert torch.equal(found["weight"]["a"], torch.ones(3)) and found["note"] == [1, "two"]
    assert isinstance(found["cfg"], Inert) and found["cfg"].name.endswith("system")
    assert found["cfg"].args == ("touch exploded",) and not (tmp_path / "exploded").exists()
    with pytest.raises(ConfigError, match=r"names posix\.system"):
        load_inert(tmp_path / "bad.pth", refuse=lambda name: "system" in name)


@pytest.mark.parametrize("protocol", [2, 4])
def test_stand_ins_hold_what_they_were_given(tmp_path: Path, protocol: int) -> None:
    from argparse import Namespace
    from collections import UserDict

    torch.save({"cfg": Namespace(a=1), "more": UserDict(b=2)}, tmp_path / "a.pth", pickle_protocol=protocol)
    found = load_inert(tmp_path / "a.pth")
    assert found["cfg"].state == {"a": 1} and found["more"].state == {"data": {"b": 2}}
    assert plain(found["cfg"]) is None


def test_weights_of_another_network_are_named_with_the_remedy(tmp_path: Path) -> None:
    whole = torch.load(publish_tracker(small_network(), tmp_path) / "tapip3d_final.pth", weights_only=True)
    wrong = {"more": {"fnet.more": torch.ones(1)}, "shaped": {next(iter(whole["weight"])): torch.ones(1, 1, 1, 1, 1)}}
    for name, changes in wrong.items():
        torch.save(whole | {"weight": whole["weight"] | changes}, tmp_path / f"{name}.pth")
        with pytest.raises(ConfigError, match=rf"{name}\.pth.*; fetch tapip3d_final\.pth again"):
            from_checkpoint(tmp_path / f"{name}.pth")
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(ConfigError, match=r"list\.pth is no checkpoint of TAPIP3D.*; fetch tapip3d_final\.pth again"):
        from_checkpoint(tmp_path / "list.pth")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", pickle.dumps({"weight": 1})])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"x\.pth"):
        from_checkpoint(path)


def test_a_checkpoint_that_does_not_fit_its_configuration_is_named(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"weight": {"a": torch.ones(1)}, "cfg": {"model": {"norm_mode": "per-axis"}}}, buffer)
    (tmp_path / "y.pth").write_bytes(buffer.getvalue())
    with pytest.raises(ConfigError, match=r"y\.pth: norm_mode is 'per-axis'"):
        from_checkpoint(tmp_path / "y.pth")
