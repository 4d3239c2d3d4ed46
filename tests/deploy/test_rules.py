"""The committed rules and alerts of Prometheus, and their runbooks."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import constellation.__main__
import federation.__main__
from tests.deploy.prometheus import (
    OPERATIONS,
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
    *("process_start_time_seconds", "process_cpu_seconds_total", "process_resident_memory_bytes"),
}
"""Metrics of Prometheus itself, and of its client library for every process."""
_TEMPLATE = re.compile(r"\{\{ .*? \}\}")
PROGRAMS = {
    "constellation": constellation.__main__.build_parser,
    "federation": federation.__main__.build_parser,
}


def read_pages() -> dict[str, str]:
    """Return the text of each runbook by the name of its alert."""
    return {path.stem: path.read_text() for path in RUNBOOKS.glob("*.md") if path.stem != "README"}


def find_code_blocks(language: str) -> list[tuple[str, str]]:
    """Return (runbook, code block) for each code block in a language."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(name, block) for name, text in read_pages().items() for block in fence.findall(text)]


def read_cases() -> list[dict[str, Any]]:
    """Return the test cases of all alerts."""
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


def test_names_of_rules_are_unique() -> None:
    names = [rule.get("alert") or rule["record"] for rule in read_rules()]

    assert sorted(names) == sorted(set(names))


def test_every_metric_in_the_rules_exists() -> None:
    read = {name for rule in read_rules() for name in find_metric_names(rule["expr"])}
    known = read_documented_names() | read_recorded_names() | PROCESS_METRICS

    assert {name for name in read if name.removesuffix("_bucket") not in known} == set()
    assert read >= {"constellation_shard_health", "constellation_sync_latency_seconds_bucket"}


@pytest.mark.parametrize("name", sorted(read_alerts()))
def test_an_alert_has_a_severity_and_links_to_its_runbook(name: str) -> None:
    alert = read_alerts()[name]

    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert set(read_pages()) == set(read_alerts())


def test_the_index_of_runbooks_lists_each_alert_with_its_severity_and_summary() -> None:
    rows = re.findall(
        r"^\| \[(\w+)\]\((\w+)\.md\) \| (\w+) \| (.+) \|$",
        (RUNBOOKS / "README.md").read_text(),
        re.MULTILINE,
    )

    assert {shown: (severity, summary) for shown, _, severity, summary in rows} == {
        name: (alert["labels"]["severity"], _TEMPLATE.sub("…", alert["annotations"]["summary"]))
        for name, alert in read_alerts().items()
    }
    assert all(shown == linked for shown, linked, _, _ in rows)


def test_runbooks_refer_to_sections_that_operations_has() -> None:
    operations = OPERATIONS.read_text()
    text = " ".join("\n".join(read_pages().values()).split())

    sections = set(re.findall(r'docs/operations\.md, "([^"]+)"', text))

    assert {each for each in sections if f"## {each}\n" not in operations} <= {"Sizing"}
    assert "Sizing" in operations
    assert sections >= {"Start and stop", "When the store is damaged"}


@pytest.mark.parametrize("name", sorted(read_alerts()))
def test_a_runbook_has_its_title_and_every_section(name: str) -> None:
    text = read_pages()[name]

    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS


def test_links_between_runbooks_lead_to_runbooks() -> None:
    linked = set(re.findall(r"\]\((\w+)\.md\)", "\n".join(read_pages().values())))

    assert linked - set(read_pages()) == set()
    assert linked


def test_our_programs_accept_every_command_in_a_runbook() -> None:
    """Parse the commands with the programs' own parsers, without running them."""
    lines = [line for _, block in find_code_blocks("sh") for line in block.splitlines()]
    given = [
        (words[0], words[1:])
        for line in lines
        if (words := shlex.split(line.partition("|")[0], comments=True)) and words[0] in PROGRAMS
    ]

    for program, arguments in given:
        PROGRAMS[program]().parse_args(arguments)  # raises SystemExit if it cannot parse

    assert {program for program, _ in given} == set(PROGRAMS)


async def test_every_query_in_a_runbook_is_valid_and_reads_existing_metrics(tmp_path: Path) -> None:
    queries = [
        line for _, block in find_code_blocks("promql") for line in block.splitlines() if line
    ]
    asked = tmp_path / "asked.yaml"
    records = [{"record": f"page:{n}", "expr": query} for n, query in enumerate(queries)]
    asked.write_text(yaml.safe_dump({"groups": [{"name": "pages", "rules": records}]}))

    finished = await run_promtool("check", "rules", asked)

    known = read_documented_names() | read_recorded_names() | PROCESS_METRICS
    read = {name for query in queries for name in find_metric_names(query)}
    assert finished.status == 0, finished.out + finished.err
    unsuffixed = {re.sub(r"_(bucket|count|sum)$", "", name) for name in read}
    assert unsuffixed - known == set()
    assert len(queries) >= len(read_alerts()) / 2


def test_the_programs_log_every_event_in_a_runbook() -> None:
    sources = [*(ROOT / "constellation").rglob("*.py"), *(ROOT / "federation").rglob("*.py")]
    code = "\n".join(path.read_text() for path in sources)
    lines = re.findall(r"^Log events: (.+)$", "\n".join(read_pages().values()), re.MULTILINE)

    events = {event for line in lines for event in re.findall(r"`(\w+)`", line)}

    assert {event for event in events if f'"{event}"' not in code} == set()
    assert events >= {"fenced", "store_unavailable", "aggregate_rejected"}
