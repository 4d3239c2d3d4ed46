"""A command from its start to its exit status, of both programs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import structlog
import uvloop

from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import FAILURE, INTERRUPTED, USAGE_ERROR
from constellation.cli.printing import print_message
from constellation.errors import ConfigError, ConstellationError, FencedError
from constellation.transport.calls.status import cause_of

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Coroutine, Sequence
    from types import FrameType

log = structlog.get_logger(__name__)


def run_program(parser: ArgumentParser, argv: Sequence[str] | None) -> int:
    """Do what the command line asks for; return the exit status, once people know what failed."""
    options = parser.parse_args(argv)
    try:
        exit_code: int = uvloop.run(_run_interruptible(options.run(options)))
        sys.stdout.flush()
    except* CommandError as group:
        error = cause_of(group)
        assert isinstance(error, CommandError)
        exit_code = _report_problem(parser.prog, error, error.exit_code)
    except* ConfigError as group:
        exit_code = _report_problem(parser.prog, cause_of(group), USAGE_ERROR)
    except* FencedError as group:
        log.error("fenced", problem=str(cause_of(group)))  # noqa: TRY400 - no traceback: told whole
        exit_code = _report_problem(parser.prog, f"FENCED: {cause_of(group)}", FAILURE)
    except* ConstellationError as group:
        exit_code = _report_problem(parser.prog, cause_of(group), FAILURE)
    except* (KeyboardInterrupt, asyncio.CancelledError):
        exit_code = INTERRUPTED
    except* BrokenPipeError:  # whoever read the answer wants no more of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's last flush
        exit_code = FAILURE
    return exit_code


async def _run_interruptible(coroutine: Coroutine[None, None, int]) -> int:
    """Let Ctrl-C end what waits, and what never does, such as a read of standard input.

    asyncio's own handler only cancels the task, which notices when it waits. An exception that is
    raised while the loop or gRPC is at work is ignored there, or printed: so only where we are.
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
    print_message(f"{program}: {problem}")
    return exit_code
