"""Several processes share the devices of a simulation, and their figures are one summary."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

import pytest

from constellation_settop.__main__ import make_parser
from constellation_settop.simulator.figures import Figures, summarize
from constellation_settop.simulator.fleet import Progress
from constellation_settop.simulator.workers import (
    FigureReporter,
    Part,
    add_usage,
    make_flags,
    merge_figures,
)
from tests.clients.simulator.test_fleet import add_films
from tests.conftest import run_shard

if TYPE_CHECKING:
    from argparse import Namespace


def parse(*flags: str) -> Namespace:
    return make_parser().parse_args(["simulate", "--address", "127.0.0.1:1", *flags])


async def run_command(*flags: str) -> tuple[int | None, str, str]:
    """Run the command, and return its exit code and what it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "constellation_settop", "simulate", "--json", *flags),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


async def test_processes_share_the_devices_and_make_one_summary() -> None:
    async with run_shard() as shard:
        code, output, errors = await run_command(
            *("--address", await add_films(shard), "--processes", "3", "--devices", "31"),
            *("--minutes", "0.05", "--profile", "flat", "--views", "6"),
        )
        stored = shard.manager.table.device_allocator.high_water

    summary = json.loads(output)
    assert code == 0, errors
    assert (summary["devices"], summary["waiting"], summary["problems"]) == (31, 0, {})
    assert 24 <= stored <= 31  # no two have one id; some watch nothing
    assert summary["acked"] >= stored
    assert summary["ack_p99_ms"] > 0
    assert summary["memory_mib"] > 0
    assert errors.startswith("31 devices, 60 content items, flat")


def test_devices_are_divided_and_the_other_flags_are_passed_on() -> None:
    options = parse(
        *("--devices", "11", "--processes", "2", "--seed", "5", "--occasional", "--json"),
        *("--views", "2.5", "--ca", "ca.pem"),
    )

    first, second = (parse(*make_flags(options, number)) for number in range(2))

    assert (first.devices, second.devices) == (6, 5)
    assert first.seed == 5 != second.seed
    for each in (first, second):
        assert each.reports
        assert not each.json
        assert (each.occasional, each.views, each.ca) == (True, 2.5, options.ca)


def test_what_a_worker_reports_is_added_up(capsys: pytest.CaptureFixture[str]) -> None:
    figures, reporter, part = Figures(views=3), FigureReporter(), Part()
    figures.record_ack(1, 0.25)
    figures.problems["no connection"] += 2
    reporter.report(Progress(0.5, figures))
    figures.record_ack(2, 0.5)
    reporter.report_end(summarize(figures, 2, 1.0, 7))

    first, last = capsys.readouterr().out.splitlines()
    part.add(first)
    assert (part.share, part.figures.ack_seconds) == (0.5, [0.25])
    part.add(last)

    merged = merge_figures([part, part])
    assert part.figures == figures
    assert (merged.acked, merged.views, merged.problems["no connection"]) == (4, 6, 4)
    assert sorted(merged.ack_seconds) == [0.25, 0.25, 0.5, 0.5]
    assert (part.share, part.waiting) == (1.0, 7)
    usage = add_usage(summarize(merged, 4, 1.0, 14), [part, part])
    assert usage.memory_mib == pytest.approx(2 * part.memory_mib)
