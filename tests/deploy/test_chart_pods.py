from __future__ import annotations

import stat
import subprocess
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from constellation.config import ShardConfig
from constellation.config_loader import load_config
from constellation.transport.health.service import LIVENESS
from federation.config import FederationConfig
from tests.deploy.chart import DATABASE, POSTGRES, VARIANTS, Document, RenderedChart, load_chart

if TYPE_CHECKING:
    from pathlib import Path

    from tests.deploy.chart import Pod

PROGRAMS: dict[str, type[ShardConfig | FederationConfig]] = {
    "shard": ShardConfig,
    "migrate": ShardConfig,
    "federation": FederationConfig,
}
FOREIGN_SETTINGS_PREFIX = "OTEL_"
"""Variables that OpenTelemetry reads itself, so they are no settings."""
every_variant = pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)


def list_own_pods(rendered: RenderedChart) -> list[Pod]:
    """Return the pods that run a shard, a federation or a migration."""
    return list(rendered.iterate_pods(*PROGRAMS))


def load_settings(pod: Pod) -> Any:
    """Return the settings of a pod, as its program reads them."""
    return load_config(PROGRAMS[pod.component], pod.environment)


def find_service(address: str, rendered: RenderedChart) -> Document:
    """Return the Service that a host name inside the cluster belongs to."""
    host, _, port = address.rpartition(":")
    *_, name, namespace, svc = host.split(".")
    assert (namespace, svc) == ("constellation", "svc")
    service = rendered.find_one("Service", name)
    assert int(port) in {each["port"] for each in service["spec"]["ports"]}
    return service


@every_variant
def test_each_variable_is_a_setting_of_the_program(values: Document) -> None:
    for pod in list_own_pods(load_chart(values)):
        known = {name.upper() for name in PROGRAMS[pod.component].__dataclass_fields__}
        names = [each["name"] for each in pod.main_container["env"]]

        assert len(names) == len(set(names))
        if pod.component != "migrate":  # it has the settings of the shards
            assert {each for each in names if not each.startswith(FOREIGN_SETTINGS_PREFIX)} <= known
        load_settings(pod)


@every_variant
def test_probes_use_a_port_and_services_that_exist(values: Document) -> None:
    for pod in load_chart(values).iterate_pods("shard", "federation"):
        address = load_settings(pod).probe_addr
        assert address is not None
        port = int(address.rpartition(":")[2])

        assert pod.ports["probe"] == port
        assert pod.main_container["startupProbe"]["grpc"] == {"port": port, "service": LIVENESS}
        assert pod.main_container["livenessProbe"]["grpc"] == {"port": port, "service": LIVENESS}
        assert pod.main_container["readinessProbe"]["grpc"] == {"port": port, "service": ""}


@every_variant
def test_ports_are_the_defaults_of_the_programs(values: Document) -> None:
    for pod in load_chart(values).iterate_pods("shard", "federation"):
        config = load_settings(pod)
        addresses = {
            "grpc": config.grpc_addr,
            "rest": config.rest_addr,
            "metrics": config.metrics_addr,
            "probe": config.probe_addr or "",
        }

        assert pod.ports == {
            name: int(address.rpartition(":")[2]) for name, address in addresses.items()
        }


@pytest.mark.parametrize("store", [{}, POSTGRES], ids=["sqlite", "postgres"])
def test_a_shard_has_the_time_it_needs_to_end(store: Document) -> None:
    times = {"drainSeconds": 45, "commitSeconds": 15, "snapshotSeconds": 60}

    for pod in load_chart({**store, "shards": times}).iterate_pods("shard"):
        assert load_settings(pod).drain_seconds == 45
        assert pod.spec["terminationGracePeriodSeconds"] == 45 + 15 + 60 + 10


@every_variant
def test_every_shard_of_the_map_runs_and_is_reachable(values: Document) -> None:
    rendered = load_chart(values)
    pods = list(rendered.iterate_pods("shard"))
    config = load_settings(pods[0])
    count = values.get("shards", {}).get("count", 3)

    assert sorted(config.shard_map) == list(range(count))
    if values.get("store") == "postgres":
        assert [load_settings(pod).shard_id for pod in pods] == list(range(count))
    else:
        assert rendered.find_all("StatefulSet")[0]["spec"]["replicas"] == count
    for shard_id, address in config.shard_map.items():
        if not address.endswith(".svc:50051"):
            assert address == values["frontDoorAddress"]
        elif rendered.select_pods(find_service(address, rendered))[0].component == "shard":
            assert f"shard-{shard_id}." in address


@every_variant
def test_commands_for_all_shards_reach_each_of_them(values: Document) -> None:
    rendered = load_chart(values)
    (federation,) = rendered.iterate_pods("federation") if has_federation(values) else (None,)

    for pod in rendered.iterate_pods("shard"):
        config = load_settings(pod)
        called = config.internal_shard_map or config.shard_map

        assert sorted(called) == sorted(config.shard_map)
        assert len(set(called.values())) == len(called)
        for shard_id, address in called.items():
            (found, *_) = rendered.select_pods(find_service(address, rendered))
            assert found.component == "shard"
            assert f"shard-{shard_id}." in address
        if federation is not None:
            assert tuple(called.values()) == load_settings(federation).shard_addrs


def has_federation(values: Document) -> bool:
    enabled: bool = values.get("federation", {}).get("enabled", True)
    return enabled


@pytest.mark.parametrize(
    ("values", "trusted"),
    [
        ({}, {"10.244.1.7": True, "192.168.3.4": True, "fd00::7": True, "8.8.8.8": False}),
        ({"trustedProxies": ["10.244.0.0/16"]}, {"10.244.1.7": True, "10.245.1.7": False}),
        ({"envoy": {"enabled": False}}, {"10.244.1.7": False}),
    ],
    ids=["the front door", "a network", "no front door"],
)
def test_shards_believe_the_front_door_what_address_a_device_has(
    values: Document, trusted: dict[str, bool]
) -> None:
    (pod,) = load_chart(values).iterate_pods("shard")

    networks = load_settings(pod).trusted_proxies

    found = {
        address: any(ip_address(address) in network for network in networks) for address in trusted
    }
    assert found == trusted


@pytest.mark.parametrize("store", [{}, POSTGRES], ids=["sqlite", "postgres"])
def test_a_federation_calls_the_owner_of_each_shard(store: Document) -> None:
    rendered = load_chart({**store, "shards": {"count": 4}})
    (federation,) = rendered.iterate_pods("federation")

    addresses = load_settings(federation).shard_addrs

    assert len(set(addresses)) == 4
    for shard, address in enumerate(addresses):
        service = find_service(address, rendered)
        (pod,) = rendered.select_pods(service)
        assert pod.component == "shard"
        if store:
            assert load_settings(pod).shard_id == shard
            assert not service["spec"].get("publishNotReadyAddresses")  # only the owner
        else:
            assert address.startswith(f"{pod.name}-{shard}.")


@pytest.mark.parametrize(("count", "minimum"), [(1, 1), (2, 2), (3, 3), (5, 3)])
def test_a_federation_of_few_shards_does_not_wait_for_more(count: int, minimum: int) -> None:
    (federation,) = load_chart({"shards": {"count": count}}).iterate_pods("federation")

    assert load_settings(federation).min_shards == minimum


def test_large_numbers_are_written_out() -> None:
    rendered = load_chart(
        {
            **POSTGRES,
            "shards": {"autoscaling": {"enabled": True, "streamsPerProcess": 2_000_000}},
            "federation": {"intervalSeconds": 5_000_000},
        }
    )
    (federation,) = rendered.iterate_pods("federation")
    scaler = rendered.find_one("HorizontalPodAutoscaler", "constellation-shard-0")

    assert load_settings(federation).federation_interval_secs == 5_000_000
    assert scaler["spec"]["metrics"][0]["external"]["target"]["averageValue"] == "2000000"


@every_variant
def test_pods_meet_the_restricted_pod_security_standard(values: Document) -> None:
    for pod in load_chart(values).iterate_pods():
        security = pod.spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod.spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.spec.keys()
        for volume in pod.spec["volumes"]:
            allowed = {"name", "configMap", "secret", "emptyDir", "persistentVolumeClaim"}
            assert volume.keys() <= allowed
        for container in pod.containers:
            own_security = container["securityContext"]
            assert own_security["allowPrivilegeEscalation"] is False
            assert own_security["readOnlyRootFilesystem"] is True
            assert own_security["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]


@every_variant
def test_accounts_exist_and_have_no_token(values: Document) -> None:
    rendered = load_chart(values)
    accounts = {each["metadata"]["name"]: each for each in rendered.find_all("ServiceAccount")}

    for pod in rendered.iterate_pods("shard", "federation", "front"):
        assert accounts[pod.spec["serviceAccountName"]]["automountServiceAccountToken"] is False
    assert not rendered.find_all("Role") + rendered.find_all("ClusterRole")


@every_variant
def test_what_is_mounted_exists_once(values: Document) -> None:
    for pod in load_chart(values).iterate_pods():
        claims = [each["metadata"]["name"] for each in _find_claims(load_chart(values), pod)]
        names = sorted([*claims, *(each["name"] for each in pod.spec["volumes"])])
        mounted = {
            each["name"] for container in pod.containers for each in container["volumeMounts"]
        }

        assert names == sorted(mounted)
        for container in pod.containers:
            paths = [each["mountPath"] for each in container["volumeMounts"]]
            assert len(paths) == len(set(paths))


def _find_claims(rendered: RenderedChart, pod: Pod) -> list[Document]:
    found: list[Document] = [
        claim
        for each in rendered.find_all("StatefulSet")
        if each["metadata"]["name"] == pod.name
        for claim in each["spec"]["volumeClaimTemplates"]
    ]
    return found


@every_variant
def test_no_secret_is_in_the_environment(values: Document) -> None:
    for pod in load_chart(values).iterate_pods():
        for container in pod.containers:
            assert "envFrom" not in container
            for variable in container.get("env", ()):
                assert "secretKeyRef" not in variable.get("valueFrom", {})
                assert urlsplit(variable.get("value", "")).password is None
                assert "password=" not in variable.get("value", "")


def test_the_password_is_a_file_that_libpq_reads(tmp_path: Path) -> None:
    rendered = load_chart(POSTGRES)
    for pod in list_own_pods(rendered):
        url = pod.environment["POSTGRES_URL"]
        (passfile,) = parse_qs(urlsplit(url).query)["passfile"]
        (copy,) = pod.spec["initContainers"]
        *command, secret, copied = copy["command"]
        assert copied == passfile
        assert pod.find_volume(passfile.rpartition("/")[0])["emptyDir"]["medium"] == "Memory"
        (source,) = (each for each in pod.spec["volumes"] if each["name"] == "postgres-secret")
        assert source["secret"]["secretName"] == DATABASE["existingSecret"]
        mounted = tmp_path / "mounted"
        mounted.write_text("db.example:5432:constellation:constellation:secret\n")
        mounted.chmod(source["secret"]["defaultMode"])  # as Kubernetes mounts a Secret
        assert secret == "/run/secrets/postgres/pgpass"  # noqa: S105 - a path

        subprocess.run([*command, mounted, tmp_path / "pgpass"], check=True)

        written = tmp_path / "pgpass"
        assert stat.S_IMODE(written.stat().st_mode) == 0o600
        assert written.read_text() == mounted.read_text()
        mounted.unlink()


def test_nothing_needs_postgresql_unless_something_uses_it() -> None:
    rendered = load_chart({})

    assert not rendered.find_all("Job")
    assert all("POSTGRES_URL" not in pod.environment for pod in list_own_pods(rendered))


def test_an_embedded_store_has_only_one_process() -> None:
    rendered = load_chart({})
    (shards,) = rendered.find_all("StatefulSet")
    federation = rendered.find_one("Deployment", "constellation-federation")["spec"]
    (claim,) = rendered.find_all("PersistentVolumeClaim")
    (template,) = shards["spec"]["volumeClaimTemplates"]

    for each in (claim, template):
        assert each["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert (federation["replicas"], federation["strategy"]["type"]) == (1, "Recreate")
    for pod in rendered.iterate_pods("shard", "federation"):
        assert str(load_settings(pod).data_dir) in {
            each["mountPath"] for each in pod.main_container["volumeMounts"]
        }


def test_volumes_outlive_the_release() -> None:
    rendered = load_chart({})
    (shards,) = rendered.find_all("StatefulSet")
    (claim,) = rendered.find_all("PersistentVolumeClaim")

    kept = shards["spec"]["persistentVolumeClaimRetentionPolicy"]
    assert kept == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


@pytest.mark.parametrize("store", [{}, POSTGRES], ids=["sqlite", "postgres"])
def test_a_secret_with_tokens_reaches_the_programs(store: Document) -> None:
    rendered = load_chart({**store, "tokens": {"existingSecret": "fleet-tokens"}})
    for pod in rendered.iterate_pods("shard", "federation"):
        config = load_settings(pod)
        (volume,) = [each for each in pod.spec["volumes"] if each["name"] == "tokens"]
        (mount,) = [each for each in pod.main_container["volumeMounts"] if each["name"] == "tokens"]

        assert volume["secret"]["secretName"] == "fleet-tokens"
        assert mount["readOnly"]
        assert str(config.token_keys) == f"{mount['mountPath']}/token-keys.json"
        if pod.component == "federation":
            assert str(config.token_file) == f"{mount['mountPath']}/federation.token"
        else:
            assert [each["key"] for each in volume["secret"]["items"]] == ["token-keys.json"]
