from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from constellation.call_details import clean_details
from constellation.v1.federation_pb2 import RunRoundRequest
from constellation.v1.federation_pb2_grpc import FederationServiceStub
from testing.ports import find_free_address
from tests.servers import DEADLINE_SECONDS, run_server, run_subprocess

if TYPE_CHECKING:
    from typing import Any

ALL = "failed to connect to all addresses; last error: "


@pytest.mark.parametrize(
    ("details", "line"),
    [
        (
            f"{ALL}UNKNOWN: ipv6:%5B::1%5D:5: Failed to connect to remote host: Connection refused",
            "Connection refused",
        ),
        (
            f"{ALL}INTERNAL: ipv6:%5B::2%5D:5: connect failed: addr: ipv6:%5B::2%5D:5 error: Bad",
            "Bad",
        ),
        (
            f"{ALL}UNAVAILABLE: ipv4:127.0.0.1:34787: recvmsg:Connection reset by peer (104)",
            "Connection reset by peer (104)",
        ),
        (
            "errors resolving nowhere:1: [field:hostname lookup error:Domain name not found]",
            "the host name of nowhere:1 is unknown",
        ),
        ("ipv6:%5B::1%5D:57420 left,\n ipv4:10.0.0.1:5 too", "[::1]:57420 left, 10.0.0.1:5 too"),
        ("limit must be from 1 to 1000, got 0", "limit must be from 1 to 1000, got 0"),
        (None, ""),
    ],
)
def test_people_get_the_reason_without_grpcs_addresses(details: str | None, line: str) -> None:
    assert clean_details(details) == line


@pytest.mark.parametrize("host", ["[::1]", "127.0.0.1", "localhost", "nowhere.invalid"])
def test_the_command_line_says_no_raw_address(host: str) -> None:
    address = f"{host}:{find_free_address().rpartition(':')[2]}"

    finished = run_subprocess("constellation", "status", "--address", address)

    assert finished.status == 1
    assert finished.err.startswith(f"constellation: GetInfo at {address}: ")
    assert not any(each in finished.err for each in ("ipv4:", "ipv6:", "%5B", "last error"))


def test_a_round_of_a_federation_has_no_raw_address() -> None:
    shard = f"[::1]:{find_free_address().rpartition(':')[2]}"
    address = find_free_address()
    settings = {"shard_addrs": shard, "grpc_addr": address, "federation_interval_secs": 0}
    with (
        run_server("federation", "run", ready_event="federation_active", **settings),
        grpc.insecure_channel(address) as channel,
    ):
        federation: Any = FederationServiceStub(channel)
        with pytest.raises(grpc.RpcError):
            federation.RunRound(RunRoundRequest(), timeout=DEADLINE_SECONDS)
        shown = run_subprocess("federation", "round", "--json", grpc_addr=address)

    assert '"problem": "UNAVAILABLE: Connection refused"' in shown.out
    assert "%5B" not in shown.out
