"""What Prometheus computes and whom it wakes, as committed."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import constellation.__main__
import federation.__main__
from tests.deploy.prometheus import (
    PROMETHEUS,
    ROOT,
    RULES,
    find_metric_names,
    read_alerts,
    read_documented_names,
    read_recorded_names,
    read_rules,
    run_promtool,
)

if TYPE_CHECKING:
    from pathlib import Path

CASES = sorted(PROMETHEUS.glob("*.test.yaml"))
RUNBOOKS = ROOT / "docs" / "runbooks"
SECTIONS = ["What it means", "First look", "Likely causes", "It is over when", "Escalate"]
PROCESS_METRICS = {
    *("up", "process_open_fds", "process_max_fds"),
    *("process_start_time_seconds", "process_cpu_seconds_total"),
}
"""What Prometheus itself knows, and what its client tells of every process."""
PROGRAMS = {
    "constellation": constellation.__main__.build_parser,
    "federation": federation.__main__.make_commands,
}


def read_pages() -> dict[str, str]:
    """Return each alert's page, by the page's name."""
    return {path.stem: path.read_text() for path in RUNBOOKS.glob("*.md") if path.stem != "README"}


def find_code_blocks(language: str) -> list[tuple[str, str]]:
    """Return the code blocks of the pages that are in a language, with the page's name."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(name, block) for name, text in read_pages().items() for block in fence.findall(text)]


def read_cases() -> list[dict[str, Any]]:
    """Return every case of an alert: its name, and the alerts it expects."""
    tests = [test for path in CASES for test in yaml.safe_load(path.read_text())["tests"]]
    return [case for test in tests for case in test.get("alert_rule_test", ())]


async def test_the_rules_are_sound() -> None:
    finished = await run_promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)

    assert finished.status == 0, finished.out + finished.err


async def test_the_configuration_of_prometheus_is_sound() -> None:
    finished = await run_promtool("check", "config", "--lint=all", PROMETHEUS / "prometheus.yml")

    assert finished.status == 0, finished.out + finished.err


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
async def test_alerts_fire_when_they_should_and_not_otherwise(path: Path) -> None:
    finished = await run_promtool("test", "rules", path)

    assert finished.status == 0, finished.out + finished.err


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    firing = {case["alertname"] for case in read_cases() if case["exp_alerts"]}
    quiet = {case["alertname"] for case in read_cases() if not case["exp_alerts"]}

    assert firing == set(read_alerts())
    assert quiet == set(read_alerts())


def test_no_name_is_given_twice() -> None:
    names = [rule.get("alert") or rule["record"] for rule in read_rules()]

    assert sorted(names) == sorted(set(names))


def test_every_metric_of_the_rules_is_one_that_is_told() -> None:
    read = {name for rule in read_rules() for name in find_metric_names(rule["expr"])}
    told = read_documented_names() | read_recorded_names() | PROCESS_METRICS

    assert {name for name in read if name.removesuffix("_bucket") not in told} == set()
    assert read >= {"constellation_shard_health", "constellation_sync_latency_seconds_bucket"}


@pytest.mark.parametrize("name", sorted(read_alerts()))
def test_an_alert_says_how_urgent_it_is_and_where_to_read_on(name: str) -> None:
    alert = read_alerts()[name]

    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert set(read_pages()) == set(read_alerts())


def test_the_list_of_pages_names_each_with_its_urgency() -> None:
    rows = re.findall(
        r"^\| \[(\w+)\]\((\w+)\.md\) \| (\w+) \|",
        (RUNBOOKS / "README.md").read_text(),
        re.MULTILINE,
    )

    assert {shown: severity for shown, _, severity in rows} == {
        name: alert["labels"]["severity"] for name, alert in read_alerts().items()
    }
    assert all(shown == linked for shown, linked, _ in rows)


@pytest.mark.parametrize("name", sorted(read_alerts()))
def test_a_page_has_its_title_and_every_section(name: str) -> None:
    text = read_pages()[name]

    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS


def test_every_page_that_a_page_links_to_is_there() -> None:
    linked = set(re.findall(r"\]\((\w+)\.md\)", "\n".join(read_pages().values())))

    assert linked - set(read_pages()) == set()
    assert linked


def test_every_command_of_ours_on_a_page_can_be_given() -> None:
    """The programs' own parsers read them; nothing is run."""
    lines = [line for _, block in find_code_blocks("sh") for line in block.splitlines()]
    given = [
        (words[0], words[1:])
        for line in lines
        if (words := shlex.split(line.partition("|")[0], comments=True)) and words[0] in PROGRAMS
    ]

    for program, arguments in given:
        PROGRAMS[program]().parse_args(arguments)  # leaves with SystemExit when it cannot

    assert {program for program, _ in given} == set(PROGRAMS)


async def test_every_query_on_a_page_can_be_asked_and_reads_what_is_told(tmp_path: Path) -> None:
    queries = [
        line for _, block in find_code_blocks("promql") for line in block.splitlines() if line
    ]
    asked = tmp_path / "asked.yaml"
    records = [{"record": f"page:{n}", "expr": query} for n, query in enumerate(queries)]
    asked.write_text(yaml.safe_dump({"groups": [{"name": "pages", "rules": records}]}))

    finished = await run_promtool("check", "rules", asked)

    told = read_documented_names() | read_recorded_names() | PROCESS_METRICS
    read = {name for query in queries for name in find_metric_names(query)}
    assert finished.status == 0, finished.out + finished.err
    assert {name for name in read if re.sub(r"_(bucket|count|sum)$", "", name) not in told} == set()
    assert len(queries) >= len(read_alerts()) / 2


def test_every_event_that_a_page_tells_to_look_for_is_logged() -> None:
    sources = [*(ROOT / "constellation").rglob("*.py"), *(ROOT / "federation").rglob("*.py")]
    code = "\n".join(path.read_text() for path in sources)
    lines = re.findall(r"^Log events: (.+)$", "\n".join(read_pages().values()), re.MULTILINE)

    events = {event for line in lines for event in re.findall(r"`(\w+)`", line)}

    assert {event for event in events if f'"{event}"' not in code} == set()
    assert events >= {"fenced", "store_unavailable", "aggregate_rejected"}
