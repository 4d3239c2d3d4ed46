"""Where the SDK gets the API from: a checkout has it beside the SDK, a release by its version."""

from __future__ import annotations

import os
from pathlib import Path

from setuptools import setup

VERSION = "0.1.0"
CHECKOUT = Path(__file__).resolve().parents[2]


def find_api() -> str:
    """Return the requirement for `constellation-tv`, whose stubs the SDK speaks with.

    It is on no package index yet, so that an installation from a checkout takes the one beside it.
    With CONSTELLATION_RELEASE=1 it is named by its version, for wheels that are copied elsewhere.
    """
    is_checkout = (CHECKOUT / "proto" / "constellation" / "v1").is_dir()
    if is_checkout and not os.environ.get("CONSTELLATION_RELEASE"):
        return f"constellation-tv @ {CHECKOUT.as_uri()}"
    return f"constellation-tv=={VERSION}"


setup(
    install_requires=[
        find_api(),
        "googleapis-common-protos>=1.76",
        "grpcio>=1.85.1",
        "numpy>=2",
        "protobuf>=7.35.1",
    ]
)
