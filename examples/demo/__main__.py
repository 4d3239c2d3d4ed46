"""Starts the demo."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # or gRPC remarks on processes we start

from examples.demo.command import main  # gRPC reads its settings when imported

if __name__ == "__main__":
    sys.exit(main())
