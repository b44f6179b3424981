"""What KubeRay 1.6 accepts of what configs/clusters/kuberay uses, as a JSON schema: it drops unknown keys in silence.

The custom resource definitions themselves are not here; the test takes them where $KUBERAY_CRDS names their folder.
"""

from __future__ import annotations

from typing import Any


def _table(required: tuple[str, ...] = (), **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*required], "additionalProperties": False}


_ANY = {"type": "object"}  # checked as what Kubernetes says of it
_TEXT, _COUNT, _TRUTH = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_HEAD = _table(("template",), rayStartParams=_TEXTS, template=_ANY)
_WORKERS = _table(
    ("groupName", "minReplicas", "maxReplicas", "template"),
    groupName=_TEXT,
    minReplicas=_COUNT,
    replicas=_COUNT,
    maxReplicas=_COUNT,
    idleTimeoutSeconds=_COUNT,
    rayStartParams=_TEXTS,
    template=_ANY,
)
CLUSTER = _table(
    ("headGroupSpec",),
    rayVersion=_TEXT,
    authOptions=_table(mode={"enum": ["token", "disabled"]}, secretName=_TEXT),
    enableInTreeAutoscaling=_TRUTH,
    autoscalerOptions=_table(
        version={"enum": ["v1", "v2"]},
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        idleTimeoutSeconds=_COUNT,
        resources=_ANY,
    ),
    headGroupSpec=_HEAD,
    workerGroupSpecs={"type": "array", "items": _WORKERS},
)
JOB = _table(
    entrypoint=_TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    shutdownAfterJobFinishes=_TRUTH,
    ttlSecondsAfterFinished=_COUNT,
    backoffLimit=_COUNT,
    rayClusterSpec=CLUSTER,
)
