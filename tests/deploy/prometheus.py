"""promtool, and the contents of the committed Prometheus files."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from tests.scenarios.processes import DEADLINE_SECONDS, CommandResult

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "constellation.rules.yaml"
OPERATIONS = ROOT / "docs" / "operations.md"

_BUILT_PROMTOOL = ROOT / "build" / "tools" / "promtool"
_METRIC = re.compile(r"\b(?:(?:constellation|grpc|process)_\w+|constellation:[\w:]+|up)\b")
_NOT_METRIC = re.compile(r"\"[^\"]*\"|\{[^}]*\}|\b(?:by|on|without|ignoring)\s*\([^)]*\)")


def find_promtool() -> Path:
    """Return the path of promtool; fail if there is none."""
    found = shutil.which("promtool") or (_BUILT_PROMTOOL if _BUILT_PROMTOOL.exists() else None)
    assert found, (
        f"promtool is neither on PATH nor at {_BUILT_PROMTOOL}: run `make build/tools/promtool`"
    )
    return Path(found)


async def run_promtool(*arguments: str | Path) -> CommandResult:
    """Run promtool to its end, and return its result."""
    process = await asyncio.create_subprocess_exec(
        *(find_promtool(), *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(2 * DEADLINE_SECONDS):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return CommandResult(process.returncode, out.decode(), err.decode())


def read_rules() -> list[dict[str, Any]]:
    """Return all committed rules, recording and alerting."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def read_alerts() -> dict[str, dict[str, Any]]:
    """Return the alerting rules by name."""
    return {rule["alert"]: rule for rule in read_rules() if "alert" in rule}


def read_recorded_names() -> set[str]:
    """Return the names that recording rules define."""
    return {rule["record"] for rule in read_rules() if "record" in rule}


def find_metric_names(expression: str) -> set[str]:
    """Return the names of the metrics that an expression reads."""
    return set(_METRIC.findall(_NOT_METRIC.sub("", expression)))


def read_documented_names() -> set[str]:
    """Return the metric names in the tables and the text of docs/operations.md."""
    text = OPERATIONS.read_text()
    return set(re.findall(r"`((?:constellation|grpc_server)_\w+)`", text))
