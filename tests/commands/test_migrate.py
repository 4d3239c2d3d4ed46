from __future__ import annotations

import json

from tests.servers import run_subprocess


def test_migrate_as_json_lists_applied_and_missing_migrations(postgres_url: str) -> None:
    done = run_subprocess("constellation", "migrate", "--json", postgres_url=postgres_url)
    planned = run_subprocess(
        "constellation", "migrate", "--dry-run", "--json", postgres_url=postgres_url
    )

    document = json.loads(done.out)
    assert document["applied_now"] == document["missing"] == []
    assert [each["version"] for each in document["applied"]] == list(
        range(1, len(document["applied"]) + 1)
    )
    assert json.loads(planned.out) == document
