"""The command `python -m attacks`."""

from __future__ import annotations

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # else gRPC warns about child processes

from attacks.command import main  # gRPC reads its settings at import

if __name__ == "__main__":
    main()
