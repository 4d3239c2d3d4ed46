"""`federation round --once`: run one round in this process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from constellation.errors import ConfigError, QuorumError, StoreInUseError
from constellation.transport.security import open_certificates
from federation.messages import from_report
from federation.server import export_federation_traces, open_rounds

if TYPE_CHECKING:
    from constellation.v1 import federation_pb2
    from federation.config import FederationConfig

log = structlog.get_logger(__name__)

_ACTIVATION_TIMEOUT_SECONDS: Final = 5.0
"""How long a single round waits for another federation to give up the active role."""


async def run_once(config: FederationConfig) -> federation_pb2.Round:
    """Run one round and return it, even when it had no quorum.

    Raises ConfigError when the settings name no journal on disk. A new journal is a new
    generation, whose rounds replace those of every older generation, so a round must not run with
    a journal that is lost afterwards. Raises StoreInUseError when another federation is active.
    """
    if config.data_dir is None and config.postgres_url is None:
        raise ConfigError(
            "DATA_DIR or POSTGRES_URL is required: name the federation's journal, or a new "
            "directory when these shards have no federation yet"
        )
    certificates = open_certificates(config)
    async with (
        export_federation_traces(config),
        open_rounds(config, certificates) as (rounds, _),
    ):
        try:
            async with asyncio.timeout(_ACTIVATION_TIMEOUT_SECONDS):
                await rounds.resume()
        except TimeoutError:
            raise StoreInUseError(
                "another federation is active: `federation round` prints its newest round, "
                "`federation round --run` makes it run a new one"
            ) from None
        try:
            return from_report(await rounds.run())
        except QuorumError as error:
            log.error("round_failed", problem=str(error))  # noqa: TRY400 - the message says all
            report = await rounds.get_round(0)
            assert report is not None
            return from_report(report)
