from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest

from tests.deploy.chart import POSTGRES, VARIANTS, RenderedChart, load_chart

if TYPE_CHECKING:
    from tests.deploy.chart import Document, Labels

RELEASE = {
    "app.kubernetes.io/name": "constellation",
    "app.kubernetes.io/instance": "constellation",
}
SHARD, FEDERATION, FRONT, MIGRATE = (
    {**RELEASE, "app.kubernetes.io/component": component}
    for component in ("shard", "federation", "front", "migrate")
)
PORTS = {50051, 8080, 9090, 50052, 8081, 9091, 9901}
"""Every port on which a process listens."""
TRACED = {"tracing": {"endpoint": "http://collector.observability:4317"}}


@dataclass(frozen=True)
class Endpoint:
    """One end of a connection: a pod in a namespace, or a machine."""

    name: str
    labels: Labels | None = None
    namespace: str = "constellation"
    address: str = "198.51.100.7"

    def is_selected_by(self, peer: Document) -> bool:
        """Return whether a peer of a NetworkPolicy rule selects this endpoint."""
        if "ipBlock" in peer:
            network, own = ip_network(peer["ipBlock"]["cidr"]), ip_address(self.address)
            return network.version == own.version and own in network
        namespaces = peer.get("namespaceSelector", {}).get("matchLabels")
        if namespaces is None:
            here = self.namespace == "constellation"
        else:
            here = namespaces == {"kubernetes.io/metadata.name": self.namespace}
        wanted = peer["podSelector"]["matchLabels"].items()
        return here and self.labels is not None and wanted <= self.labels.items()


OWN_ENDPOINTS = [
    Endpoint("shard", SHARD),
    Endpoint("federation", FEDERATION),
    Endpoint("front", FRONT),
    Endpoint("migrate", MIGRATE),
]
OTHER_ENDPOINTS = [
    Endpoint("prometheus", {"app.kubernetes.io/name": "prometheus"}, "monitoring"),
    Endpoint("prometheus of others", {"app.kubernetes.io/name": "prometheus"}, "others"),
    Endpoint("shard of others", SHARD, "others"),
    Endpoint("device"),
    Endpoint("device with IPv6", address="2001:db8::7"),
    Endpoint("database", address="10.1.2.3"),
]


def is_allowed(
    rendered: RenderedChart, source: Endpoint, target: Endpoint, port: int, protocol: str
) -> bool:
    """Return whether the policies of both ends allow a connection."""
    leaving = _is_permitted(rendered, source, target, ("Egress", "egress", "to"), (port, protocol))
    arriving = _is_permitted(
        rendered, target, source, ("Ingress", "ingress", "from"), (port, protocol)
    )
    return leaving and arriving


def _is_permitted(
    rendered: RenderedChart,
    own: Endpoint,
    other: Endpoint,
    direction: tuple[str, str, str],
    port: tuple[int, str],
) -> bool:
    kind, rules, peers = direction
    policies = [
        each["spec"]
        for each in rendered.find_all("NetworkPolicy")
        if own.is_selected_by({"podSelector": each["spec"]["podSelector"]})
        and kind in each["spec"]["policyTypes"]
    ]
    if not policies:
        return True
    return any(
        port in {(each["port"], each["protocol"]) for each in rule["ports"]}
        and (peers not in rule or any(other.is_selected_by(peer) for peer in rule[peers]))
        for policy in policies
        for rule in policy.get(rules) or ()
    )


def list_connections(rendered: RenderedChart) -> set[tuple[str, str, int]]:
    """Return every allowed connection to a process of the release."""
    return {
        (source.name, target.name, port)
        for source in OWN_ENDPOINTS + OTHER_ENDPOINTS
        for target in OWN_ENDPOINTS
        for port in PORTS
        if is_allowed(rendered, source, target, port, "TCP")
    }


SCRAPE_CONNECTIONS = {("prometheus", "shard", 9090), ("prometheus", "federation", 9091)}
INGRESS_CONNECTIONS = {
    (name, "front", 50051)
    for name in ("device", "device with IPv6", "database", *(each.name for each in OTHER_ENDPOINTS))
}


@pytest.mark.parametrize("values", [{}, POSTGRES, TRACED], ids=["sqlite", "postgres", "traced"])
def test_processes_reach_exactly_what_they_need(values: Document) -> None:
    assert list_connections(load_chart(values)) == SCRAPE_CONNECTIONS | INGRESS_CONNECTIONS | {
        ("front", "shard", 50051),
        ("federation", "shard", 50051),
    }


def test_without_a_front_door_devices_reach_shards_and_nothing_else() -> None:
    values = {"envoy": {"enabled": False}, "networkPolicy": {"devices": ["198.51.100.0/24"]}}

    found = list_connections(load_chart(values))

    assert {each for each in found if "device" in each[0]} == {("device", "shard", 50051)}
    assert ("federation", "shard", 50051) in found


def test_without_a_federation_no_connection_replaces_it() -> None:
    found = list_connections(load_chart({"federation": {"enabled": False}}))

    assert ("federation", "shard", 50051) not in found
    assert ("front", "shard", 50051) in found


@pytest.mark.parametrize(
    ("values", "asking"),
    [
        ({}, set()),
        (POSTGRES, {"shard", "federation", "migrate"}),
        ({**POSTGRES, "store": "sqlite"}, {"federation", "migrate"}),
        ({**POSTGRES, "federation": {}}, {"shard", "migrate"}),
    ],
    ids=["nothing", "everything", "the journal", "the shards"],
)
def test_only_processes_that_use_postgresql_reach_it(values: Document, asking: set[str]) -> None:
    rendered = load_chart(values)
    database = next(each for each in OTHER_ENDPOINTS if each.name == "database")
    elsewhere = next(each for each in OTHER_ENDPOINTS if each.name == "device")
    known = [
        each for each in OWN_ENDPOINTS if any(rendered.iterate_pods(each.name))
    ]  # without a Job, there is no policy for it

    assert {
        each.name for each in known if is_allowed(rendered, each, database, 5432, "TCP")
    } == asking
    assert not any(is_allowed(rendered, each, elsewhere, 5432, "TCP") for each in known)


def test_processes_that_send_traces_reach_the_collector() -> None:
    collector = Endpoint("collector", address="10.9.9.9")
    found = {
        each.name
        for each in OWN_ENDPOINTS
        if is_allowed(load_chart(TRACED), each, collector, 4317, "TCP")
    }

    assert found == {"shard", "federation"}
    assert not any(
        is_allowed(load_chart({}), each, collector, 4317, "TCP") for each in OWN_ENDPOINTS
    )


@pytest.mark.parametrize("values", [{}, POSTGRES], ids=["sqlite", "postgres"])
def test_processes_that_call_others_reach_dns(values: Document) -> None:
    dns = Endpoint("dns", address="10.96.0.10")
    rendered = load_chart(values)
    asking = {"federation", "front"} | ({"shard", "migrate"} if values else set())

    for protocol in ("UDP", "TCP"):
        known = [each for each in OWN_ENDPOINTS if any(rendered.iterate_pods(each.name))]
        assert {
            each.name for each in known if is_allowed(rendered, each, dns, 53, protocol)
        } == asking


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)
def test_services_target_ports_that_pods_have(values: Document) -> None:
    rendered = load_chart(values)

    for service in rendered.find_all("Service"):
        pods = rendered.select_pods(service)
        assert pods
        for pod in pods:
            for port in service["spec"]["ports"]:
                assert pod.ports[port["targetPort"]] == port["port"]
    for each in rendered.find_all("StatefulSet"):
        service = rendered.find_one("Service", each["spec"]["serviceName"])
        assert service["spec"]["clusterIP"] == "None"
        assert service["spec"]["publishNotReadyAddresses"] is True


def test_only_the_front_door_has_a_load_balancer() -> None:
    rendered = load_chart(VARIANTS["tls"])

    outside = [
        each["metadata"]["name"]
        for each in rendered.find_all("Service")
        if each["spec"].get("type", "ClusterIP") != "ClusterIP"
    ]
    assert outside == ["constellation-front"]


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort", "LoadBalancer"])
def test_the_front_door_sees_the_addresses_of_devices(kind: str) -> None:
    rendered = load_chart({"envoy": {"service": {"type": kind}}})

    service = rendered.find_one("Service", "constellation-front")

    expected = None if kind == "ClusterIP" else "Local"  # Kubernetes refuses it for a ClusterIP
    assert service["spec"].get("externalTrafficPolicy") == expected
