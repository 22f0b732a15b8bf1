"""Checks Kubernetes files: check_kubernetes.py FILE …; exit code 1 and a line for each finding.

Kinds of Kubernetes itself go through kubernetes-validate, strictly. A RayCluster has no schema
there, so what KubeRay's types say of the fields we may use stands here, and each pod template is
checked as the Pod that it becomes. A kind that neither knows is a finding, never a warning.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator

_PARAMETERS = {"type": "object", "additionalProperties": {"type": "string"}}
_GROUP = {"rayStartParams": _PARAMETERS, "template": {"type": "object", "required": ["spec"]}}
_COUNT = {"type": "integer", "minimum": 0}
_WORKERS = {
    "groupName": {"type": "string", "pattern": "^[a-z0-9-]{1,50}$"},
    "replicas": _COUNT,
    "minReplicas": _COUNT,
    "maxReplicas": _COUNT,
    "numOfHosts": {"type": "integer", "minimum": 1},
}


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


RAY_CLUSTER = _object(
    {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayCluster"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": _object(
            {
                "rayVersion": {"type": "string"},
                "enableInTreeAutoscaling": {"type": "boolean"},
                "autoscalerOptions": _object(
                    {
                        "idleTimeoutSeconds": _COUNT,
                        "upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]},
                        "version": {"enum": ["v1", "v2"]},
                        "securityContext": {"type": "object"},
                        "resources": {"type": "object"},
                        "env": {"type": "array"},
                    }
                ),
                "headGroupSpec": _object(
                    {**_GROUP, "serviceType": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]}},
                    "rayStartParams",
                    "template",
                ),
                "workerGroupSpecs": {
                    "type": "array",
                    "items": _object(
                        {**_GROUP, **_WORKERS},
                        *("groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"),
                    ),
                },
            },
            "headGroupSpec",
        ),
    },
    *("apiVersion", "kind", "metadata", "spec"),
)


def findings(text: str) -> list[str]:
    """A line for each thing that is wrong in a file of Kubernetes objects."""
    found = []
    for number, document in enumerate(yaml.safe_load_all(text), 1):
        if not isinstance(document, dict):
            found.append(f"document {number}: not an object")
            continue
        where = f"{document.get('kind')}/{document.get('metadata', {}).get('name')}"
        found += [f"{where}: {line}" for line in _object_findings(document)]
    return found


def _object_findings(document: dict[str, Any]) -> Iterator[str]:
    if document.get("kind") != "RayCluster":
        yield from _native_findings(document)
        return
    errors = list(Draft202012Validator(RAY_CLUSTER).iter_errors(document))
    yield from (f"{error.json_path}: {error.message[:200]}" for error in errors)
    if errors:
        return
    spec = document["spec"]
    for group in [spec["headGroupSpec"], *spec.get("workerGroupSpecs", [])]:
        name = group.get("groupName", "head")
        template = group["template"]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, **template.get("metadata", {})},
            "spec": template["spec"],
        }
        yield from (f"{name}: {line}" for line in _native_findings(pod))


def _native_findings(document: dict[str, Any]) -> Iterator[str]:
    version = kubernetes_validate.latest_version()
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{'.'.join(map(str, error.path))}: {error.message[:200]}"
    except kubernetes_validate.SchemaNotFoundError:
        yield f"no schema is known for {document.get('apiVersion')} {document.get('kind')}"


def main(paths: list[str]) -> int:
    """Check the files; print the findings."""
    found = [f"{path}: {line}" for path in paths for line in findings(Path(path).read_text())]
    sys.stdout.write("".join(f"{line}\n" for line in found))
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
