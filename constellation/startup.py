"""What a program does before it imports anything else; knows no other module."""

from __future__ import annotations

import os
import sys


def prepare_process() -> None:
    """Give the process its standard descriptors, and keep gRPC quiet on standard error.

    A descriptor from 0 to 2 that is closed, as after `2>&-`, would be handed to the first file or
    socket that is opened, and what is meant for people would be written into it: it becomes
    /dev/null. gRPC reads its variable when it is imported; commands say in words what it would.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    # Python found no file behind them when it started
    sys.stdin = sys.stdin or open(0, encoding="utf-8")  # noqa: SIM115 - for the whole process
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8")  # noqa: SIM115
