from __future__ import annotations

from constellation.cli.config import read_settings
from constellation.config import ShardConfig


def test_a_setting_says_whether_it_comes_from_the_environment() -> None:
    settings = {each.name: each for each in read_settings(ShardConfig, {"REGION": "north"})}

    assert (settings["REGION"].value, settings["REGION"].is_from_environment) == ("north", True)
    assert settings["SHARD_ID"].value == "0"
    assert not settings["SHARD_ID"].is_from_environment


def test_values_are_printed_as_the_variables_are_written() -> None:
    env = {"SHARD_MAP": "1=b:2, 0=a:1", "MIGRATE_ON_START": "1", "QUALITY_THRESHOLD": "0.50"}

    settings = {each.name: each.value for each in read_settings(ShardConfig, env)}

    assert settings["SHARD_MAP"] == "0=a:1,1=b:2"
    assert settings["MIGRATE_ON_START"] == "1"
    assert settings["QUALITY_THRESHOLD"] == "0.5"
    assert settings["DATA_DIR"] == "unset"


def test_a_secret_is_not_shown_and_an_unset_one_is_unset() -> None:
    env = {"POSTGRES_URL": "postgresql://me:hunter2@db/shards"}

    (given,) = [each for each in read_settings(ShardConfig, env) if each.is_secret]
    (absent,) = [each for each in read_settings(ShardConfig, {}) if each.is_secret]

    assert (given.name, given.value) == ("POSTGRES_URL", "set, not shown")
    assert absent.value == "unset"
