from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from constellation.placement import find_owner
from constellation_settop import InvalidArgumentError, Outbox, Sync, SyncSettings, TlsSettings
from constellation_settop.network.channel import open_channel
from constellation_settop.network.identity import TokenSource
from constellation_settop.network.outcome import SessionOutcome
from constellation_settop.network.route import ATTEMPTS_BEFORE_HOME, ShardRoute
from tests.clients.samples import make_learned_changes
from tests.clients.stub_shard import StubShard, serve_stub

if TYPE_CHECKING:
    from collections.abc import Iterator

QUICK = SyncSettings(backoff_base_seconds=0.01, backoff_cap_seconds=0.05)
REDIRECT = SessionOutcome("elsewhere", 2.0, "other:1")


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with Outbox.open(":memory:") as outbox:
        yield outbox


def make_route(address: str = "first:1", settings: SyncSettings = QUICK) -> ShardRoute:
    tokens = TokenSource(settings.credential, settings.identity)
    return ShardRoute(address, bytes(16), settings, tokens)


def test_a_redirect_is_followed_after_the_delay_it_names() -> None:
    route = make_route()

    outcome = route.follow_redirect(REDIRECT)

    assert route.address == "other:1"
    assert outcome.delay_seconds == 2.0


def test_a_redirect_without_an_address_leads_back_to_the_first_one() -> None:
    route = make_route()
    route.follow_redirect(REDIRECT)

    route.follow_redirect(SessionOutcome("elsewhere", 2.0))

    assert route.address == "first:1"


def test_a_credential_is_never_sent_in_clear_text() -> None:
    settings = SyncSettings(credential="secret")

    with pytest.raises(InvalidArgumentError, match=r"shard\.example:1 may be another machine"):
        make_route("shard.example:1", settings)
    route = make_route("127.0.0.1:1", settings)
    outcome = route.follow_redirect(REDIRECT)
    assert route.address == "127.0.0.1:1"
    assert outcome.reason == "a redirect to other:1, where the credential would go in clear text"

    secure = SyncSettings(credential="secret", tls=TlsSettings())
    make_route("shard.example:1", secure).follow_redirect(REDIRECT)


def test_many_redirects_without_a_welcome_are_left_to_the_back_off() -> None:
    route = make_route()
    for _ in range(ATTEMPTS_BEFORE_HOME):
        assert route.follow_redirect(REDIRECT).delay_seconds == 2.0

    assert route.follow_redirect(REDIRECT).delay_seconds is None

    route.record_welcome()
    assert route.follow_redirect(REDIRECT).delay_seconds is None

    route.record_progress()
    assert route.follow_redirect(REDIRECT).delay_seconds == 2.0


def test_after_some_failures_the_device_returns_to_its_first_address() -> None:
    route = make_route()
    route.follow_redirect(REDIRECT)
    for _ in range(ATTEMPTS_BEFORE_HOME - 1):
        assert route.record_unreachable("no connection").delay_seconds is None
        assert route.address == "other:1"

    outcome = route.record_unreachable("no connection")

    assert route.address == "first:1"
    assert outcome.reason == "other:1: no connection"


def test_calls_carry_the_credential_and_the_trace() -> None:
    settings = SyncSettings(credential="secret", tls=TlsSettings(), traceparent=lambda: "00-trace")

    metadata = make_route(settings=settings).call_metadata()

    assert metadata == [("authorization", "Bearer secret"), ("traceparent", "00-trace")]
    assert make_route().call_metadata() == []


async def test_the_shard_map_is_fetched_once_for_each_address() -> None:
    stub = StubShard()
    route = make_route()
    async with serve_stub(stub) as address, open_channel(address) as channel:
        stub.shard_map = {4: address}
        await route.load_shard_map(channel)
        stub.shard_map = {5: address}
        await route.load_shard_map(channel)
        assert route.call_metadata() == [("x-constellation-shard", "4")]

        route.follow_redirect(REDIRECT)
        await route.load_shard_map(channel)

    assert route.call_metadata() == [("x-constellation-shard", "5")]


async def test_without_a_shard_map_no_owner_is_named() -> None:
    route = make_route()
    async with open_channel("127.0.0.1:1") as channel:
        await route.load_shard_map(channel)

    assert route.call_metadata() == []


async def test_the_shard_header_names_the_owner(outbox: Outbox) -> None:
    stub = StubShard()
    stub.shard_map = {number: f"shard:{number + 1}" for number in range(5)}
    outbox.append(make_learned_changes(1))
    async with serve_stub(stub) as address, Sync.open(address, outbox, QUICK) as sync:
        await sync.flush(5)

    assert stub.stream_metadata[0]["x-constellation-shard"] == str(
        find_owner(outbox.device_id, stub.shard_map)
    )
