"""`constellation-settop simulate`: its flags, its progress and its summary."""

from __future__ import annotations

import json
import sys
from argparse import SUPPRESS
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from constellation_settop.errors import InvalidArgumentError
from constellation_settop.network.files import read_limited
from constellation_settop.network.global_keys import GlobalKeys
from constellation_settop.network.settings import SyncSettings, TlsSettings
from constellation_settop.simulator.fleet import (
    FleetSettings,
    Progress,
    load_catalogue,
    run_fleet,
)
from constellation_settop.simulator.identities import read_vendor
from constellation_settop.simulator.plan import PROFILES, DayShape
from constellation_settop.simulator.workers import (
    DEVICES_PER_PROCESS,
    FigureReporter,
    run_workers,
)

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from constellation_settop.simulator.figures import Summary

_DAY: Final = DayShape()
MAX_DEVICES: Final = 20_000
MAX_PROCESSES: Final = 64
_LINE_EVERY_TICKS: Final = 10
_BAR_WIDTH: Final = 20


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument(
        "--address", required=True, metavar="HOST:PORT", help="gRPC address of any shard"
    )
    parser.add_argument("--devices", type=int, default=200, help="default: %(default)s")
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="how long the day lasts; default: %(default)s"
    )
    parser.add_argument(
        "--profile",
        choices=sorted(PROFILES),
        default=_DAY.profile,
        help="when households watch; default: %(default)s",
    )
    parser.add_argument(
        "--views", type=float, default=_DAY.views_per_day, metavar="COUNT",
        help="views of a device in a day; default: %(default)g",
    )  # fmt: skip
    parser.add_argument(
        "--churn", type=float, default=_DAY.churn, metavar="SHARE",
        help="share of devices that are new, and share that leaves; default: %(default)g",
    )  # fmt: skip
    parser.add_argument(
        "--offline", type=float, default=_DAY.offline, metavar="SHARE",
        help="share of devices without network for some hours; default: %(default)g",
    )  # fmt: skip
    parser.add_argument(
        "--occasional", action="store_true",
        help="sync at the shard's interval, in one call each, instead of staying connected",
    )  # fmt: skip
    parser.add_argument(
        "--sync-every", type=float, metavar="SECONDS",
        help="sync about this often instead of at the shard's interval; implies --occasional",
    )  # fmt: skip
    parser.add_argument(
        "--processes", type=int, metavar="COUNT",
        help=f"processes that share the devices; default: one for {DEVICES_PER_PROCESS} devices",
    )  # fmt: skip
    parser.add_argument("--reports", action="store_true", help=SUPPRESS)  # for `run_workers`
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    group = parser.add_argument_group("connection")
    group.add_argument("--tls", action="store_true", help="use TLS; the next flags imply it")
    group.add_argument("--ca", type=Path, metavar="FILE", help="CA certificates, PEM")
    group.add_argument("--cert", type=Path, metavar="FILE", help="client certificate, PEM")
    group.add_argument("--key", type=Path, metavar="FILE", help="private key of --cert, PEM")
    group.add_argument(
        "--global-keys", type=Path, metavar="FILE",
        help="public keys of the federation, which every device pins",
    )  # fmt: skip
    credentials = group.add_mutually_exclusive_group()
    credentials.add_argument(
        "--vendor-keys", type=Path, metavar="FILE",
        help="a vendor's private keys: each device makes a key, and enrols with a claim of it",
    )  # fmt: skip
    credentials.add_argument(
        "--token-file", type=Path, metavar="FILE", help="one token that every device presents"
    )


async def run(options: Namespace) -> int:
    """Simulate, print the summary, and return 0 when every device got its deltas acked.

    Raises InvalidArgumentError for wrong flags, and what `fetch_catalogue` raises.
    """
    settings = parse_settings(options)
    options.processes = options.processes or -(-options.devices // DEVICES_PER_PROCESS)
    catalogue = await load_catalogue(options.address, settings)
    if options.reports:
        reporter = FigureReporter()
        reporter.report_end(
            await run_fleet(options.address, catalogue, settings, on_progress=reporter.report)
        )
        return 0
    screen = ProgressLines(sys.stderr)
    screen.begin(f"{settings.devices} devices, {len(catalogue)} content items, {options.profile}")
    if options.processes == 1:
        summary = await run_fleet(
            options.address, catalogue, settings, on_progress=screen.show_progress
        )
    else:
        summary = await run_workers(options, screen.show_progress)
    screen.end()
    print(json.dumps(asdict(summary)) if options.json else format_summary(summary))  # noqa: T201  # the command's output
    return 0 if summary.acked and not summary.waiting else 1


def parse_settings(options: Namespace) -> FleetSettings:
    """Return the settings in the flags. Raises InvalidArgumentError for what is out of range."""
    _check("--devices", options.devices, 1, MAX_DEVICES)
    if options.processes is not None:
        _check("--processes", options.processes, 1, min(MAX_PROCESSES, options.devices))
    _check("--minutes", options.minutes, 0.01, 24 * 60)
    _check("--views", options.views, 0.01, 1000)
    _check("--churn", options.churn, 0, 1)
    _check("--offline", options.offline, 0, 1)
    token = _read_token(options.token_file) if options.token_file else None
    return FleetSettings(
        devices=options.devices,
        seconds=60.0 * options.minutes,
        shape=DayShape(options.profile, options.views, options.churn, options.offline),
        seed=options.seed,
        sync=SyncSettings(
            stay_connected=not options.occasional and options.sync_every is None,
            sync_every_seconds=options.sync_every,
            credential=token,
            tls=_parse_tls(options),
            global_keys=GlobalKeys.from_file(options.global_keys) if options.global_keys else None,
        ),
        make_identity=read_vendor(options.vendor_keys) if options.vendor_keys else None,
    )


def _check(flag: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise InvalidArgumentError(f"{flag} must be from {least:g} to {most:g}, got {value:g}")


def _parse_tls(options: Namespace) -> TlsSettings | None:
    if not (options.tls or options.ca or options.cert or options.key):
        return None
    return TlsSettings(
        root_certificates=read_limited(options.ca) if options.ca else None,
        private_key=read_limited(options.key) if options.key else None,
        certificate_chain=read_limited(options.cert) if options.cert else None,
    )


def _read_token(path: Path) -> str:
    text = read_limited(path)
    try:
        return text.decode("ascii").strip()
    except UnicodeDecodeError:
        raise InvalidArgumentError(f"{path} holds no token") from None


class ProgressLines:
    """Progress on a stream: one line that changes on a terminal, else one line now and then."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._ticks = 0
        self._acked = 0

    def begin(self, title: str) -> None:
        """Say what is simulated."""
        print(title, file=self._stream, flush=True)

    def show_progress(self, progress: Progress) -> None:
        """Show how far the run is."""
        figures, self._ticks = progress.figures, self._ticks + 1
        rate, self._acked = figures.acked - self._acked, figures.acked
        recent = sorted(figures.ack_seconds[-200:])
        latency = f"{recent[len(recent) // 2] * 1000:.0f} ms" if recent else "-"
        filled = round(_BAR_WIDTH * progress.share)
        minutes = round(24 * 60 * progress.share)
        line = (
            f"{'#' * filled:.<{_BAR_WIDTH}} {minutes // 60:02}:{minutes % 60:02}  "
            f"{figures.connected}/{figures.online} connected  {figures.views} views  "
            f"{figures.acked} deltas acked, {figures.waiting} wait  {rate}/s  p50 {latency}"
        )
        if self._is_terminal:
            print(f"\r\x1b[K{line}", end="", file=self._stream, flush=True)
        elif self._ticks % _LINE_EVERY_TICKS == 0:
            print(line, file=self._stream, flush=True)

    def end(self) -> None:
        """End the line."""
        if self._is_terminal:
            print(file=self._stream, flush=True)


def format_summary(summary: Summary) -> str:
    """Return the summary as lines of a name and a value."""
    rows = {
        "devices": f"{summary.devices}, {summary.sessions} sessions accepted",
        "views": f"{summary.views} in {summary.seconds:g} s",
        "deltas": f"{summary.acked} acked, {summary.acked_per_second:g}/s, "
        f"{summary.waiting} waited at the end",
        "acks": f"p50 {summary.ack_p50_ms:g} ms, p99 {summary.ack_p99_ms:g} ms, "
        f"max {summary.ack_max_ms:g} ms",
        "global updates": str(summary.updates),
        "recommend": f"p99 {summary.recommend_p99_ms:g} ms",
        "simulator": f"{summary.memory_mib:g} MiB, {summary.cpu_seconds:g} s of processor time",
    }
    rows |= {f"refused: {reason}": str(count) for reason, count in summary.rejections.items()}
    rows |= {f"problem: {reason}": str(count) for reason, count in summary.problems.items()}
    width = max(map(len, rows))
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows.items())
