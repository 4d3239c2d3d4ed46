"""`make image-check`: build deploy/Dockerfile without a Docker engine, and run what it builds.

Needs root, and Debian's buildah, podman, runc, conmon and debootstrap. Where no registry is in
reach, the base image is made from Debian's packages, under the name that the Dockerfile asks for.
Writes build/image-report.json.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from testing.postgres_server import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT: Final = Path(__file__).parents[1]
WORK: Final = ROOT / "build" / "image"
REPORT: Final = ROOT / "build" / "image-report.json"
IMAGE: Final = "localhost/constellation:check"
BASE: Final = "docker.io/library/python:3.11-slim-bookworm"
PROGRAMS: Final = ("buildah", "podman", "runc", "conmon", "debootstrap")
PACKAGES: Final = "python3,python3-venv,python3-pip,ca-certificates"
PROMTOOL: Final = ROOT / "build" / "tools" / "promtool"
METRICS_ADDRESS: Final = "127.0.0.1:9990"
READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 60
_LARGEST_PACKAGES: Final = 8
_PODMAN: Final = ("podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs")
_RESTRICTIONS: Final = (
    *("--read-only", "--tmpfs", "/tmp", "--cap-drop", "all"),  # noqa: S108 - the container's own
    *("--security-opt", "no-new-privileges", "--user", "10001:10001"),
    *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=2048:2048", "--network", "host"),
)
_ENVIRONMENT: Final = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}


class ImageError(Exception):
    """The image does not do what deploy/ promises."""


def main() -> int:
    """Build, run and measure; return the exit status."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        print(f"needs root, and Debian's packages {' '.join(missing or PROGRAMS)}", file=sys.stderr)
        return 2
    WORK.mkdir(parents=True, exist_ok=True)
    try:
        report = check_image()
    except (ImageError, subprocess.CalledProcessError) as error:
        print(f"image-check: {error}", file=sys.stderr)
        return 1
    REPORT.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print(json.dumps(report, indent=2))
    return 0


@dataclass(frozen=True)
class Program:
    """One of the two programs, as a container runs it."""

    name: str
    verb: str
    question: str
    """What its health check is asked until the answer is yes."""
    settings: Mapping[str, str]

    @property
    def container(self) -> str:
        return f"{self.name}-image-check"


SHARD: Final = Program(
    "constellation",
    "serve",
    "ready",
    {
        "INSECURE": "1",
        "GRPC_ADDR": "127.0.0.1:50951",
        "REST_ADDR": "127.0.0.1:8981",
        "DRAIN_SECONDS": "1",
    },
)
FEDERATION: Final = Program(
    "federation",
    "run",
    "ready",
    {
        "INSECURE": "1",
        "GRPC_ADDR": "127.0.0.1:50952",
        "REST_ADDR": "127.0.0.1:8982",
        "SHARD_ADDRS": "127.0.0.1:50951",
        "MIN_SHARDS": "1",
        "FEDERATION_INTERVAL_SECS": "0",
    },
)


def check_image() -> dict[str, Any]:
    """Build the image, run a shard and a federation from it, and return the figures."""
    base = ensure_base()
    started = time.monotonic()
    run("buildah", "bud", "--network", "host", "--tag", IMAGE, *find_build_arguments())
    build_seconds = time.monotonic() - started
    for program in (SHARD, FEDERATION):
        run(*_PODMAN, "volume", "rm", "--force", program.container)
    with run_container(SHARD) as first_start:
        first_stop = stop(SHARD)
    with run_container(SHARD) as second_start, run_container(FEDERATION) as federation_start:
        run(*_PODMAN, "exec", FEDERATION.container, "federation", "round", "--run")
        memory = {each.name: read_memory_mb(each) for each in (SHARD, FEDERATION)}
        federation_stop, second_stop = stop(FEDERATION), stop(SHARD)
    on_postgres = check_postgres()
    return {
        "image_mb": read_size_mb(IMAGE),
        "over_its_base_mb": round(read_size_mb(IMAGE) - read_size_mb(base), 1),
        "largest_packages_mb": read_largest_packages(),
        "build_seconds": round(build_seconds, 1),
        "shard_start_seconds": [first_start, second_start],
        "shard_stop_seconds": [first_stop, second_stop],
        "federation_start_seconds": federation_start,
        "federation_stop_seconds": federation_stop,
        "shard_on_postgres_start_seconds": on_postgres,
        "resident_mb": memory,
    }


def check_postgres() -> float:
    """Migrate an empty database and serve from it; return the seconds until the shard is ready."""
    with PostgresServer.open() as server:
        server.execute("CREATE EXTENSION vector", "template1")
        url = server.create_database("constellation")
        program = replace(SHARD, settings={**SHARD.settings, "POSTGRES_URL": url})
        run(
            *(*_PODMAN, "run", "--rm", "--env", f"POSTGRES_URL={url}", *_RESTRICTIONS),
            *(IMAGE, "constellation", "migrate"),
        )
        with run_container(program) as start_seconds:
            check_metrics()
            stop(program)
    return start_seconds


def check_metrics() -> None:
    """Let promtool read what the shard's container answers when it is scraped."""
    with urllib.request.urlopen(f"http://{METRICS_ADDRESS}/metrics", timeout=10) as response:
        scraped = response.read()
    subprocess.run([PROMTOOL, "check", "metrics"], input=scraped, check=True)


@contextmanager
def run_container(program: Program) -> Iterator[float]:
    """Run a container until the block is left; yield the seconds it took to be healthy.

    Its root is read-only, it has no capabilities, and it is not root.
    """
    name = program.container
    variables = {
        **program.settings,
        "METRICS_ADDR": METRICS_ADDRESS if program.name == SHARD.name else "127.0.0.1:0",
    }
    flags = [part for each in variables.items() for part in ("--env", "=".join(each))]
    run(*_PODMAN, "rm", "--force", "--ignore", name)
    started = time.monotonic()
    run(
        *(*_PODMAN, "run", "--detach", "--name", name, "--volume", f"{name}:/data"),
        *(*_RESTRICTIONS, *flags, IMAGE, program.name, program.verb),
    )
    try:
        wait_for_health(name, program.question, started + READY_SECONDS)
        yield round(time.monotonic() - started, 1)
    except ImageError:
        subprocess.run([*_PODMAN, "logs", name], env=_ENVIRONMENT, check=False)
        raise
    finally:
        run(*_PODMAN, "rm", "--force", "--time", "1", name)


def stop(program: Program) -> float:
    """Send SIGTERM; return the seconds until the process had ended, with status 0."""
    started = time.monotonic()
    run(*_PODMAN, "stop", "--time", str(STOP_SECONDS), program.container)
    seconds = time.monotonic() - started
    exit_code = read(*_PODMAN, "inspect", "--format", "{{.State.ExitCode}}", program.container)
    if exit_code != "0":
        raise ImageError(f"{program.container} ended with status {exit_code} after SIGTERM")
    return round(seconds, 1)


def wait_for_health(name: str, question: str, deadline: float) -> None:
    """Return once the image's own health check says yes."""
    check = [*_PODMAN, "exec", name, "python", "/opt/constellation/healthcheck.py", question]
    while True:
        asked = subprocess.run(check, env=_ENVIRONMENT, capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            return
        if time.monotonic() > deadline:
            raise ImageError(f"{name} is not {question} after {READY_SECONDS:g} s: {asked.stderr}")


def read_memory_mb(program: Program) -> float:
    """Return the resident memory of a container's first process."""
    pid = read(*_PODMAN, "inspect", "--format", "{{.State.Pid}}", program.container)
    status = Path("/proc", pid, "status").read_text("utf-8")
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return round(int(line.split()[1]) / 1000, 1)


def read_size_mb(image: str) -> float:
    """Return an image's size, all layers unpacked."""
    size = read(*_PODMAN, "image", "inspect", "--format", "{{.Size}}", image)
    return round(int(size) / 1e6, 1)


def read_largest_packages() -> dict[str, int]:
    """Return the largest packages of the image and their sizes in MiB."""
    listing = read(
        *(*_PODMAN, "run", "--rm", *_RESTRICTIONS, IMAGE),
        *("sh", "-c", "du -sm /opt/constellation/lib/python3*/site-packages/*"),
    )
    sizes = [line.split("\t") for line in listing.splitlines()]
    largest = sorted(sizes, key=lambda entry: -int(entry[0]))[:_LARGEST_PACKAGES]
    return {Path(path).name: int(size) for size, path in largest}


def ensure_base() -> str:
    """Return the name of the base image, pulled, or made of Debian's packages."""
    exists = subprocess.run(
        [*_PODMAN, "image", "exists", BASE], env=_ENVIRONMENT, check=False
    ).returncode
    if exists == 0:
        return BASE
    pulled = subprocess.run(
        [*_PODMAN, "pull", "--quiet", BASE], env=_ENVIRONMENT, capture_output=True, check=False
    ).returncode
    if pulled != 0:
        make_base()
    return BASE


def make_base() -> None:
    """Make the base image with debootstrap, as small as Debian's Python comes."""
    tree = WORK / "base"
    if not (tree / "usr" / "bin" / "python3").exists():
        run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(tree))
    (tree / "usr" / "bin" / "python").unlink(missing_ok=True)
    (tree / "usr" / "bin" / "python").symlink_to("python3")
    for marker in tree.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        marker.unlink()
    for leftover in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man"):
        shutil.rmtree(tree / leftover, ignore_errors=True)
    container = read("buildah", "from", "scratch")
    run("buildah", "add", "--quiet", container, str(tree), "/")
    if bundle := os.environ.get("SSL_CERT_FILE"):  # of a network that signs for itself
        run("buildah", "add", "--quiet", container, bundle, "/etc/ssl/certs/build.pem")
        for name in ("SSL_CERT_FILE", "PIP_CERT"):
            run("buildah", "config", "--env", f"{name}=/etc/ssl/certs/build.pem", container)
    run("buildah", "commit", "--quiet", "--rm", container, BASE)


def find_build_arguments() -> list[str]:
    """Return how the machine's own package settings reach the build, and what is built."""
    settings = (Path("/etc/pip.conf"), Path("/etc/uv/uv.toml"))
    mounts = [
        part for path in settings if path.exists() for part in ("--volume", f"{path}:{path}:ro")
    ]
    return [*mounts, "--file", str(ROOT / "deploy" / "Dockerfile"), str(ROOT)]


def run(*command: str) -> None:
    """Run a program; raise CalledProcessError when it fails. What it says goes to stderr."""
    subprocess.run(command, env=_ENVIRONMENT, cwd=ROOT, stdout=sys.stderr, check=True)


def read(*command: str) -> str:
    """Return what a program prints."""
    finished = subprocess.run(
        command, env=_ENVIRONMENT, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return finished.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
