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
from constellation.cli.exit_codes import ASKED_WRONGLY, FAILED, INTERRUPTED
from constellation.cli.printing import tell
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
        status: int = uvloop.run(_interruptible(options.run(options)))
        sys.stdout.flush()
    except* CommandError as group:
        error = cause_of(group)
        assert isinstance(error, CommandError)
        status = _say(parser.prog, error, error.status)
    except* ConfigError as group:
        status = _say(parser.prog, cause_of(group), ASKED_WRONGLY)
    except* FencedError as group:
        log.error("fenced", problem=str(cause_of(group)))  # noqa: TRY400 - no traceback: told whole
        status = _say(parser.prog, f"FENCED: {cause_of(group)}", FAILED)
    except* ConstellationError as group:
        status = _say(parser.prog, cause_of(group), FAILED)
    except* (KeyboardInterrupt, asyncio.CancelledError):
        status = INTERRUPTED
    except* BrokenPipeError:  # whoever read the answer wants no more of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's last flush
        status = FAILED
    return status


async def _interruptible(running: Coroutine[None, None, int]) -> int:
    """Let Ctrl-C end what waits, and what never does, such as a read of standard input.

    asyncio's own handler only cancels the task, which notices when it waits. An exception that is
    raised while the loop or gRPC is at work is ignored there, or printed: so only where we are.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def interrupt(_: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(task.cancel)
        while frame is not None:
            if frame.f_code is _interruptible.__code__:
                raise KeyboardInterrupt
            frame = frame.f_back

    signal.signal(signal.SIGINT, interrupt)
    return await running


def _say(program: str, problem: object, status: int) -> int:
    tell(f"{program}: {problem}")
    return status
