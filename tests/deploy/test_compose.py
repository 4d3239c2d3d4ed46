"""The compose file: checked as a file, then run without an engine on a real PostgreSQL."""

from __future__ import annotations

import json
import re
import stat
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import psycopg
import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict

from constellation.placement import parse_map
from tests.deploy.compose import (
    FOLDER,
    read_compose_file,
    read_services,
    replace_locations,
    run_command,
    run_service,
    wait_for_exit,
)
from tests.deploy.envoy import CONFIG, run_envoy
from tests.deploy.prometheus import PROMETHEUS, ROOT
from tests.scenarios.processes import wait_for_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from testing.postgres_server import PostgresServer

SCHEMA = "check_jsonschema/builtin_schemas/vendor/compose-spec.json"
"""The schema of the Compose specification, from the package check-jsonschema."""
PUBLISHED = {
    "envoy": {50051: 50051},
    "shard-0": {50100: 50051, 8100: 8080},
    "shard-1": {50101: 50051, 8101: 8080},
    "federation": {50052: 50052, 8081: 8081},
    "prometheus": {9090: 9090},
    "grafana": {3000: 3000},
}
SERVING = ["shard-0", "shard-1"]
COMMIT_SECONDS, SNAPSHOT_SECONDS, SPARE_SECONDS = 10, 30, 10
HEALTHCHECK = ROOT / "deploy" / "healthcheck.py"


def parse_seconds(text: str) -> int:
    found = re.fullmatch(r"(\d+)s", text)
    assert found, f"{text} is not a number of seconds"
    return int(found[1])


def test_the_file_conforms_to_the_specification() -> None:
    schema = json.loads(Path(str(distribution("check-jsonschema").locate_file(SCHEMA))).read_text())

    problems = [
        f"{error.json_path}: {error.message}"
        for error in jsonschema.Draft202012Validator(schema).iter_errors(read_compose_file())
    ]

    assert problems == []


@pytest.mark.parametrize("name", read_services())
def test_a_container_has_only_the_rights_it_needs(name: str) -> None:
    service = read_services()[name]

    user, _, _ = service["user"].partition(":")
    assert int(user) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc"} & set(service)


@pytest.mark.parametrize("name", read_services())
def test_an_image_is_pinned_to_a_version(name: str) -> None:
    _, _, tag = read_services()[name]["image"].rpartition(":")

    assert re.fullmatch(r"v?\d+\.\d+\.\d+(-pg18-trixie)?", tag)


def test_our_image_has_our_version() -> None:
    ours = {each["image"] for each in read_services().values() if "build" in each}

    assert ours == {f"constellation:{distribution('constellation-tv').version}"}


@pytest.mark.parametrize("name", sorted(set(read_services()) - {"migrate"}))
def test_a_service_has_a_health_check_and_is_restarted(name: str) -> None:
    service = read_services()[name]

    assert service["healthcheck"]["test"][0] == "CMD"
    assert parse_seconds(service["healthcheck"]["timeout"]) > 0
    assert service["restart"] == "unless-stopped"


def test_the_schema_is_migrated_once_before_anything_serves() -> None:
    found = read_services()

    assert found["migrate"]["restart"] == "no"
    assert found["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in (*SERVING, "federation"):
        assert found[name]["depends_on"]["migrate"] == {
            "condition": "service_completed_successfully"
        }


@pytest.mark.parametrize("name", SERVING)
def test_a_shard_has_the_time_to_drain(name: str) -> None:
    service = read_services()[name]

    drain_seconds = int(service["environment"]["DRAIN_SECONDS"])
    needed = drain_seconds + COMMIT_SECONDS + SNAPSHOT_SECONDS + SPARE_SECONDS
    assert parse_seconds(service["stop_grace_period"]) >= needed


def test_only_the_loopback_is_published_and_nothing_of_postgresql() -> None:
    published = {
        name: [each.split(":") for each in service["ports"]]
        for name, service in read_services().items()
        if "ports" in service
    }

    assert {host for ports in published.values() for host, _, _ in ports} == {"127.0.0.1"}
    assert {
        name: {int(outside): int(inside) for _, outside, inside in ports}
        for name, ports in published.items()
    } == PUBLISHED
    assert read_compose_file()["networks"]["store"] == {"internal": True}
    assert read_services()["postgres"]["networks"] == ["store"]


def test_passwords_are_in_files_that_are_not_committed() -> None:
    defined = read_compose_file()["secrets"]
    environments = [each.get("environment", {}) for each in read_services().values()]

    named = {secret for each in read_services().values() for secret in each.get("secrets", ())}
    for variables in environments:
        for variable, text in variables.items():
            assert not re.search(r":[^/@]+@", text), f"{variable} holds a password"
            assert "PASSWORD" not in variable or variable.endswith("_FILE")
    assert named == set(defined)
    assert {each["file"] for each in defined.values()} == {f"./secrets/{name}" for name in defined}
    assert (FOLDER / ".gitignore").read_text().split() == ["secrets/"]


def test_every_mounted_path_exists() -> None:
    mounted = [
        FOLDER / source
        for service in read_services().values()
        for volume in service.get("volumes", ())
        if (source := volume.split(":")[0]).startswith(".")
    ]

    assert {path.name for path in mounted if not path.exists()} == set()
    assert len(mounted) == 6


def test_every_address_is_the_name_of_a_service() -> None:
    scraped = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    data = ROOT / "deploy/grafana/provisioning/datasources/prometheus.yaml"
    called = {
        *(at for each in scraped for static in each["static_configs"] for at in static["targets"]),
        *read_services()["federation"]["environment"]["SHARD_ADDRS"].split(","),
        *parse_map(read_services()["shard-0"]["environment"]["INTERNAL_SHARD_MAP"]).values(),
        *re.findall(r"address: ([\w-]*shard[\w-]*), port", CONFIG.read_text()),
        yaml.safe_load(data.read_text())["datasources"][0]["url"].removeprefix("http://"),
    }

    assert {at.partition(":")[0] for at in called} == {*SERVING, "federation", "prometheus"}


@pytest.mark.parametrize("name", [*SERVING, "federation", "migrate"])
async def test_a_program_accepts_its_settings(name: str) -> None:
    settings = read_services()[name]["environment"]
    program = "federation" if name == "federation" else "constellation"

    finished = await run_command(program, "config", "--json", **settings)

    assert finished.status == 0, finished.err
    sources = {each["name"]: each["source"] for each in json.loads(finished.out)["settings"]}
    ours = {variable for variable, text in settings.items() if text and variable[:5] != "OTEL_"}
    assert {sources[variable] for variable in ours} == {"environment"}


async def test_secrets_are_created_once_in_a_private_folder(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"

    first = await run_command("sh", FOLDER / "secrets.sh", folder)
    made = {path.name: path.read_text() for path in folder.iterdir()}
    second = await run_command("sh", FOLDER / "secrets.sh", folder)

    assert (first.status, second.status) == (0, 0)
    assert set(made) == set(read_compose_file()["secrets"])
    assert made == {path.name: path.read_text() for path in folder.iterdir()}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o444}
    assert all(len(text.rpartition(":")[2].strip()) == 48 for text in made.values())


@pytest.fixture
async def locations(
    tmp_path: Path, postgres_server: PostgresServer
) -> AsyncIterator[dict[str, str]]:
    """Paths and addresses on this machine by those in containers; the database is ready."""
    database = {"postgres:5432": f"127.0.0.1:{postgres_server.port}"}
    pgpass = tmp_path / "secrets" / "pgpass"
    await run_command("sh", FOLDER / "secrets.sh", pgpass.parent)
    pgpass.chmod(0o644)
    pgpass.write_text(replace_locations(pgpass.read_text(), database))
    pgpass.chmod(0o444)
    superuser = conninfo_to_dict(postgres_server.make_url())
    done = await run_command(
        *("env", f"PATH={Path(postgres_server.find_program('psql')).parent}:/usr/bin:/bin"),
        *("sh", FOLDER / "postgres.sh"),
        PGPASS_SECRET=str(pgpass),
        PGHOST="127.0.0.1",
        PGPORT=str(postgres_server.port),
        PGPASSWORD=str(superuser["password"]),
    )
    assert done.status == 0, done.err
    yield {**database, "/run/secrets/": f"{pgpass.parent}/", "/tmp/": f"{tmp_path}/"}  # noqa: S108
    postgres_server.drop_database("constellation")
    postgres_server.execute("DROP ROLE constellation")


ANY_PORTS = {f"{kind}_ADDR": "127.0.0.1:0" for kind in ("GRPC", "REST", "METRICS")}


async def test_migration_shards_and_federation_run_as_composed(
    tmp_path: Path, locations: dict[str, str]
) -> None:
    async with run_service("migrate", locations) as migrating:
        migrated = await wait_for_exit(migrating)
    assert migrated.status == 0, migrated.err

    for number, name in enumerate(SERVING):
        data = {"DATA_DIR": str(tmp_path / name)}
        async with run_service(name, locations, **ANY_PORTS, **data) as shard:
            started = await wait_for_event(shard, "shard_started")
            rest = f"127.0.0.1:{started['rest_port']}"
            asked = await run_command("python", HEALTHCHECK, "ready", REST_ADDR=rest)
            shard.terminate()
            finished = await wait_for_exit(shard)
        assert (started["store"], started["shard_id"], asked.status) == ("postgres", number, 0)
        assert finished.status == 0, finished.err

    async with run_service("federation", locations, **ANY_PORTS) as federation:
        active = await wait_for_event(federation, "federation_active")
        federation.terminate()
        finished = await wait_for_exit(federation)
    assert active["event"] == "federation_active"
    assert finished.status == 0, finished.err


async def test_libpq_accepts_the_copy_of_the_password_but_not_the_mounted_file(
    tmp_path: Path, locations: dict[str, str]
) -> None:
    url = replace_locations(read_services()["migrate"]["environment"]["POSTGRES_URL"], locations)
    copying = read_services()["migrate"]["command"][2].replace("exec constellation migrate", "true")
    mounted = url.replace(f"{tmp_path}/pgpass", f"{tmp_path}/secrets/pgpass")

    for _ in range(2):  # the second time, as after a restart of the container
        copied = await run_command("sh", "-c", replace_locations(copying, locations))
        assert copied.status == 0, copied.err
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT current_user, usesuper FROM pg_user").fetchall()

    assert ("constellation", False) in row
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(mounted)


async def test_the_health_check_of_envoy_works_inside_its_container(tmp_path: Path) -> None:
    command: list[Any] = read_services()["envoy"]["healthcheck"]["test"][1:]
    nobody = {0: "127.0.0.1:1", 1: "127.0.0.1:1"}

    async with run_envoy(nobody, tmp_path) as front:
        port = str(front.admin.base_url.port)
        asked = await run_command(*(word.replace("9901", port) for word in command))
    after = await run_command(*(word.replace("9901", port) for word in command))

    assert asked.status == 0, asked.err
    assert after.status != 0
