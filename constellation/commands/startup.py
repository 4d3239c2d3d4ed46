"""What the commands that work on this machine's own shard do first."""

from __future__ import annotations

import structlog

from constellation.cli.misspelt import find_misspelt
from constellation.config import ShardConfig
from constellation.config_loader import load_config
from constellation.telemetry.logs import set_up_logs

log = structlog.get_logger(__name__)


def configure_shard() -> ShardConfig:
    """Read the settings of a shard from the environment, set up logs with them, and return them.

    Raises ConfigError, which names every wrong setting.
    """
    config: ShardConfig = load_config(ShardConfig)
    set_up_logs(config.log_level, shard_id=config.shard_id, region=config.region)
    for misspelt in find_misspelt(ShardConfig):
        log.warning("unknown_setting", problem=misspelt.problem)
    return config
