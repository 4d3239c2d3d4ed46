"""Compares what every shard has stored with the journals of its devices, claim by claim."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from examples.demo.store_state import lost_deltas

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from constellation_settop import AckedDelta
    from examples.demo.households import Household
    from examples.demo.store_state import Counted, Signals, Stored


@dataclass(frozen=True, slots=True)
class Check:
    claim: str
    holds: bool
    found: str


@dataclass(frozen=True, slots=True)
class Ledger:
    """One shard's books, and those of the devices that the shard map gives it."""

    region: str
    households: Sequence[Household]
    stored: Stored
    counted: Sequence[Counted]
    """One for each process that served the shard."""
    expected: Signals
    """Of the same window as `kept`."""
    kept: Signals

    @property
    def numbered(self) -> Mapping[bytes, int]:
        """The last seq of each device."""
        return {each.outbox.device_id: each.outbox.next_seq - 1 for each in self.households}

    @property
    def cursors(self) -> Mapping[bytes, int]:
        return {device_id: device.seq for device_id, device in self.stored.devices.items()}

    @property
    def journals(self) -> Mapping[bytes, Sequence[AckedDelta]]:
        return {each.outbox.device_id: list(each.outbox.journal()) for each in self.households}

    @property
    def patterns(self) -> int:
        return sum(len(device.patterns) for device in self.stored.devices.values())


@dataclass(frozen=True, slots=True)
class Audit:
    """What the journals of one shard's devices say."""

    acked: int
    lost: int
    gapless: int
    """Devices whose journal runs from 1 to the last seq."""

    @classmethod
    def of(cls, ledger: Ledger) -> Audit:
        numbered, devices = ledger.numbered, ledger.stored.devices
        acked = lost = gapless = 0
        for device_id, entries in ledger.journals.items():
            acked += len(entries)
            lost += len(lost_deltas(entries, devices.get(device_id)))
            gapless += [entry.seq for entry in entries] == list(range(1, numbered[device_id] + 1))
        return cls(acked, lost, gapless)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the devices' deltas, and everything that was checked on the way."""

    acked: int
    lost: int
    twice: int
    patterns: int
    checks: Sequence[Check]

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.checks)

    def with_checks(self, more: Sequence[Check]) -> Verdict:
        return replace(self, checks=(*self.checks, *more))


def judge(ledgers: Sequence[Ledger]) -> Verdict:
    """Compare journals, cursors, counters and signals, in every shard and in sum."""
    audits = [Audit.of(ledger) for ledger in ledgers]
    pairs = list(zip(ledgers, audits, strict=True))
    acked = sum(audit.acked for audit in audits)
    lost = sum(audit.lost for audit in audits)
    patterns = sum(ledger.patterns for ledger in ledgers)
    devices = sum(len(ledger.households) for ledger in ledgers)
    problems = [problem for ledger in ledgers for problem in ledger.stored.problems]
    checks = (
        Check(
            "each device is on the shard the map says, and on no other",
            all(ledger.cursors.keys() == ledger.numbered.keys() for ledger in ledgers),
            _by_region(ledgers, lambda each: f"{len(each.stored.devices)} devices"),
        ),
        Check("store and index agree", not problems, "; ".join(problems) or "yes, in both"),
        Check(
            "every journal runs from 1 without a gap",
            all(audit.gapless == len(ledger.households) for ledger, audit in pairs),
            f"{sum(audit.gapless for audit in audits)} of {devices} devices, {acked} acked deltas",
        ),
        Check(
            "each stored cursor is its device's last acked delta",
            all(ledger.cursors == ledger.numbered for ledger in ledgers),
            f"sum {_of(ledgers, lambda each: (each.stored.deltas, sum(each.numbered.values())))}",
        ),
        Check(
            "stored patterns are those of the replayed journals",
            not lost,
            f"{patterns} patterns, {lost} deltas lost",
        ),
        Check(
            "deltas applied, as shards and cursors count them",
            all(each.applied == each.distinct for ledger in ledgers for each in ledger.counted),
            _by_region(ledgers, _lives),
        ),
        Check(
            "hourly counts are those recomputed from the viewings",
            all(ledger.kept == ledger.expected for ledger in ledgers),
            f"{_of(ledgers, lambda each: (each.kept.total(), each.expected.total()))} signals, "
            f"{sum((each.kept - each.expected).total() for each in ledgers)} too many",
        ),
    )
    twice = sum(each.twice for ledger in ledgers for each in ledger.counted)
    return Verdict(acked, lost, twice, patterns, checks)


def _by_region(ledgers: Sequence[Ledger], tell: Callable[[Ledger], str]) -> str:
    return "; ".join(f"{ledger.region}: {tell(ledger)}" for ledger in ledgers)


def _of(ledgers: Sequence[Ledger], count: Callable[[Ledger], tuple[int, int]]) -> str:
    """Return "found of wanted", each summed over the shards."""
    found, wanted = (sum(column) for column in zip(*map(count, ledgers), strict=True))
    return f"{found} of {wanted}"


def _lives(ledger: Ledger) -> str:
    return ", ".join(
        f"life {life} {each.applied} and {each.distinct}"
        for life, each in enumerate(ledger.counted, 1)
    )
