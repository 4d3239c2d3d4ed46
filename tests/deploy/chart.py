"""The rendered Helm chart, and queries over its objects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import yaml

from tools.manifests import render_chart

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Document = dict[str, Any]
"""One Kubernetes object."""
Labels = dict[str, str]

IMAGE = {"image": {"repository": "registry.example/constellation"}}
DATABASE = {
    "url": "postgresql://constellation@db.example:5432/constellation?sslmode=verify-full",
    "existingSecret": "constellation-postgres",
}
POSTGRES = {"store": "postgres", "postgres": DATABASE, "federation": {"journal": "postgres"}}
MONITORED = {
    "labels": {"release": "prometheus"},
    "enabled": True,
    "runbookBase": "https://git.example/constellation/blob/v0.1.0",
    "dashboards": {"enabled": True},
}
OPERATOR_KINDS = {"ServiceMonitor", "PrometheusRule"}
"""Kinds that the Prometheus operator defines; no schema of Kubernetes describes them."""
VARIANTS: dict[str, dict[str, Any]] = {
    "sqlite": {},
    "postgres": POSTGRES,
    "autoscaling": {**POSTGRES, "shards": {"autoscaling": {"enabled": True}}},
    "embedded shards, journal in PostgreSQL": {
        "postgres": DATABASE,
        "federation": {"journal": "postgres"},
    },
    "shards in PostgreSQL, embedded journal": {"store": "postgres", "postgres": DATABASE},
    "monitoring": {"monitoring": MONITORED},
    "tls": {"envoy": {"tlsSecret": "front-tls", "service": {"type": "LoadBalancer"}}},
    "tracing": {"tracing": {"endpoint": "http://collector.observability:4317"}},
    "no federation": {"federation": {"enabled": False}},
    "no front door": {"envoy": {"enabled": False}},
    "no network policies": {"networkPolicy": {"enabled": False}},
    "everything chosen": {
        "imagePullSecrets": [{"name": "registry"}],
        "logLevel": "debug",
        "frontDoorAddress": "front.example:443",
        "shards": {
            "count": 2,
            "env": {"MAX_DEVICES": "2000000"},
            "nodeSelector": {"disk": "fast"},
            "tolerations": [{"key": "shards", "operator": "Exists"}],
            "volume": {"size": "1Ti", "storageClass": "fast"},
        },
        "federation": {"minShards": 1, "env": {"GLOBAL_K_ANONYMITY": "10"}},
        "envoy": {"service": {"annotations": {"example/balancer": "public"}}},
        "networkPolicy": {"devices": ["192.0.2.0/24"]},
    },
}


@dataclass(frozen=True)
class Pod:
    """The pod template of a controller."""

    component: str
    name: str
    """The name of the controller."""
    labels: Labels
    spec: Document

    @property
    def containers(self) -> list[Document]:
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    @property
    def main_container(self) -> Document:
        (container,) = self.spec["containers"]
        found: Document = container
        return found

    @property
    def ports(self) -> dict[str, int]:
        return {
            port["name"]: port["containerPort"] for port in self.main_container.get("ports", ())
        }

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the main container. A value that comes from the pod's index is 1."""
        return {each["name"]: each.get("value", "1") for each in self.main_container["env"]}

    def find_volume(self, path: str) -> Document:
        """Return the volume that the main container mounts at a path."""
        (name,) = (
            each["name"]
            for each in self.main_container["volumeMounts"]
            if each["mountPath"] == path
        )
        (volume,) = (each for each in self.spec["volumes"] if each["name"] == name)
        found: Document = volume
        return found


@dataclass(frozen=True)
class RenderedChart:
    """The objects that the chart renders for one set of values."""

    documents: list[Document]

    def find_all(self, kind: str) -> list[Document]:
        return [each for each in self.documents if each["kind"] == kind]

    def find_one(self, kind: str, name: str) -> Document:
        (found,) = (each for each in self.find_all(kind) if each["metadata"]["name"] == name)
        return found

    def iterate_pods(self, *components: str) -> Iterator[Pod]:
        """Yield the pod template of each controller of these components, by default of all."""
        for kind in ("StatefulSet", "Deployment", "Job"):
            for each in self.find_all(kind):
                template = each["spec"]["template"]
                labels = template["metadata"]["labels"]
                component = labels["app.kubernetes.io/component"]
                if component in components or not components:
                    yield Pod(component, each["metadata"]["name"], labels, template["spec"])

    def select_pods(self, service: Document) -> list[Pod]:
        """Return the pods that a Service selects."""
        wanted = service["spec"]["selector"].items()
        return [pod for pod in self.iterate_pods() if wanted <= pod.labels.items()]

    @property
    def envoy(self) -> Document:
        """Return Envoy's configuration."""
        found: Document = yaml.safe_load(self.envoy_text)
        return found

    @property
    def envoy_text(self) -> str:
        text: str = self.find_one("ConfigMap", "constellation-front")["data"]["envoy.yaml"]
        return text


def load_chart(values: Mapping[str, Any]) -> RenderedChart:
    """Render the chart with these values and an image; equal values are rendered once."""
    return _render_cached(json.dumps({**IMAGE, **values}, sort_keys=True))


def to_helm_arguments(values: Mapping[str, Any]) -> list[str]:
    """Return the command-line arguments that pass these values to Helm."""
    return [f"--set-json={name}={json.dumps(value)}" for name, value in values.items()]


@cache
def _render_cached(values: str) -> RenderedChart:
    found = yaml.safe_load_all(render_chart(*to_helm_arguments(json.loads(values))))
    return RenderedChart([document for document in found if document])
