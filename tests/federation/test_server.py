from __future__ import annotations

from typing import Any

import pytest

from constellation.config import Addresses, Count, Ratio, RobustMerge
from constellation.errors import ConfigError
from federation.config import FederationConfig
from federation.server import (
    check_config,
    to_round_policy,
    to_round_rules,
)


def make_config(**settings: Any) -> FederationConfig:
    return FederationConfig(**{"shard_addrs": Addresses(("a:1",)), **settings})


def test_a_federation_needs_an_address() -> None:
    with pytest.raises(ConfigError, match="SHARD_ADDRS or RELAY_ADDRS is required"):
        check_config(FederationConfig())


def test_relays_alone_are_enough() -> None:
    check_config(FederationConfig(relay_addrs=Addresses(("relay:1",))))


def test_an_address_is_of_a_shard_or_of_a_relay() -> None:
    with pytest.raises(ConfigError, match="SHARD_ADDRS and RELAY_ADDRS both name a:1"):
        check_config(make_config(relay_addrs=Addresses(("a:1",))))


def test_rules_follow_the_settings() -> None:
    config = make_config(
        min_shards=Count(2),
        global_k_anonymity=Count(9),
        min_quality_threshold=Ratio(0.7),
        robust_merge=RobustMerge("geometric_median"),
    )

    rules = to_round_rules(config)

    assert (rules.publishing.min_devices, rules.trends.min_devices) == (9, 9)
    assert rules.publishing.min_success == 0.7
    assert {rules.clusters.min_shards, rules.publishing.min_shards, rules.trends.min_shards} == {2}
    assert rules.is_robust


def test_the_policy_follows_the_settings() -> None:
    policy = to_round_policy(make_config(relay=True, min_coverage=Ratio(0.5)))

    assert policy.is_relay
    assert policy.min_coverage == 0.5
