from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from testing.ports import find_free_address
from tests.tls import SERVER_NAME, make_certificate, run_tls_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.command_line import CommandLine
    from tests.servers import RunningFleet
    from tests.tls import Certificate

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl makes the certificates"
)


@pytest.fixture(scope="module")
def server_certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("server"), SERVER_NAME)


@pytest.fixture(scope="module")
def client_certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("client"), "operator.example")


@pytest.fixture(scope="module")
def tls_address(fleet: RunningFleet, server_certificate: Certificate) -> Iterator[str]:
    """Where the first shard is reached by TLS."""
    with run_tls_proxy(fleet.shard_addresses[0], server_certificate) as address:
        yield address


@needs_openssl
def test_a_shard_behind_tls_is_asked(
    cli: CommandLine, tls_address: str, server_certificate: Certificate
) -> None:
    flags = (
        "--address",
        tls_address,
        "--ca",
        str(server_certificate.cert),
        "--server-name",
        SERVER_NAME,
    )

    told = cli.run_json("status", *flags)

    assert told["shards"][0]["info"]["region"] == "north"


@needs_openssl
@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--tls",), "its certificate is signed by nobody trusted here: give --ca FILE"),
        (("--ca", "SERVER"), "its certificate is of another name: give --server-name NAME"),
        ((), "it closed the connection: does it want --tls, or --cert and --key; "),
    ],
)
def test_wrong_tls_flags_are_told_with_what_to_do(
    cli: CommandLine,
    tls_address: str,
    server_certificate: Certificate,
    flags: tuple[str, ...],
    told: str,
) -> None:
    given = [str(server_certificate.cert) if flag == "SERVER" else flag for flag in flags]

    finished = cli("devices", "--address", tls_address, *given)

    assert finished.status == 1
    assert finished.err.startswith(f"constellation: ListDevices of {tls_address}: {told}")
    assert len(finished.err.splitlines()) == 1


@needs_openssl
def test_a_client_shows_its_certificate_where_one_is_wanted(
    cli: CommandLine,
    fleet: RunningFleet,
    server_certificate: Certificate,
    client_certificate: Certificate,
) -> None:
    with run_tls_proxy(fleet.shard_addresses[1], server_certificate, client_certificate) as address:
        known = (
            "--address",
            address,
            "--ca",
            str(server_certificate.cert),
            "--server-name",
            SERVER_NAME,
        )
        mine = ("--cert", str(client_certificate.cert), "--key", str(client_certificate.key))

        shown = cli("content", "get", "film:1", *known, *mine)
        hidden = cli("content", "get", "film:1", *known)

    assert shown.status == 0
    assert shown.out.startswith("Solaris\n")
    assert hidden.status == 1
    assert "does it want --tls, or --cert and --key" in hidden.err


def test_tls_to_a_shard_without_it_is_told(cli: CommandLine, fleet: RunningFleet) -> None:
    finished = cli("trends", "--tls")

    assert finished.status == 1
    assert finished.err == (
        f"constellation: ListTrends of {fleet.shard_addresses[0]}: it does not speak TLS: "
        "leave --tls, --ca, --cert and --key out\n"
    )


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--cert", "a.pem"), "--cert and --key belong together: give both"),
        (("--ca", "none.pem"), "--ca none.pem: No such file or directory"),
        (("--address", "127.0.0.1"), "must be host:port with a port from 0 to 65535"),
        (("--timeout", "soon"), "argument --timeout: must be a number, got 'soon'"),
    ],
)
def test_wrong_flags_are_asked_wrongly(
    cli: CommandLine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    finished = cli("clusters", *flags)

    assert finished.status == 2
    assert told in finished.err


@pytest.mark.parametrize("command", ["status", "devices", "patterns", "trends", "clusters"])
def test_nobody_there_is_told_with_the_address(cli: CommandLine, command: str) -> None:
    nobody = find_free_address()

    finished = cli(command, "--address", nobody)

    assert finished.status == 1
    assert finished.out == ""
    assert f" of {nobody}: nobody listens there: is the process running" in finished.err


def test_a_federation_is_told_from_a_shard(cli: CommandLine, fleet: RunningFleet) -> None:
    shard_asked = cli("status", "--address", fleet.federation_address)
    federation_asked = cli("status", program="federation")

    assert shard_asked.status == federation_asked.status == 1
    assert shard_asked.err == (
        f"constellation: {fleet.federation_address} is a federation: ask a shard, or use "
        "`federation status`\n"
    )
    assert federation_asked.err == (
        f"federation: {fleet.shard_addresses[0]} is a shard: ask a federation, or use "
        "`constellation status`\n"
    )
