from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from constellation.auth.keys import make_key_ring, write_key_ring
from constellation_settop import InvalidArgumentError, SyncSettings, TlsSettings
from constellation_settop.simulator.fleet import FleetSettings, run_fleet
from constellation_settop.simulator.identities import read_vendor
from constellation_settop.simulator.plan import DayShape
from tests.auth.callers import Keys
from tests.auth.devices import Vendor
from tests.clients.samples import make_catalogue
from tests.conftest import run_shard
from tests.tls import make_certificate

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = FleetSettings(
    devices=10, seconds=1.5, flush_seconds=0.5, shape=DayShape("flat", 6.0, 0, 0)
)


async def test_a_secured_fleet_admits_simulated_devices_of_its_vendor_alone(
    tmp_path: Path,
) -> None:
    vendor, stranger = Vendor.make(tmp_path), Vendor.make(tmp_path, "stranger")
    for each, name in ((vendor, "own"), (stranger, "foreign")):
        write_key_ring(tmp_path / name, each.ring, is_new=True)
    certificate = make_certificate(tmp_path, "localhost")
    sync = SyncSettings(
        backoff_base_seconds=0.02,
        backoff_cap_seconds=0.1,
        tls=TlsSettings(root_certificates=certificate.cert.read_bytes()),
    )
    catalogue = make_catalogue()
    async with run_shard(
        tls_cert=certificate.cert,
        tls_key=certificate.key,
        token_keys=Keys.make(tmp_path).path,
        vendor_keys=vendor.public,
    ) as shard:

        async def run(vendor_keys: Path) -> tuple[int, dict[str, int]]:
            settings = replace(SETTINGS, sync=sync, make_identity=read_vendor(vendor_keys))
            summary = await run_fleet(
                f"localhost:{shard.port}", catalogue, settings, on_progress=lambda _: None
            )
            return summary.acked, summary.problems

        acked, problems = await run(tmp_path / "own")
        refused, reasons = await run(tmp_path / "foreign")

    assert (acked >= 10, problems) == (True, {})
    assert refused == 0
    assert any("UNAUTHENTICATED" in reason for reason in reasons)


def test_a_file_that_is_no_vendors_is_refused_by_name(tmp_path: Path) -> None:
    write_key_ring(tmp_path / "symmetric", make_key_ring(), is_new=True)

    with pytest.raises(InvalidArgumentError, match="symmetric: a vendor signs with a private key"):
        read_vendor(tmp_path / "symmetric")
    with pytest.raises(InvalidArgumentError, match="missing"):
        read_vendor(tmp_path / "missing")
