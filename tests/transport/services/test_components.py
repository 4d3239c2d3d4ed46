"""Each component of a shard is reported with a status and the figures behind it."""

from __future__ import annotations

import asyncio
import re
import ssl
from typing import TYPE_CHECKING

from constellation.auth.authority import issue_certificate, make_authority
from constellation.auth.keys import make_key_ring, write_key_ring
from constellation.core.index.recall import Recall
from constellation.transport.codec.global_state import to_global
from constellation.v1 import aggregates_pb2
from constellation.v1 import health_pb2 as pb
from constellation.v1 import patterns_pb2 as patterns
from tests.conftest import run_shard

if TYPE_CHECKING:
    from pathlib import Path

    from constellation.server import RunningShard


def read_component(shard: RunningShard, name: str) -> pb.ComponentHealth:
    (component,) = [each for each in shard.health.read_components() if each.name == name]
    return component


async def test_each_component_has_figures(durable_shard: RunningShard) -> None:
    components = {each.name: each for each in durable_shard.health.read_components()}

    assert {each.status for each in components.values()} == {pb.HEALTH_STATUS_HEALTHY}
    disk = components.pop("disk")
    assert re.fullmatch(r"[0-9.]+ of [0-9.]+ GB free", disk.message)
    assert disk.HasField("latency")
    assert components["store"].HasField("latency")
    assert {name: each.message for name, each in components.items()} == {
        "store": "sqlite at commit 0, 0 patterns",
        "index": "exact, 0 shared patterns, 0 behind",
        "streams": "0 open, MAX_STREAMS is 50000",
        "federation": "no global state yet",
        "traffic": "accepting traffic",
    }


async def test_a_shard_in_memory_has_no_disk(shard: RunningShard) -> None:
    names = [each.name for each in shard.health.read_components()]

    assert names == ["store", "index", "streams", "federation", "traffic"]


async def test_a_missing_data_directory_is_unhealthy(tmp_path: Path) -> None:
    async with run_shard(data_dir=tmp_path / "shard") as shard:
        (tmp_path / "shard").rename(tmp_path / "elsewhere")
        disk = read_component(shard, "disk")
        (tmp_path / "elsewhere").rename(tmp_path / "shard")

    assert disk.status == pb.HEALTH_STATUS_UNHEALTHY
    assert disk.message == (f"cannot read DATA_DIR {tmp_path / 'shard'}: No such file or directory")


async def test_a_low_recall_degrades_the_index(shard: RunningShard) -> None:
    shard.manager.recall = Recall(ratio=0.5, search_seconds=0.25)

    index = read_component(shard, "index")

    assert index.status == pb.HEALTH_STATUS_DEGRADED
    assert index.message == "exact, 0 shared patterns, 0 behind, recall@10 0.50"
    assert index.latency.ToTimedelta().total_seconds() == 0.25


async def test_an_old_global_state_degrades_the_federation(shard: RunningShard) -> None:
    none = patterns.PatternColumns(encoding=patterns.ENCODING_INT8)
    clusters = aggregates_pb2.GlobalClusters(patterns=none)
    published = aggregates_pb2.Global(generation=1, round_id=4, closed_at=1, clusters=clusters)
    await shard.manager.restore_global(to_global(published.SerializeToString()))

    federation = read_component(shard, "federation")

    assert federation.status == pb.HEALTH_STATUS_DEGRADED
    assert re.fullmatch(
        r"round 4 is \d+ seconds old, GLOBAL_MAX_AGE_SECONDS is 9000", federation.message
    )


async def test_a_shard_that_drains_degrades_its_traffic(shard: RunningShard) -> None:
    shard.health.mark_not_ready("draining")

    traffic = read_component(shard, "traffic")

    assert (traffic.status, traffic.message) == (pb.HEALTH_STATUS_DEGRADED, "draining")


async def test_certificate_and_keys_are_components(tmp_path: Path) -> None:
    make_authority(tmp_path, "Test", 30)
    issue_certificate(tmp_path, ["localhost"], "server", 30)
    keys = tmp_path / "keys.json"
    write_key_ring(keys, make_key_ring(), is_new=True)
    security = {"tls_cert": tmp_path / "server.pem", "tls_key": tmp_path / "server.key"}
    async with run_shard(**security, token_keys=keys) as shard:
        healthy = [read_component(shard, name) for name in ("certificate", "token_keys")]
        issue_certificate(tmp_path, ["localhost"], "server", 6)
        (tmp_path / "server.key").write_text("no key")
        await connect(shard.port)
        broken = read_component(shard, "certificate")
        issue_certificate(tmp_path, ["localhost"], "server", 6)
        await connect(shard.port)
        expiring = read_component(shard, "certificate")

    assert [(each.status, each.message) for each in healthy] == [
        (pb.HEALTH_STATUS_HEALTHY, "expires in 30 days"),
        (pb.HEALTH_STATUS_HEALTHY, "1 key"),
    ]
    assert broken.status == expiring.status == pb.HEALTH_STATUS_DEGRADED
    assert broken.message.startswith("expires in 30 days; the new files are not used: TLS_CERT and")
    assert expiring.message == "expires in 6 days"


async def connect(port: int) -> None:
    """Let the shard look at its certificate: it does at every handshake."""
    await asyncio.to_thread(ssl.get_server_certificate, ("localhost", port))
