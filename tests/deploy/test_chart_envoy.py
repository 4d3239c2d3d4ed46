from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.deploy.chart import DATABASE, POSTGRES, load_chart
from tests.deploy.envoy import CONFIG, validate_config

if TYPE_CHECKING:
    from pathlib import Path

    from tests.deploy.chart import Document

HOST = "constellation-shard-{}.constellation-shards.constellation.svc"


def get_filter_chain(config: Document) -> Document:
    """Return the filter chain of the only listener."""
    (listener,) = config["static_resources"]["listeners"]
    (chain,) = listener["filter_chains"]
    found: Document = chain
    return found


def get_routes(config: Document) -> list[Document]:
    (manager,) = get_filter_chain(config)["filters"]
    (host,) = manager["typed_config"]["route_config"]["virtual_hosts"]
    found: list[Document] = host["routes"]
    return found


def get_cluster_hosts(config: Document) -> dict[str, list[str]]:
    """Return the endpoints of each cluster."""
    return {
        cluster["name"]: [
            endpoint["endpoint"]["address"]["socket_address"]["address"]
            for each in cluster["load_assignment"]["endpoints"]
            for endpoint in each["lb_endpoints"]
        ]
        for cluster in config["static_resources"]["clusters"]
    }


@pytest.mark.parametrize("count", [1, 3, 10])
@pytest.mark.parametrize("store", [{}, POSTGRES], ids=["sqlite", "postgres"])
async def test_envoy_accepts_the_rendered_file(store: Document, count: int, tmp_path: Path) -> None:
    config = tmp_path / "envoy.yaml"
    config.write_text(load_chart({**store, "shards": {"count": count}}).envoy_text)

    finished = await validate_config(config)

    assert (finished.status, finished.err) == (0, "")


def test_for_two_shards_the_chart_renders_the_committed_file() -> None:
    committed = CONFIG.read_text()
    for shard in range(2):
        address = f"address: shard-{shard},"
        assert address in committed
        committed = committed.replace(address, f"address: {HOST.format(shard)},")

    found = load_chart({"shards": {"count": 2}}).envoy

    assert found == yaml.safe_load(committed)


@pytest.mark.parametrize("count", [1, 3, 10])
def test_each_shard_has_its_routes_and_its_cluster(count: int) -> None:
    config = load_chart({"shards": {"count": count}}).envoy

    every = [HOST.format(shard) for shard in range(count)]
    found = get_cluster_hosts(config)
    assert found.pop("any_shard") == every
    assert found == {f"shard_{shard}": [host] for shard, host in enumerate(every)}
    _, *routes = get_routes(config)  # the first one refuses calls
    named = [route for route in routes if "headers" in route["match"]]
    assert len(named) == 2 * count
    for route in named:
        (header,) = route["match"]["headers"]
        assert route["route"]["cluster"] == f"shard_{header['string_match']['exact']}"


def test_a_stream_is_matched_before_any_other_call() -> None:
    config = load_chart({"shards": {"count": 3}}).envoy

    refusal, *routes = get_routes(config)
    streams = ["path" in route["match"] for route in routes]

    assert refusal["direct_response"] == {"status": 404}
    assert streams == sorted(streams, reverse=True)
    assert routes[3]["route"]["cluster"] == "any_shard"


def test_envoy_knows_every_process_of_a_shard_in_postgresql() -> None:
    rendered = load_chart({"store": "postgres", "postgres": DATABASE})

    for shard in range(3):
        (host,) = get_cluster_hosts(rendered.envoy)[f"shard_{shard}"]
        service = rendered.find_one("Service", host.removesuffix(".constellation.svc"))
        assert service["spec"]["clusterIP"] == "None"
        assert service["spec"]["publishNotReadyAddresses"] is True
        (pod,) = rendered.select_pods(service)
        assert pod.environment["SHARD_ID"] == str(shard)


async def test_with_a_certificate_the_front_door_uses_tls(tmp_path: Path) -> None:
    rendered = load_chart({"envoy": {"tlsSecret": "front-tls"}})
    (pod,) = rendered.iterate_pods("front")
    (certificate,) = get_filter_chain(rendered.envoy)["transport_socket"]["typed_config"][
        "common_tls_context"
    ]["tls_certificates"]
    files = [certificate[each]["filename"] for each in ("certificate_chain", "private_key")]
    config = tmp_path / "envoy.yaml"
    config.write_text(rendered.envoy_text.replace("/etc/envoy/tls", str(tmp_path)))

    finished = await validate_config(config)

    assert pod.find_volume("/etc/envoy/tls")["secret"]["secretName"] == "front-tls"
    assert files == ["/etc/envoy/tls/tls.crt", "/etc/envoy/tls/tls.key"]
    assert re.search(rf"{tmp_path}/tls\.(crt|key)", finished.err)  # only these files are missing


def test_the_process_reads_the_rendered_file() -> None:
    rendered = load_chart({})
    (pod,) = rendered.iterate_pods("front")
    folder, _, file = pod.main_container["command"][
        pod.main_container["command"].index("-c") + 1
    ].rpartition("/")

    config = rendered.find_one("ConfigMap", pod.find_volume(folder)["configMap"]["name"])

    assert list(config["data"]) == [file]


def test_a_change_of_the_number_of_shards_restarts_the_front_door() -> None:
    checksums = set()
    for count in (2, 3):
        deployment = load_chart({"shards": {"count": count}}).find_one(
            "Deployment", "constellation-front"
        )
        checksums.add(deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"])

    assert len(checksums) == 2
