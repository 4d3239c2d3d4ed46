"""Workers: processes that each run a part of a fleet: one event loop carries few devices."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final

from constellation_settop.errors import UnreachableError
from constellation_settop.simulator.figures import Figures, Summary, summarize
from constellation_settop.simulator.fleet import Progress

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

DEVICES_PER_PROCESS: Final = 500
_OWN_FLAGS: Final = {"run", "json", "processes", "reports", "devices", "seed"}
"""What is different in a worker, or not passed on."""
_SEED_STEP: Final = 7_919
_LINE_LIMIT: Final = 1 << 24


class FigureReporter:
    """Writes what a worker's devices did as lines of JSON, each with what is new since the last."""

    def __init__(self) -> None:
        self._figures = Figures()
        self._reported = (0, 0)
        """How many times of acks and of recommendations were written."""

    def report(self, progress: Progress) -> None:
        """Write how far the worker is."""
        self._figures = progress.figures
        self._write(share=progress.share)

    def report_end(self, summary: Summary) -> None:
        """Write the last line."""
        self._write(
            share=1.0,
            waiting=summary.waiting,
            memory_mib=summary.memory_mib,
            cpu_seconds=summary.cpu_seconds,
        )

    def _write(self, **more: float) -> None:
        acks, recommendations = self._reported
        counts = {each.name: getattr(self._figures, each.name) for each in fields(Figures)}
        counts["ack_seconds"] = self._figures.ack_seconds[acks:]
        counts["recommend_seconds"] = self._figures.recommend_seconds[recommendations:]
        self._reported = len(self._figures.ack_seconds), len(self._figures.recommend_seconds)
        print(json.dumps({"figures": counts, **more}), flush=True)  # noqa: T201  # for `run_workers`


@dataclass(slots=True)
class Part:
    """What one worker has reported."""

    figures: Figures = field(default_factory=Figures)
    share: float = 0.0
    waiting: int = 0
    memory_mib: float = 0.0
    cpu_seconds: float = 0.0

    def add(self, line: str) -> None:
        """Take one line of the worker."""
        report: dict[str, Any] = json.loads(line)
        counts = report.pop("figures")
        for each in fields(Figures):
            new = counts[each.name]
            if isinstance(new, list):
                getattr(self.figures, each.name).extend(new)
            else:
                setattr(self.figures, each.name, Counter(new) if isinstance(new, dict) else new)
        for name, value in report.items():
            setattr(self, name, value)


async def run_workers(options: Namespace, on_progress: Callable[[Progress], None]) -> Summary:
    """Run the devices in `options.processes` processes, and return what it came to.

    Raises UnreachableError with what a worker says that fails. When this is cancelled, the workers
    end their devices, and what they came to until then is returned.
    """
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    parts = [Part() for _ in range(options.processes)]
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "constellation_settop", "simulate"),
            *make_flags(options, number),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE_LIMIT,
        )
        for number in range(options.processes)
    ]

    def show() -> None:
        on_progress(Progress(min(part.share for part in parts), merge_figures(parts)))

    following = [
        loop.create_task(_follow(process, part, show), name="worker")
        for process, part in zip(processes, parts, strict=True)
    ]
    try:
        await asyncio.gather(*following)
    except asyncio.CancelledError:
        for process in processes:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
        await asyncio.gather(*(_follow(*each, show) for each in zip(processes, parts, strict=True)))
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
    summary = summarize(
        merge_figures(parts),
        options.devices,
        loop.time() - started_at,
        sum(part.waiting for part in parts),
    )
    return add_usage(summary, parts)


async def _follow(
    process: asyncio.subprocess.Process, part: Part, on_line: Callable[[], None]
) -> None:
    """Take the lines of a worker until it ends. Raises UnreachableError when it fails."""
    assert process.stdout is not None
    assert process.stderr is not None
    while line := await process.stdout.readline():
        part.add(line.decode())
        on_line()
    problem = (await process.stderr.read()).decode().strip()
    if await process.wait() and not part.memory_mib:  # without its last line
        raise UnreachableError(problem or f"a process ended with {process.returncode}")


def merge_figures(parts: Sequence[Part]) -> Figures:
    """Return the figures of all workers together."""
    merged = Figures()
    for part in parts:
        for each in fields(Figures):
            own = getattr(part.figures, each.name)
            setattr(merged, each.name, getattr(merged, each.name) + own)
    return merged


def add_usage(summary: Summary, parts: Sequence[Part]) -> Summary:
    """Return a summary with what the workers used, in place of what this process did."""
    return replace(
        summary,
        memory_mib=round(sum(part.memory_mib for part in parts), 1),
        cpu_seconds=round(sum(part.cpu_seconds for part in parts), 1),
    )


def make_flags(options: Namespace, number: int) -> list[str]:
    """Return the flags of one worker: its share of the devices, and a seed of its own."""
    devices = options.devices // options.processes + (number < options.devices % options.processes)
    seed = options.seed + _SEED_STEP * number
    flags = ["--reports", "--devices", str(devices), "--seed", str(seed)]
    for name, value in vars(options).items():
        flag = f"--{name.replace('_', '-')}"
        if name in _OWN_FLAGS or value in {None, False}:
            continue
        flags += [flag] if value is True else [flag, str(value)]
    return flags
