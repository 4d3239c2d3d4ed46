from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from constellation.auth.certificates import Certificates
from constellation.config import Addresses, Count, Ratio, RobustMerge
from constellation.errors import ConfigError
from federation.config import FederationConfig
from federation.server import (
    check_config,
    open_rounds,
    to_round_policy,
    to_round_rules,
)
from tests.servers import run_subprocess
from tests.tls import make_certificate

if TYPE_CHECKING:
    from pathlib import Path


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


async def test_a_certificate_that_vanishes_after_it_was_read_is_presented_all_the_same(
    tmp_path: Path,
) -> None:
    pair = make_certificate(tmp_path, "localhost")
    authorities = tmp_path / "authorities.pem"
    authorities.write_bytes(pair.cert.read_bytes())
    config = make_config(tls_ca=authorities, tls_cert=pair.cert, tls_key=pair.key)
    certificates = Certificates(pair.cert, pair.key)
    pair.cert.unlink()

    async with open_rounds(config, certificates) as (rounds, _):
        assert [each.address for each in rounds.fleet.clients] == ["a:1"]

    assert certificates.reload_problem.startswith(f"TLS_CERT and TLS_KEY: cannot read {pair.cert}")


@pytest.mark.parametrize("command", [("run",), ("round", "--once")], ids=lambda each: each[0])
@pytest.mark.parametrize("problem", ["cannot read", "is no PEM file"])
def test_a_certificate_that_is_missing_or_half_written_is_said_in_one_line(
    tmp_path: Path, command: tuple[str, ...], problem: str
) -> None:
    pair = make_certificate(tmp_path, "localhost")
    half = tmp_path / "half.pem"
    if problem == "is no PEM file":
        half.write_bytes(pair.cert.read_bytes()[:100])

    finished = run_subprocess(
        "federation",
        *command,
        grpc_addr="127.0.0.1:0",
        shard_addrs="localhost:1",
        data_dir=tmp_path / "data",
        insecure=1,
        tls_ca=pair.cert,
        tls_cert=half,
        tls_key=pair.key,
    )

    assert finished.status == 2
    assert finished.err.startswith("federation: TLS_CERT and TLS_KEY: ")
    assert problem in finished.err
    assert len(finished.err.splitlines()) == 1


def test_authorities_without_end_are_refused_in_one_line(tmp_path: Path) -> None:
    finished = run_subprocess(
        "federation",
        "round",
        "--once",
        shard_addrs="localhost:1",
        data_dir=tmp_path,
        tls_ca="/dev/zero",
    )

    assert finished.status == 2
    assert finished.err.splitlines()[-1].endswith(
        "TLS_CA: cannot read /dev/zero: has more than 1,048,576 bytes"
    )
