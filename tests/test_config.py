from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from constellation.config import ShardConfig, get_help
from constellation.config_loader import load_config
from federation.config import FederationConfig
from tests.scenarios.processes import run_command

OPERATIONS = Path(__file__).parent.parent / "docs" / "operations.md"


async def test_a_shard_that_its_own_map_lacks_does_not_start() -> None:
    finished = await run_command(
        "serve", shard_id=7, shard_map="0=a:1,1=b:2", grpc_addr="127.0.0.1:0"
    )

    assert finished.status == 2
    assert "SHARD_ID is 7, but SHARD_MAP has only [0, 1]" in finished.err


def test_every_setting_is_documented_with_its_default_and_its_help() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.+?) \| (.+) \|$", OPERATIONS.read_text(), re.MULTILINE)

    assert rows == [
        (each.name.upper(), format_default(getattr(defaults, each.name)), get_help(each))
        for defaults in (ShardConfig(), FederationConfig())
        for each in fields(defaults)
    ]


def test_every_secret_is_left_out_of_the_representation() -> None:
    config = load_config(ShardConfig, {"POSTGRES_URL": "postgresql://me:hunter2@db/shards"})

    assert config.postgres_url == "postgresql://me:hunter2@db/shards"
    assert "hunter2" not in repr(config)


def test_two_configs_do_not_share_a_shard_map() -> None:
    first, second = ShardConfig(), ShardConfig()

    assert first.shard_map == second.shard_map == {}
    assert first.shard_map is not second.shard_map


def test_every_default_but_the_unset_ones_can_be_written_out() -> None:
    defaults = ShardConfig()
    env = {
        each.name.upper(): str(value)
        for each in fields(ShardConfig)
        if (value := getattr(defaults, each.name))
    }

    assert load_config(ShardConfig, env) == defaults


def format_default(default: object) -> str:
    """Return a default in the form of the table in docs/operations.md."""
    if default in (None, {}, ()):
        return "unset"
    return f"`{int(default) if isinstance(default, bool) else default}`"
