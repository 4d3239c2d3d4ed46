"""The command `python -m examples.demo`."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # else gRPC warns about child processes

from examples.demo.command import main  # gRPC reads its settings at import

if __name__ == "__main__":
    sys.exit(main())
