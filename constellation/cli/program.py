"""Run a command of either program, from the command line to the exit code."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Final

import structlog
import uvloop

from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import FAILURE, INTERRUPTED, USAGE_ERROR
from constellation.cli.printing import print_message
from constellation.errors import ConfigError, ConstellationError, FencedError
from constellation.transport.calls.status import find_cause

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Coroutine, Sequence
    from types import FrameType

log = structlog.get_logger(__name__)

_MAX_CHARACTERS: Final = 3900
"""Characters of a problem that are printed."""


def run_program(parser: ArgumentParser, argv: Sequence[str] | None) -> int:
    """Run the command that the command line names, and return its exit code.

    When the command fails, print the reason on stderr as one line.
    """
    try:
        options = _parse(parser, argv)
        exit_code: int = uvloop.run(_run_interruptible(options.run(options)))
        sys.stdout.flush()
    except* CommandError as group:
        error = find_cause(group)
        assert isinstance(error, CommandError)
        exit_code = _report_problem(parser.prog, error, error.exit_code)
    except* ConfigError as group:
        exit_code = _report_problem(parser.prog, find_cause(group), USAGE_ERROR)
    except* FencedError as group:
        problem = str(find_cause(group))
        log.error("fenced", problem=problem)  # noqa: TRY400 - the message says all; no traceback
        exit_code = _report_problem(parser.prog, f"FENCED: {problem}", FAILURE)
    except* ConstellationError as group:
        exit_code = _report_problem(parser.prog, find_cause(group), FAILURE)
    except* (KeyboardInterrupt, asyncio.CancelledError):
        exit_code = INTERRUPTED
    except* BrokenPipeError:  # the reader of the pipe has closed it, as `head` does
        exit_code = FAILURE
    return exit_code


def _parse(parser: ArgumentParser, argv: Sequence[str] | None) -> Namespace:
    """Return the options, or raise SystemExit once --help or --version has been written."""
    try:
        return parser.parse_args(argv)
    finally:
        sys.stdout.flush()


async def _run_interruptible(coroutine: Coroutine[None, None, int]) -> int:
    """Run a command so that Ctrl-C ends it, even in a blocking call such as a read of stdin.

    asyncio's own handler only cancels the task, which takes effect at the next await. A
    KeyboardInterrupt ends a blocking call, but code of the event loop or of gRPC would ignore or
    print it. So this handler cancels the task, and raises only while the command's code runs.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def interrupt(_: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(task.cancel)
        while frame is not None:
            if frame.f_code is _run_interruptible.__code__:
                raise KeyboardInterrupt
            frame = frame.f_back

    signal.signal(signal.SIGINT, interrupt)
    return await coroutine


def _report_problem(program: str, problem: object, exit_code: int) -> int:
    print_message(f"{program}: {_shorten(str(problem))}")
    return exit_code


def _shorten(problem: str) -> str:
    """Return a problem without its middle when it quotes a whole file; the end says what to do."""
    if len(problem) <= _MAX_CHARACTERS:
        return problem
    return f"{problem[: 2 * _MAX_CHARACTERS // 3]} … {problem[-_MAX_CHARACTERS // 3 :]}"
