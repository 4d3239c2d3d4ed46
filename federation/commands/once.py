"""`federation round --once`: one round, run by this process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from constellation.errors import ConfigError, QuorumError, StoreInUseError
from federation.server import export_federation_traces, open_rounds

if TYPE_CHECKING:
    from constellation.v1 import federation_pb2
    from federation.config import FederationConfig

log = structlog.get_logger(__name__)

_ACTIVATION_TIMEOUT_SECONDS: Final = 5.0
"""How long a single round waits for its turn."""


async def run_once(config: FederationConfig) -> federation_pb2.Round:
    """Run one round; return it, also when it lacked a quorum.

    Raises ConfigError without a journal that lasts: a journal is a generation, and the newest one's
    rounds replace those of every other.
    """
    if config.data_dir is None and config.postgres_url is None:
        raise ConfigError(
            "DATA_DIR or POSTGRES_URL is required: name the federation's journal, or a new "
            "directory when these shards have no federation"
        )
    async with export_federation_traces(config), open_rounds(config) as (rounds, _):
        try:
            async with asyncio.timeout(_ACTIVATION_TIMEOUT_SECONDS):
                await rounds.resume()
        except TimeoutError:
            raise StoreInUseError(
                "another federation is the active one: `federation round` shows its newest round, "
                "`federation round --run` makes it run one"
            ) from None
        try:
            return await rounds.run()
        except QuorumError as error:
            log.error("round_failed", problem=str(error))  # noqa: TRY400 - no traceback: told whole
            report = await rounds.get_round(0)
            assert report is not None
            return report
