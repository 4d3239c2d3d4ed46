"""What the commands that run a federation in this process do first."""

from __future__ import annotations

import structlog

from constellation.cli.misspelt import find_misspelt
from constellation.config_loader import load_config
from constellation.telemetry.logs import set_up_logs
from federation.config import FederationConfig

log = structlog.get_logger(__name__)


def configure_federation() -> FederationConfig:
    """Read the settings of a federation from the environment, set up logs, and return them.

    Raises ConfigError, which names every wrong setting.
    """
    config: FederationConfig = load_config(FederationConfig)
    set_up_logs(config.log_level, region=config.region)
    for misspelt in find_misspelt(FederationConfig):
        log.warning("unknown_setting", problem=misspelt.problem)
    return config
