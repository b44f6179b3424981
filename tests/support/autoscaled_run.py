"""`python autoscaled_run.py FOLDER`: one `geoflow run` for which Ray starts GPU nodes by itself, and ends them again.

On the pretended nodes of configs/clusters/fake.yaml; in a process of its own, which joins that cluster to count them.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

import yaml
from ray_head import free_port, ray_head

from geoflow.files import resources
from geoflow.synth import render_clip

_HERE = Path(__file__).parent
_HEAD_ID = "f" * 51 + "00000"  # by which the pretended nodes' provider knows the head
_CLIPS = "abcd"
_GIVE_UP_S = 200.0
_PIPELINE = """
name: autoscaled
segment: {size: 8, overlap: 2}
gpu_worth: 5  # seconds of work for which one more GPU is asked for; minutes where nodes take minutes to come up
stages:
  - {slot: decode, backend: geoflow.stages.decode, num_cpus: 0.2}
  - {slot: prior, backend: "counting_stages:Prior", num_gpus: 1, params: {folder: FOLDER, seconds: 1}}
  - {slot: stitch, backend: geoflow.stages.stitch, num_cpus: 0.2}
  - {slot: write, backend: "gpu_stages:SlowWrite", num_cpus: 0.2, actors: 4, params: {seconds: 15}}
"""


def main(folder: Path) -> None:
    for name in _CLIPS:
        render_clip(folder / f"{name}.mp4", folder / f"{name}.gt.h5", num_frames=50, width=64, height=48)
    (folder / "pipeline.yaml").write_text(_PIPELINE.replace("FOLDER", str(folder)))
    port = free_port()
    config = yaml.safe_load((resources.folder("configs") / "clusters" / "fake.yaml").read_text())
    config["provider"]["gcs_address"] = f"127.0.0.1:{port}"  # else the port is 6379
    (folder / "cluster.yaml").write_text(yaml.safe_dump(config))
    os.environ |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "PYTHONPATH": os.pathsep.join([str(_HERE), str(_HERE.parents[1])]),
    }
    import ray  # which reads its environment here

    arguments = ["--num-cpus=2", "--include-dashboard=false", f"--object-store-memory={256 << 20}"]
    arguments += [f"--autoscaling-config={folder / 'cluster.yaml'}", "--node-ip-address=127.0.0.1", f"--port={port}"]
    arguments += [f"--dashboard-agent-listen-port={free_port()}"]
    env = os.environ | {"RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD_ID}
    with ray_head(*arguments, env=env, log=folder / "head.log", answers_at=port):
        ray.init(address=f"127.0.0.1:{port}", log_to_driver=False, logging_level=logging.ERROR)
        try:
            watch(f"127.0.0.1:{port}", folder)
        finally:
            ray.shutdown()


def watch(address: str, folder: Path) -> None:
    """Run, and say how many GPU nodes there are as it goes; then check what it should have come to."""
    command = [sys.executable, "-m", "geoflow", "run", *(str(folder / f"{name}.mp4") for name in _CLIPS)]
    command += ["-o", str(folder / "out"), "--pipeline", str(folder / "pipeline.yaml"), "--address", address, "--json"]
    began, counts = time.monotonic(), []
    with (folder / "run.json").open("w") as out, (folder / "run.log").open("w") as log:
        run = subprocess.Popen(command, stdout=out, stderr=log)
        while run.poll() is None:
            if counts[-1:] != [gpu_nodes()]:
                counts.append(gpu_nodes())
                print(f"{time.monotonic() - began:6.1f} s: {counts[-1]} GPU nodes", flush=True)
            if time.monotonic() - began > _GIVE_UP_S:
                run.terminate()
            time.sleep(0.2)
    assert run.returncode == 0, (folder / "run.log").read_text()[-3000:]
    done = json.loads((folder / "run.json").read_text())
    print(f"{time.monotonic() - began:6.1f} s: {[video['status'] for video in done['videos']]}")
    assert [video["status"] for video in done["videos"]] == ["complete"] * len(_CLIPS)
    assert counts[0] == 0 and max(counts) >= 2
    assert counts[-1] == 0, "nodes stayed that nobody needed any more"


def gpu_nodes() -> int:
    import ray

    return sum(node["Alive"] and node["Resources"].get("GPU", 0) > 0 for node in ray.nodes())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
