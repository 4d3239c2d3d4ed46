"""The image, checked without a container engine: its files, its user and its health check."""

from __future__ import annotations

import fnmatch
import re
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from constellation.config import ShardConfig
from federation.config import FederationConfig
from testing.ports import find_free_address
from tests.deploy.compose import run_command
from tests.deploy.prometheus import ROOT
from tests.scenarios.processes import (
    COMMAND_DIR,
    run_shard_process,
    start_shard_process,
    wait_for_event,
)

if TYPE_CHECKING:
    from pathlib import Path

DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
HEALTHCHECK = DEPLOY / "healthcheck.py"
CODE = ["constellation", "federation"]


def find_instructions(name: str) -> list[str]:
    """Return the arguments of each occurrence of an instruction."""
    joined = DOCKERFILE.read_text().replace("\\\n", " ")
    return re.findall(rf"^{name} +(.+)$", joined, re.MULTILINE)


def list_copied_paths() -> set[str]:
    """Return the paths that the Dockerfile copies from the repository."""
    given = [words.split() for words in find_instructions("COPY") if not words.startswith("--from")]
    return {source for words in given for source in words[:-1]}


async def test_hadolint_finds_nothing() -> None:
    finished = await run_command(
        COMMAND_DIR / "hadolint", "--failure-threshold", "style", DOCKERFILE
    )

    assert (finished.status, finished.out) == (0, "")


def test_every_copied_path_exists_and_nothing_else_reaches_the_build() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    let_through = {line.removeprefix("!") for line in lines if line.startswith("!")}

    assert "*" in lines
    assert let_through == list_copied_paths()
    assert {path for path in list_copied_paths() if not (ROOT / path).exists()} == set()


def test_the_image_uses_the_python_of_the_lock_and_runs_without_root() -> None:
    image, extra = find_instructions("ARG")

    assert extra == "EXTRA=server"
    assert image == "PYTHON_IMAGE=python:3.11-slim-bookworm"
    assert "--python-version 3.11 " in (ROOT / "Makefile").read_text()
    assert find_instructions("FROM") == ["${PYTHON_IMAGE} AS builder", "${PYTHON_IMAGE}"]
    (user,) = find_instructions("USER")
    assert min(int(number) for number in user.split(":")) > 0


def test_the_ports_are_those_of_the_settings() -> None:
    configs = (ShardConfig(), FederationConfig())
    ports = [
        address.rpartition(":")[2]
        for config in configs
        for address in (config.grpc_addr, config.rest_addr, config.metrics_addr)
    ]

    assert find_instructions("EXPOSE") == [" ".join(ports)]


async def test_the_copied_files_install_completely_and_start(tmp_path: Path) -> None:
    """Run the builder's last RUN, with the packages that are installed here."""
    tree, site = tmp_path / "src", tmp_path / "site"
    tree.mkdir()
    for path in list_copied_paths() - {"deploy/healthcheck.py"}:
        copy = shutil.copytree if (ROOT / path).is_dir() else shutil.copy
        copy(ROOT / path, tree / path)
    environment = {"HOME": str(tmp_path), "UV_CACHE_DIR": str(tmp_path / "cache")}

    installed = await run_command(
        *(COMMAND_DIR / "uv", "pip", "install", "--no-deps", "--no-build-isolation", "--offline"),
        *("--python", sys.executable, "--target", site, tree),
        **environment,
    )
    located = await run_command(
        *(sys.executable, "-P", "-c", "import constellation.__main__ as it; print(it.__file__)"),
        PYTHONPATH=str(site),
    )

    assert installed.status == 0, installed.err
    assert located.out.strip() == str(site / "constellation" / "__main__.py")
    assert list_files(site) == list_files(ROOT)


def list_files(root: Path) -> set[str]:
    """Return the files of our packages, without caches."""
    return {
        str(path.relative_to(root))
        for package in CODE
        for path in (root / package).rglob("*")
        if path.is_file() and not fnmatch.fnmatch(str(path), "*__pycache__*")
    }


@pytest.mark.parametrize("question", [(), ("ready",)])
async def test_the_healthcheck_succeeds_while_a_shard_serves_and_fails_afterwards(
    question: tuple[str, ...],
) -> None:
    process = await start_shard_process()
    try:
        port = (await wait_for_event(process, "shard_started"))["rest_port"]
        address = f"0.0.0.0:{port}"
        alive = await run_command(sys.executable, HEALTHCHECK, *question, REST_ADDR=address)
    finally:
        process.terminate()
        await process.communicate()
    gone = await run_command(sys.executable, HEALTHCHECK, *question, REST_ADDR=address)

    assert (alive.status, alive.err) == (0, "")
    assert gone.status == 1
    assert gone.err.startswith(f"{address}: ")


async def test_the_healthcheck_distinguishes_ready_from_live(
    tmp_path: Path, postgres_url: str
) -> None:
    """A process that waits for its lease is live but not ready."""
    rest = find_free_address()
    settings = {"postgres_url": postgres_url, "shard_id": 7}
    async with run_shard_process(tmp_path / "first", **settings):
        waiting = await start_shard_process(
            **settings, rest_addr=rest, data_dir=tmp_path / "second"
        )
        try:
            await wait_for_event(waiting, "waiting_for_lease")
            live = await run_command(sys.executable, HEALTHCHECK, REST_ADDR=rest)
            ready = await run_command(sys.executable, HEALTHCHECK, "ready", REST_ADDR=rest)
        finally:
            waiting.terminate()
            await waiting.communicate()

    assert live.status == 0, live.err
    assert (ready.status, ready.err) == (1, f"{rest}: HTTP status 503\n")


@pytest.mark.parametrize("host", ["[::1]", "[::]", "127.0.0.2", "0.0.0.0", "localhost"])  # noqa: S104
async def test_the_healthcheck_asks_the_address_that_is_configured(host: str) -> None:
    port = find_free_address().rpartition(":")[2]
    address = f"{host}:{port}"
    process = await start_shard_process(rest_addr=address)
    try:
        await wait_for_event(process, "shard_started")
        alive = await run_command(sys.executable, HEALTHCHECK, "ready", REST_ADDR=address)
    finally:
        process.terminate()
        await process.communicate()

    assert (alive.status, alive.err) == (0, "")
