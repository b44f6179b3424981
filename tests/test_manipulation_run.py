"""`--pipeline manipulation` for real: made-up weights of four networks in environments that Ray builds, in one run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

import made_up_mano
import small_moge
from hand_drawing import draw, hand_joints, place
from small_tracker import publish_tracker, standing_network
from small_vipe import publish_slam
from small_wilor import image, write_checkpoint

import geoflow
from geoflow.fields import LENS_GIVEN
from geoflow.files import resources
from geoflow.geometry.cameras import project
from geoflow.pipeline import Pipeline
from geoflow.results import VideoResult
from geoflow.store.verify import verify_run
from geoflow.values.yaml_text import read_yaml

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.env, pytest.mark.usefixtures("ray_session")]

FRAMES, HEIGHT, WIDTH = 16, 240, 320
K = np.array([[300, 0, 159.5], [0, 300, 119.5], [0, 0, 1]])
LENS = [300, 300, 159.5, 119.5]  # given, since a made-up tracker finds any
NETWORKS = {"prior": "moge", "camera": "vipe", "tracks": "tapip3d", "hands": "wilor"}
# Made-up cameras have no depth; so points are followed by that of the prior.
GEOMETRY = {"slot": "geometry", "backend": "embedded.temporal_fusion", "num_cpus": 1}
SETTINGS: dict[str, object] = {
    **{f"{slot}.num_gpus": 0 for slot in NETWORKS},
    "camera.area": 80 * 60,
    "camera.backend_iters": 2,
    "tracks.num_iters": 3,
    "tracks.grid_size": 8,
    "tracks.resolution_factor": 1.0,
    "hands.max_disagreement": 0.0,  # what a made-up network says of a hand has nothing to do with it
    "segment.size": 10,
    "segment.overlap": 4,
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of two hands before a texture that moves."""
    frames, texture = tmp_path_factory.mktemp("clip") / "clip", image(HEIGHT, WIDTH)
    frames.mkdir()
    for i in range(FRAMES):
        drawn, depth = draw(list(_hands(i).values()), K, HEIGHT, WIDTH)
        behind = (0.2 * np.roll(texture, 2 * i, 1) + 0.8 * drawn).astype(np.uint8)  # clear enough to find hands
        cv2.imwrite(str(frames / f"{i:03d}.png"), np.where(depth[..., None] > 0, drawn, behind)[..., ::-1])
    return frames


def _hands(i: int) -> dict[str, np.ndarray]:
    return {
        "left": place(hand_joints("left"), (-0.13 - 0.002 * i, 0.02, 0.5), roll_deg=10),
        "right": place(hand_joints("right"), (0.13, 0.0, 0.45 + 0.002 * i), roll_deg=-10),
    }


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Made-up weights in folders of the user's."""
    folder = tmp_path_factory.mktemp("weights")
    small_moge.make(folder / "moge" / "model.pt", "v2")
    publish_slam(folder / "droid")
    publish_tracker(standing_network(), folder / "tapip3d")
    (folder / "wilor").mkdir()
    write_checkpoint(folder / "wilor" / "wilor_final.ckpt")
    made_up_mano.write_pickle(folder / "wilor" / "MANO_RIGHT.pkl")
    places = {"prior": "moge", "camera": "droid", "tracks": "tapip3d", "hands": "wilor"}
    own = {f"{slot}.weights": str(folder / name) for slot, name in places.items()}
    return {**own, "hands.mano": str(folder / "wilor")}


@pytest.fixture(scope="module")
def result(clip: Path, weights: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> VideoResult:
    out = tmp_path_factory.mktemp("out")
    raw = read_yaml(resources.find_yaml("configs/pipelines", "manipulation"))
    slots = [stage["slot"] for stage in raw["stages"]]
    raw["stages"].insert(slots.index("camera") + 1, GEOMETRY)
    done = geoflow.run(clip, out, Pipeline.from_dict(raw, {**SETTINGS, **weights}), intrinsics=LENS)
    assert done.exit_status == 0 and verify_run(out) == []
    return done.videos[0]


@pytest.fixture(scope="module")
def store(result: VideoResult) -> Iterator[h5py.File]:
    with h5py.File(result.path) as file:
        yield file


def test_all_four_give_their_group_in_one_run(result: VideoResult, store: h5py.File) -> None:
    rows = store["segments"][:]
    assert len(rows) == 2 and (rows["status"] == b"complete").all()
    pipeline = json.loads(store.attrs["pipeline"])
    assert {stage["slot"]: stage["env"] for stage in pipeline["stages"] if stage["env"]} == NETWORKS
    assert {"prior", "camera", "tracks", "hands"} <= set(store)
    events = [json.loads(line) for line in (Path(result.path).parents[1] / "events.jsonl").read_text().splitlines()]
    ready = [event for event in events if event["event"] == "actor_ready" and event["slot"] in NETWORKS]
    assert {event["slot"] for event in ready} == set(NETWORKS)
    assert len({event["pid"] for event in ready}) == len(ready), "each network is in a process of its own"
    done = {(e["slot"], e["index"]) for e in events if e["event"] == "stage_done"}
    assert {(slot, i) for slot in NETWORKS for i in (0, 1)} <= done


def test_what_each_found_is_in_the_store(store: h5py.File) -> None:
    mask, depth = store["prior/mask"][:], store["prior/depth"][:]
    assert mask.mean() > 0.5 and (depth[mask] > 0).all()
    valid, poses = store["camera/valid"][:], store["camera/cam_from_world"][:]
    assert valid.any() and np.isfinite(poses[valid]).all() and np.isnan(poses[~valid]).all()
    assert (store["camera/lens"][:] == LENS_GIVEN).all()
    np.testing.assert_allclose(store["camera/intrinsics"][:], np.tile(K, (FRAMES, 1, 1)), rtol=1e-6)
    uv, ids = store["tracks/uv"][:], store["tracks/id"][:]
    seen = np.isfinite(uv).all(-1)
    assert seen.any(1).all() and len(np.unique(ids)) == len(ids)
    assert (uv[seen] >= -0.5).all() and (uv[seen] <= (WIDTH - 0.5, HEIGHT - 0.5)).all()
    sights = 0
    for side in ("left", "right"):
        hand = store["hands"][side]
        looked = hand["valid"][:] & ~hand["filled"][:]  # hands are filled in the world, where a made-up camera jumps
        for i in np.flatnonzero(looked).tolist():
            off = hand["uv"][i].mean(0) - project(_hands(i)[side], K).mean(0)
            assert np.linalg.norm(off) < 100, "a made-up network, but in the right crop"
        sights += looked.sum()
    assert sights >= 3, "jumps make some of them doubtful"


def test_what_is_said_of_the_video_is_what_the_store_holds(result: VideoResult, store: h5py.File) -> None:
    said = result.recovered
    assert said == store.attrs["recovered"] and result.status == "complete"
    nowhere = "no tracks" in said or "none in the world" in said
    assert nowhere == (not store["tracks/visible"][:].any())
    assert ("no depth" in said) == (not (store["geometry/depth"][:] > 0).any())
    assert ("no hands" in said) == (not store["hands/right/valid"][:].any() and not store["hands/left/valid"][:].any())
    assert not store.attrs["metric"], "what a made-up network says is metres in no unit that others agree with"
