from __future__ import annotations

import pytest

from constellation.loopback import is_loopback, to_channel_options


@pytest.mark.parametrize("address", ["localhost:1", "127.0.0.1:50051", "127.9.9.9:1", "[::1]:1"])
def test_this_machine_is_reached_past_a_proxy(address: str) -> None:
    assert is_loopback(address)
    assert to_channel_options(address) == (("grpc.enable_http_proxy", 0),)


@pytest.mark.parametrize("address", ["10.0.0.7:1", "shard.example:50051", "[2001:db8::1]:1", ":1"])
def test_another_machine_may_be_behind_a_proxy(address: str) -> None:
    assert not is_loopback(address)
    assert to_channel_options(address) == ()
