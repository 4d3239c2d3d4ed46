"""Envoy as it is committed, but for its addresses, in a process of its own."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from tests.polling import eventually
from tests.scenarios.processes import COMMANDS, DEADLINE_SECONDS, Finished

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

CONFIG = Path(__file__).parents[2] / "deploy" / "envoy" / "envoy.yaml"
OWN_PORT = "{ address: 0.0.0.0, port_value: 50051 }"
ADMIN_PORT = "{ address: 127.0.0.1, port_value: 9901 }"


@dataclass(frozen=True)
class FrontDoor:
    """A running Envoy."""

    address: str
    admin: httpx.AsyncClient

    async def ask(self, path: str) -> Any:
        """Return what the admin interface answers."""
        return (await self.admin.get(path)).raise_for_status().json()

    async def ready(self) -> dict[str, set[str]]:
        """Return the shards each cluster sends to now, by their addresses."""
        clusters = (await self.ask("/clusters?format=json"))["cluster_statuses"]
        return {
            cluster["name"]: {
                f"{at['address']}:{at['port_value']}"
                for host in cluster.get("host_statuses", ())
                for at in (host["address"]["socket_address"],)
                if host["health_status"] == {"eds_health_status": "HEALTHY"}
            }
            for cluster in clusters
        }


def rewritten(shards: Mapping[int, str]) -> str:
    """Return the committed file with these shards, and with ports that the system chooses."""
    text = CONFIG.read_text()
    replaced = {OWN_PORT: socket_address("127.0.0.1:0"), ADMIN_PORT: socket_address("127.0.0.1:0")}
    for shard_id, address in shards.items():
        replaced[f"{{ address: shard-{shard_id}, port_value: 50051 }}"] = socket_address(address)
    for committed, chosen in replaced.items():
        assert text.count(committed) == 1
        text = text.replace(committed, chosen)
    return text


def socket_address(address: str) -> str:
    host, _, port = address.rpartition(":")
    return f"{{ address: {host}, port_value: {port} }}"


@asynccontextmanager
async def front_door(shards: Mapping[int, str], folder: Path) -> AsyncIterator[FrontDoor]:
    """Run Envoy in front of shards that may come later; it is ended in the end."""
    config, log, admin = folder / "envoy.yaml", folder / "envoy.log", folder / "admin"
    config.write_text(rewritten(shards))
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            *(COMMANDS / "envoy", "-c", config, "--concurrency", "1", "--log-level", "warning"),
            *("--disable-hot-restart", "--admin-address-path", admin),  # shares nothing
            stdin=asyncio.subprocess.DEVNULL,
            stdout=written,
            stderr=written,
        )
    try:
        await eventually(_told(admin, process))
        async with httpx.AsyncClient(base_url=f"http://{admin.read_text()}") as client:
            yield FrontDoor(await _listening(client), client)
        assert process.returncode is None, log.read_text()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _told(admin: Path, process: asyncio.subprocess.Process) -> Callable[[], Awaitable[bool]]:
    async def told() -> bool:
        assert process.returncode is None, "Envoy ended before it listened"
        return admin.exists() and ":" in admin.read_text()  # noqa: ASYNC240  # a moment

    return told


async def _listening(admin: httpx.AsyncClient) -> str:
    """Return where devices connect, once Envoy takes their connections."""

    async def live() -> bool:
        return (await admin.get("/ready")).text.strip() == "LIVE"

    await eventually(live)
    (listener,) = (await admin.get("/listeners?format=json")).json()["listener_statuses"]
    at = listener["local_address"]["socket_address"]
    return f"{at['address']}:{at['port_value']}"


async def validated(config: Path) -> Finished:
    """Let Envoy check a file."""
    process = await asyncio.create_subprocess_exec(
        *(COMMANDS / "envoy", "--mode", "validate", "-c", config, "--log-level", "warning"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(DEADLINE_SECONDS):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Finished(process.returncode, out.decode(), err.decode())
