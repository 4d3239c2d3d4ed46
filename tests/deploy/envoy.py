"""Envoy with the committed configuration, except for its addresses, in its own process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from tests.polling import wait_until
from tests.scenarios.processes import COMMAND_DIR, DEADLINE_SECONDS, CommandResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

CONFIG = Path(__file__).parents[2] / "deploy" / "envoy" / "envoy.yaml"
LISTENER_ADDRESS = "{ address: 0.0.0.0, port_value: 50051 }"
ADMIN_ADDRESS = "{ address: 127.0.0.1, port_value: 9901 }"


@dataclass(frozen=True)
class RunningEnvoy:
    """A running Envoy: its address and its admin interface."""

    address: str
    admin: httpx.AsyncClient

    async def query_admin(self, path: str) -> Any:
        """Return the JSON that the admin interface answers."""
        return (await self.admin.get(path)).raise_for_status().json()

    async def get_ready_shards(self) -> dict[str, set[str]]:
        """Return the addresses of the shards that each cluster sends to now, by cluster."""
        clusters = (await self.query_admin("/clusters?format=json"))["cluster_statuses"]
        return {
            cluster["name"]: {
                f"{at['address']}:{at['port_value']}"
                for host in cluster.get("host_statuses", ())
                for at in (host["address"]["socket_address"],)
                if host["health_status"] == {"eds_health_status": "HEALTHY"}
            }
            for cluster in clusters
        }


def render_config(shards: Mapping[int, str]) -> str:
    """Return the committed file with these shards and with ports that the system chooses."""
    text = CONFIG.read_text()
    replacements = {
        LISTENER_ADDRESS: format_socket_address("127.0.0.1:0"),
        ADMIN_ADDRESS: format_socket_address("127.0.0.1:0"),
    }
    for shard_id, address in shards.items():
        replacements[f"{{ address: shard-{shard_id}, port_value: 50051 }}"] = format_socket_address(
            address
        )
    for committed, replacement in replacements.items():
        assert text.count(committed) == 1
        text = text.replace(committed, replacement)
    return text


def format_socket_address(address: str) -> str:
    host, _, port = address.rpartition(":")
    return f"{{ address: {host}, port_value: {port} }}"


@asynccontextmanager
async def run_envoy(shards: Mapping[int, str], folder: Path) -> AsyncIterator[RunningEnvoy]:
    """Run Envoy until the block is left; its shards may start later."""
    config, log, admin = folder / "envoy.yaml", folder / "envoy.log", folder / "admin"
    config.write_text(render_config(shards))
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            *(COMMAND_DIR / "envoy", "-c", config, "--concurrency", "1", "--log-level", "warning"),
            *(
                "--disable-hot-restart",
                "--admin-address-path",
                admin,
            ),  # several may run
            stdin=asyncio.subprocess.DEVNULL,
            stdout=written,
            stderr=written,
        )
    try:
        await wait_until(_make_admin_check(admin, process))
        async with httpx.AsyncClient(base_url=f"http://{admin.read_text()}") as client:
            yield RunningEnvoy(await _wait_for_listener(client), client)
        assert process.returncode is None, log.read_text()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _make_admin_check(
    admin: Path, process: asyncio.subprocess.Process
) -> Callable[[], Awaitable[bool]]:
    async def is_admin_ready() -> bool:
        assert process.returncode is None, "Envoy ended before it listened"
        return admin.exists() and ":" in admin.read_text()  # noqa: ASYNC240  # a moment

    return is_admin_ready


async def _wait_for_listener(admin: httpx.AsyncClient) -> str:
    """Return the address for devices, once Envoy accepts connections."""

    async def is_live() -> bool:
        return (await admin.get("/ready")).text.strip() == "LIVE"

    await wait_until(is_live)
    (listener,) = (await admin.get("/listeners?format=json")).json()["listener_statuses"]
    at = listener["local_address"]["socket_address"]
    return f"{at['address']}:{at['port_value']}"


async def validate_config(config: Path) -> CommandResult:
    """Run Envoy's own check of a configuration file."""
    process = await asyncio.create_subprocess_exec(
        *(COMMAND_DIR / "envoy", "--mode", "validate", "-c", config, "--log-level", "warning"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(DEADLINE_SECONDS):
        out, err = await process.communicate()
    assert process.returncode is not None
    return CommandResult(process.returncode, out.decode(), err.decode())
