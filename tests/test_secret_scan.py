from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from constellation.auth.keys import make_key_ring
from constellation.auth.principal import Role
from constellation.config import Secret, ShardConfig
from federation.config import FederationConfig
from tests.auth.callers import Keys
from tests.deltas import device_id, embedding
from tests.secret_scan import find_secrets, pytest_runtest_makereport

if TYPE_CHECKING:
    from pathlib import Path

LINE = "2026-11-28 08:00:00 [info     ] something_happened    "


@pytest.mark.parametrize("algorithm", ["HS256", "EdDSA"])
def test_a_key_is_found(algorithm: str) -> None:
    (key,) = make_key_ring(algorithm).keys

    assert find_secrets(f"{LINE}keys={key.fields}") != []
    assert find_secrets(f"{LINE}keys={key!r}") == []


def test_a_token_is_found_wherever_it_stands(tmp_path: Path) -> None:
    token = Keys.make(tmp_path).issue(Role.DEVICE)

    assert find_secrets(f"refused: {token}") == [f"a token: {token[:24]}…"]
    assert find_secrets(f"authorization: Bearer {token[:30]}") != []


def test_a_password_is_found_and_stars_are_not() -> None:
    assert find_secrets("cannot reach postgresql://me:hunter2@db/shards") != []
    assert find_secrets("cannot reach postgresql://me:***@db/shards") == []


def test_a_log_must_not_name_a_device_and_an_answer_may() -> None:
    name = device_id(7).hex()

    assert find_secrets(f"{LINE}device={name}") == [f"a device id: {name[:24]}…"]
    assert find_secrets(f'{{"device": "{name}", "event": "synced"}}') != []
    assert find_secrets(f"no device {name} has synced at 127.0.0.1:1") == []
    assert find_secrets(f"{LINE}trace_id=4bf92f3577b34da6a3ce929d0e0e4736") == []


def test_a_log_must_not_have_an_embedding() -> None:
    vector = embedding(3)

    assert find_secrets(f"{LINE}embedding={vector.tolist()}") != []
    assert find_secrets(f"{LINE}codes={vector.astype('i1').tobytes().hex()}") != []


@pytest.mark.parametrize("planted", ["", "token"])
def test_a_test_that_prints_a_secret_fails(planted: str, tmp_path: Path) -> None:
    token = Keys.make(tmp_path).issue(Role.DEVICE) if planted else ""
    sections = [("Captured stdout call", f"{LINE}{token}")]
    report = pytest.TestReport("a test", ("", 0, ""), {}, "passed", None, "call", sections)
    hook: Any = pytest_runtest_makereport()
    next(hook)

    with pytest.raises(StopIteration) as ended:
        hook.send(report)

    assert ended.value.value.outcome == ("failed" if planted else "passed")


@pytest.mark.parametrize("kind", [ShardConfig, FederationConfig])
def test_the_settings_of_a_process_show_no_password(kind: Any) -> None:
    more = {"shard_addrs": ("a:1",)} if kind is FederationConfig else {}
    config = kind(postgres_url=Secret("postgresql://me:hunter2@db/shards"), **more)

    assert "hunter2" not in repr(config)
    assert "hunter2" not in str(config)
