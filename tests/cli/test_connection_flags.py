from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

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
def test_a_shard_behind_tls_is_reached(
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

    document = cli.run_json("status", *flags)

    assert document["shards"][0]["info"]["region"] == "north"


@needs_openssl
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--tls",), "its certificate is not signed by a trusted authority: give --ca FILE"),
        (("--ca", "SERVER"), "its certificate is for another host name: give --server-name NAME"),
        ((), "it closed the connection: does it require --tls, or --cert and --key"),
    ],
)
def test_wrong_tls_flags_are_explained_with_what_to_do(
    cli: CommandLine,
    tls_address: str,
    server_certificate: Certificate,
    flags: tuple[str, ...],
    message: str,
) -> None:
    given = [str(server_certificate.cert) if flag == "SERVER" else flag for flag in flags]

    finished = cli("devices", "--address", tls_address, *given)

    assert finished.status == 1
    assert finished.err.startswith(f"constellation: ListDevices at {tls_address}: {message}")
    assert len(finished.err.splitlines()) == 1


@needs_openssl
def test_a_client_shows_its_certificate_where_one_is_required(
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
    assert "does it require --tls, or --cert and --key" in hidden.err


def test_tls_to_a_shard_without_it_is_explained(cli: CommandLine, fleet: RunningFleet) -> None:
    finished = cli("trends", "--tls")

    assert finished.status == 1
    assert finished.err == (
        f"constellation: ListTrends at {fleet.shard_addresses[0]}: it does not use TLS: "
        "omit --tls, --ca, --cert, --key and --server-name\n"
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--cert", "a.pem"), "--cert and --key must be given together"),
        (("--ca", "none.pem"), "--ca none.pem: No such file or directory"),
        (("--address", "127.0.0.1"), "must be host:port with a port from 0 to 65535"),
        (("--timeout", "soon"), "argument --timeout: must be a number, got 'soon'"),
    ],
)
def test_wrong_flags_are_usage_errors(
    cli: CommandLine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    finished = cli("clusters", *flags)

    assert finished.status == 2
    assert message in finished.err
