"""The files of configs/clusters: what checks them for their own tools, and that they have what GeoFlow asks for."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kuberay_schema
import pytest
import tomllib
import yaml
from packaging.specifiers import SpecifierSet

from geoflow.pipeline import Pipeline

ROOT = Path(__file__).parents[2]
CLUSTERS = ROOT / "configs" / "clusters"
PIPELINES = sorted(path.stem for path in (ROOT / "configs" / "pipelines").glob("*.yaml"))
CLOUDS = ("aws", "gcp")


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CLUSTERS / name).read_text())
    return loaded


def launched(cloud: str) -> dict[str, Any]:
    """What `ray up` makes of a file before it asks the cloud for anything."""
    from ray.autoscaler._private.util import prepare_config

    prepared: dict[str, Any] = prepare_config(copy.deepcopy(load(f"{cloud}.yaml")))
    return prepared


@pytest.mark.parametrize("cloud", CLOUDS)
def test_rays_validator_takes_them(cloud: str) -> None:
    from ray.autoscaler._private.util import validate_config

    validate_config(launched(cloud))
    broken = launched(cloud)
    broken["provider"]["regoin"] = broken["provider"].pop("region")
    broken["idle_timeout"] = 5
    with pytest.raises(jsonschema.ValidationError):
        validate_config(broken)


def test_rays_validator_takes_the_pretended_cluster() -> None:
    from ray.autoscaler._private.util import validate_config

    validate_config(load("fake.yaml"))


def test_ec2_knows_the_parameters_of_its_nodes() -> None:
    session = pytest.importorskip("botocore.session").get_session()
    from botocore.validate import ParamValidator

    request = session.get_service_model("ec2").operation_model("RunInstances").input_shape
    for name, node in load("aws.yaml")["available_node_types"].items():
        report = ParamValidator().validate({**node["node_config"], "MinCount": 1, "MaxCount": 1}, request)
        assert not report.has_errors(), f"{name}: {report.generate_report()}"


@pytest.mark.parametrize("cloud", CLOUDS)
def test_nodes_are_started_for_what_a_run_asks(cloud: str) -> None:
    """Ray's own choice of nodes: spot ones for as many GPUs as may be, others where there are no spot ones."""
    config = launched(cloud)
    types = config["available_node_types"]
    for pipeline in PIPELINES:
        demands = [claim] * 3 if (claim := gpu_claim(pipeline)) else []
        assert nodes_for(config, demands) == ({"gpu_spot": 3} if demands else {}), pipeline
        assert types["head"]["resources"]["CPU"] >= most_cpus(pipeline)
    assert nodes_for(config, [gpu_claim("geometry")] * 3, unavailable=("gpu_spot",)) == {"gpu_on_demand": 3}
    assert all(node["min_workers"] == 0 for name, node in types.items() if name != "head")


def gpu_claim(pipeline: str) -> dict[str, float]:
    """The largest bundle that a run with this pipeline asks Ray for: a GPU, and the CPUs of all that may live on it."""
    on_gpus = [spec for spec in Pipeline.load(pipeline).stages if spec.num_gpus]
    return {"GPU": 1.0, "CPU": sum(spec.num_cpus for spec in on_gpus)} if on_gpus else {}


def most_cpus(pipeline: str) -> float:
    return max(spec.num_cpus for spec in Pipeline.load(pipeline).stages)


def nodes_for(config: Any, demands: list[dict[str, float]], unavailable: tuple[str, ...] = ()) -> dict[str, int]:
    """What autoscaler v2, which `ray up` uses, starts for demands beside the head."""
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.autoscaler.v2.utils import ResourceRequestUtil

    known = AutoscalingConfig(config, skip_content_hash=True)
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=known.get_node_type_configs(),
        max_num_nodes=known.get_max_num_nodes(),
        resource_requests=ResourceRequestUtil.group_by_count([ResourceRequestUtil.make(demand) for demand in demands]),
        recoverable_resource_availabilities=dict.fromkeys(unavailable, 0.0),
    )
    reply = ResourceDemandScheduler().schedule(request)
    assert not reply.infeasible_resource_requests
    return {launch.instance_type: launch.count for launch in reply.to_launch if launch.instance_type != "head"}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_tokens_stay_on(cloud: str) -> None:
    config = load(f"{cloud}.yaml")
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    head = next(line for line in config["head_start_ray_commands"] if "--head" in line)
    assert "--dashboard-host=127.0.0.1" in head, "the job server is reached through a forwarded port, not by all"


def test_one_ray_everywhere() -> None:
    """Nodes must agree on Ray and Python, and so must a driver outside; both are ones that GeoFlow takes."""
    texts = {path: path.read_text() for path in CLUSTERS.rglob("*") if path.is_file()}
    named = {
        path: set(re.findall(r"(?:ray:|==|rayVersion: \"|RAY_VERSION=)(\d+\.\d+\.\d+)", text))
        for path, text in texts.items()
    }
    (version,) = set().union(*named.values())
    assert {path.name for path, found in named.items() if found} == {
        "aws.yaml", "gcp.yaml", "Containerfile", "raycluster.yaml", "rayjob.yaml",
    }  # fmt: skip
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (ray,) = [row for row in project["dependencies"] if row.startswith("ray[")]
    assert version in SpecifierSet(ray.removeprefix("ray[default]"))
    pythons = {match for text in texts.values() for match in re.findall(r"-py3(\d+)-", text)}
    assert len(pythons) == 1 and f"3.{pythons.pop()}" in SpecifierSet(project["requires-python"])


def test_nodes_get_what_the_package_is_built_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    needed |= {*wheel["packages"], *wheel["force-include"]}
    text = (CLUSTERS / "Containerfile").read_text()
    copied = {word for line in re.findall(r"^COPY --chown=\S+ (.*) \S+$", text, re.M) for word in line.split()}
    assert needed <= copied and all((ROOT / name).exists() for name in copied)
    for cloud in CLOUDS:
        mounts = {there: here for there, here in load(f"{cloud}.yaml")["file_mounts"].items() if "auth" not in here}
        assert mounts == {f"~/geoflow/{name}": name for name in needed}


def kuberay_cluster(name: str) -> dict[str, Any]:
    spec = load(f"kuberay/{name}.yaml")["spec"]
    found: dict[str, Any] = spec["rayClusterSpec"] if name == "rayjob" else spec
    return found


def test_kuberay_knows_all_that_its_files_say() -> None:
    for name, kind, schema in (
        ("raycluster", "RayCluster", kuberay_schema.CLUSTER),
        ("rayjob", "RayJob", kuberay_schema.JOB),
    ):
        found = load(f"kuberay/{name}.yaml")
        assert (found["apiVersion"], found["kind"]) == ("ray.io/v1", kind)
        jsonschema.validate(found["spec"], schema)
        if folder := os.environ.get("KUBERAY_CRDS"):
            jsonschema.validate(found["spec"], definition(Path(folder) / f"ray.io_{name}s.yaml"))
    assert kuberay_cluster("rayjob") == kuberay_cluster("raycluster")


def definition(path: Path) -> dict[str, Any]:
    """The schema of a custom resource's spec, closed to unknown keys."""
    versions = yaml.safe_load(path.read_text())["spec"]["versions"]
    (found,) = [v["schema"]["openAPIV3Schema"]["properties"]["spec"] for v in versions if v["name"] == "v1"]
    return close(found)


def close(schema: Any) -> Any:
    if isinstance(schema, list):
        return [close(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: close(value) for key, value in schema.items()}
    if closed.pop("x-kubernetes-int-or-string", False) is True:
        return {"type": ["integer", "string"]}
    return (
        {**closed, "additionalProperties": False}
        if isinstance(closed.get("properties"), dict) and "additionalProperties" not in closed
        else closed
    )


def test_kubernetes_knows_the_pods_and_the_volumes() -> None:
    core = pytest.importorskip("lightkube.models.core_v1")
    claims = list(yaml.safe_load_all((CLUSTERS / "kuberay" / "storage.yaml").read_text()))
    spec = kuberay_cluster("raycluster")
    pods = [spec["headGroupSpec"]["template"], *(group["template"] for group in spec["workerGroupSpecs"])]
    for raw, model in [(pod, core.PodTemplateSpec) for pod in pods] + [(c, core.PersistentVolumeClaim) for c in claims]:
        assert model.from_dict(raw).to_dict() == raw, "a key was dropped that Kubernetes does not know"
    names = {claim["metadata"]["name"] for claim in claims}
    for pod in pods:
        volumes = {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in pod["spec"]["volumes"]}
        mounts = {mount["name"]: mount["mountPath"] for mount in pod["spec"]["containers"][0]["volumeMounts"]}
        assert set(volumes.values()) == names and volumes.keys() == mounts.keys()
        assert {"name": "HF_HOME", "value": mounts["weights"]} in pod["spec"]["containers"][0]["env"]


def test_pods_have_what_a_run_asks_for() -> None:
    spec = kuberay_cluster("raycluster")
    (group,) = spec["workerGroupSpecs"]
    assert (group["minReplicas"], spec["authOptions"]["mode"]) == (0, "token")
    pod = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    head = spec["headGroupSpec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    for pipeline in PIPELINES:
        claim = gpu_claim(pipeline)
        assert int(pod["nvidia.com/gpu"]) >= claim.get("GPU", 0) and float(pod["cpu"]) >= claim.get("CPU", 0)
        assert float(head["cpu"]) >= most_cpus(pipeline)


def test_the_job_runs_a_pipeline_that_is_there() -> None:
    from geoflow.cli.running import arguments_of_run

    entrypoint = load("kuberay/rayjob.yaml")["spec"]["entrypoint"].split()
    assert entrypoint[:4] == ["python", "-m", "geoflow", "run"]
    Pipeline.load(arguments_of_run(entrypoint[4:])["pipeline"])


@pytest.mark.slow
@pytest.mark.ray
def test_gpu_nodes_come_with_the_load_and_go_when_idle(tmp_path: Path) -> None:
    """0 → at least 2 → 0 of them in one `geoflow run`, by Ray's autoscaler and configs/clusters/fake.yaml."""
    command = [sys.executable, str(Path(__file__).parents[1] / "support" / "autoscaled_run.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
