from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.commands.tls import NAME, make_identity, tls_in_front
from tests.scenarios.sdk_devices import free_address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.commands.conftest import Asking
    from tests.commands.servers import Fleet
    from tests.commands.tls import Identity

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl makes the certificates"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_identity(tmp_path_factory.mktemp("server"), NAME)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_identity(tmp_path_factory.mktemp("client"), "operator.example")


@pytest.fixture(scope="module")
def secured(fleet: Fleet, server: Identity) -> Iterator[str]:
    """Where the first shard is reached by TLS."""
    with tls_in_front(fleet.shards[0], server) as address:
        yield address


@needs_openssl
def test_a_shard_behind_tls_is_asked(ask: Asking, secured: str, server: Identity) -> None:
    flags = ("--address", secured, "--ca", str(server.cert), "--server-name", NAME)

    told = ask.json("status", *flags)

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
    ask: Asking, secured: str, server: Identity, flags: tuple[str, ...], told: str
) -> None:
    given = [str(server.cert) if flag == "SERVER" else flag for flag in flags]

    finished = ask("devices", "--address", secured, *given)

    assert finished.status == 1
    assert finished.err.startswith(f"constellation: ListDevices of {secured}: {told}")
    assert len(finished.err.splitlines()) == 1


@needs_openssl
def test_a_client_shows_its_certificate_where_one_is_wanted(
    ask: Asking, fleet: Fleet, server: Identity, client: Identity
) -> None:
    with tls_in_front(fleet.shards[1], server, client) as address:
        known = ("--address", address, "--ca", str(server.cert), "--server-name", NAME)
        mine = ("--cert", str(client.cert), "--key", str(client.key))

        shown = ask("content", "get", "film:1", *known, *mine)
        hidden = ask("content", "get", "film:1", *known)

    assert shown.status == 0
    assert shown.out.startswith("Solaris\n")
    assert hidden.status == 1
    assert "does it want --tls, or --cert and --key" in hidden.err


def test_tls_to_a_shard_without_it_is_told(ask: Asking, fleet: Fleet) -> None:
    finished = ask("trends", "--tls")

    assert finished.status == 1
    assert finished.err == (
        f"constellation: ListTrends of {fleet.shards[0]}: it does not speak TLS: "
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
    ask: Asking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)

    finished = ask("clusters", *flags)

    assert finished.status == 2
    assert told in finished.err


@pytest.mark.parametrize("command", ["status", "devices", "patterns", "trends", "clusters"])
def test_nobody_there_is_told_with_the_address(ask: Asking, command: str) -> None:
    nobody = free_address()

    finished = ask(command, "--address", nobody)

    assert finished.status == 1
    assert finished.out == ""
    assert f" of {nobody}: nobody listens there: is the process running" in finished.err


def test_a_federation_is_told_from_a_shard(ask: Asking, fleet: Fleet) -> None:
    shard_asked = ask("status", "--address", fleet.federation)
    federation_asked = ask("status", program="federation")

    assert shard_asked.status == federation_asked.status == 1
    assert shard_asked.err == (
        f"constellation: {fleet.federation} is a federation: ask a shard, or use "
        "`federation status`\n"
    )
    assert federation_asked.err == (
        f"federation: {fleet.shards[0]} is a shard: ask a federation, or use "
        "`constellation status`\n"
    )
