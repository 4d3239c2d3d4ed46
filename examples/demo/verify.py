"""Compares what every shard has stored with the journals of its devices, claim by claim."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from examples.demo.store_state import find_lost_deltas

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from constellation_settop import AckedDelta
    from examples.demo.households import Household
    from examples.demo.store_state import DeltaCounts, Signals, StoreState


@dataclass(frozen=True, slots=True)
class Check:
    claim: str
    passed: bool
    found: str


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """One shard's books, and those of the devices that the shard map gives it."""

    region: str
    households: Sequence[Household]
    stored: StoreState
    delta_counts: Sequence[DeltaCounts]
    """One for each process that served the shard."""
    expected_signals: Signals
    """Of the same window as `kept`."""
    stored_signals: Signals

    @property
    def last_seqs(self) -> Mapping[bytes, int]:
        """The last seq of each device."""
        return {each.outbox.device_id: each.outbox.next_seq - 1 for each in self.households}

    @property
    def cursors(self) -> Mapping[bytes, int]:
        return {device_id: device.seq for device_id, device in self.stored.devices.items()}

    @property
    def journals(self) -> Mapping[bytes, Sequence[AckedDelta]]:
        return {each.outbox.device_id: list(each.outbox.read_journal()) for each in self.households}

    @property
    def pattern_count(self) -> int:
        return sum(len(device.patterns) for device in self.stored.devices.values())


@dataclass(frozen=True, slots=True)
class JournalAudit:
    """What the journals of one shard's devices say."""

    acked: int
    lost: int
    gapless: int
    """Devices whose journal runs from 1 to the last seq."""

    @classmethod
    def from_record(cls, record: ShardRecord) -> JournalAudit:
        numbered, devices = record.last_seqs, record.stored.devices
        acked = lost = gapless = 0
        for device_id, entries in record.journals.items():
            acked += len(entries)
            lost += len(find_lost_deltas(entries, devices.get(device_id)))
            gapless += [entry.seq for entry in entries] == list(range(1, numbered[device_id] + 1))
        return cls(acked, lost, gapless)


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """What became of the devices' deltas, and everything that was checked on the way."""

    acked: int
    lost: int
    duplicates: int
    pattern_count: int
    checks: Sequence[Check]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    def add_checks(self, more: Sequence[Check]) -> VerificationResult:
        return replace(self, checks=(*self.checks, *more))


def verify_shards(records: Sequence[ShardRecord]) -> VerificationResult:
    """Compare journals, cursors, counters and signals, in every shard and in sum."""
    audits = [JournalAudit.from_record(ledger) for ledger in records]
    pairs = list(zip(records, audits, strict=True))
    acked = sum(audit.acked for audit in audits)
    lost = sum(audit.lost for audit in audits)
    patterns = sum(ledger.pattern_count for ledger in records)
    devices = sum(len(ledger.households) for ledger in records)
    problems = [problem for ledger in records for problem in ledger.stored.problems]
    checks = (
        Check(
            "each device is on the shard the map says, and on no other",
            all(ledger.cursors.keys() == ledger.last_seqs.keys() for ledger in records),
            _format_by_region(records, lambda each: f"{len(each.stored.devices)} devices"),
        ),
        Check("store and index agree", not problems, "; ".join(problems) or "yes, in both"),
        Check(
            "every journal runs from 1 without a gap",
            all(audit.gapless == len(ledger.households) for ledger, audit in pairs),
            f"{sum(audit.gapless for audit in audits)} of {devices} devices, {acked} acked deltas",
        ),
        Check(
            "each stored cursor is its device's last acked delta",
            all(ledger.cursors == ledger.last_seqs for ledger in records),
            f"sum {_format_found_of_expected(records, lambda each: (each.stored.deltas, sum(each.last_seqs.values())))}",
        ),
        Check(
            "stored patterns are those of the replayed journals",
            not lost,
            f"{patterns} patterns, {lost} deltas lost",
        ),
        Check(
            "deltas applied, as shards and cursors count them",
            all(
                each.applied == each.distinct for ledger in records for each in ledger.delta_counts
            ),
            _format_by_region(records, _format_process_counts),
        ),
        Check(
            "hourly counts are those recomputed from the viewings",
            all(ledger.stored_signals == ledger.expected_signals for ledger in records),
            f"{_format_found_of_expected(records, lambda each: (each.stored_signals.total(), each.expected_signals.total()))} signals, "
            f"{sum((each.stored_signals - each.expected_signals).total() for each in records)} too many",
        ),
    )
    duplicates = sum(each.duplicates for ledger in records for each in ledger.delta_counts)
    return VerificationResult(acked, lost, duplicates, patterns, checks)


def _format_by_region(
    records: Sequence[ShardRecord], describe: Callable[[ShardRecord], str]
) -> str:
    return "; ".join(f"{ledger.region}: {describe(ledger)}" for ledger in records)


def _format_found_of_expected(
    records: Sequence[ShardRecord], count: Callable[[ShardRecord], tuple[int, int]]
) -> str:
    """Return "found of wanted", each summed over the shards."""
    found, wanted = (sum(column) for column in zip(*map(count, records), strict=True))
    return f"{found} of {wanted}"


def _format_process_counts(record: ShardRecord) -> str:
    return ", ".join(
        f"life {life} {each.applied} and {each.distinct}"
        for life, each in enumerate(record.delta_counts, 1)
    )
