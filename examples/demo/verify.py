"""Checks that compare what each shard has stored with the journals of its devices."""

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
    """One claim that was checked."""

    claim: str
    passed: bool
    found: str
    """What was found, for people."""


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """What one shard has stored, and the devices that the shard map assigns to it."""

    region: str
    households: Sequence[Household]
    stored: StoreState
    delta_counts: Sequence[DeltaCounts]
    """One for each process that served the shard, in order."""
    expected_signals: Signals
    """Signals recomputed from the viewings, for the hours of `stored_signals`."""
    stored_signals: Signals
    """Signals that the shard has stored, without hours that it may drop."""

    @property
    def last_seqs(self) -> Mapping[bytes, int]:
        """The highest seq of each device, by device id."""
        return {each.outbox.device_id: each.outbox.next_seq - 1 for each in self.households}

    @property
    def cursors(self) -> Mapping[bytes, int]:
        """The cursor that the shard has for each device, by device id."""
        return {device_id: device.seq for device_id, device in self.stored.devices.items()}

    @property
    def journals(self) -> Mapping[bytes, Sequence[AckedDelta]]:
        """The journal of each device, by device id."""
        return {each.outbox.device_id: list(each.outbox.read_journal()) for each in self.households}

    @property
    def pattern_count(self) -> int:
        """Patterns that the shard has stored."""
        return sum(len(device.patterns) for device in self.stored.devices.values())


@dataclass(frozen=True, slots=True)
class JournalAudit:
    """What the journals of one shard's devices show."""

    acked: int
    """Deltas acked."""
    lost: int
    """Acked deltas whose effect the shard lacks."""
    gapless: int
    """Devices whose journal has every seq from 1 to the last one."""

    @classmethod
    def from_record(cls, record: ShardRecord) -> JournalAudit:
        """Audit the journals of one shard's devices."""
        last_seqs, devices = record.last_seqs, record.stored.devices
        acked = lost = gapless = 0
        for device_id, entries in record.journals.items():
            acked += len(entries)
            lost += len(find_lost_deltas(entries, devices.get(device_id)))
            gapless += [entry.seq for entry in entries] == list(range(1, last_seqs[device_id] + 1))
        return cls(acked, lost, gapless)


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """The result of all checks, with the number of deltas and patterns."""

    acked: int
    lost: int
    """Acked deltas whose effect a shard lacks."""
    duplicates: int
    """Deltas that a shard applied twice."""
    pattern_count: int
    """Patterns that both shards have stored."""
    checks: Sequence[Check]

    @property
    def passed(self) -> bool:
        """True when every check passed."""
        return all(check.passed for check in self.checks)

    def add_checks(self, more: Sequence[Check]) -> VerificationResult:
        """Return the result with more checks."""
        return replace(self, checks=(*self.checks, *more))


def verify_shards(records: Sequence[ShardRecord]) -> VerificationResult:
    """Compare journals, cursors, counters and signals of every shard."""
    audits = [JournalAudit.from_record(record) for record in records]
    acked, lost = sum(each.acked for each in audits), sum(each.lost for each in audits)
    patterns = sum(record.pattern_count for record in records)
    duplicates = sum(each.duplicates for record in records for each in record.delta_counts)
    checks = (
        *_check_stores(records),
        *_check_journals(records, audits),
        Check(
            "stored patterns equal those of the replayed journals",
            not lost,
            f"{patterns} patterns, {lost} deltas lost",
        ),
        *_check_counts(records),
    )
    return VerificationResult(acked, lost, duplicates, patterns, checks)


def _check_stores(records: Sequence[ShardRecord]) -> tuple[Check, Check]:
    problems = [problem for record in records for problem in record.stored.problems]
    return (
        Check(
            "each device is on the shard that the map says, and on no other",
            all(record.cursors.keys() == record.last_seqs.keys() for record in records),
            _format_by_region(records, lambda each: f"{len(each.stored.devices)} devices"),
        ),
        Check("store and index agree", not problems, "; ".join(problems) or "yes, in both shards"),
    )


def _check_journals(
    records: Sequence[ShardRecord], audits: Sequence[JournalAudit]
) -> tuple[Check, Check]:
    devices = sum(len(record.households) for record in records)
    gapless, acked = sum(each.gapless for each in audits), sum(each.acked for each in audits)
    cursors = sum(record.stored.deltas for record in records)
    last_seqs = sum(sum(record.last_seqs.values()) for record in records)
    return (
        Check(
            "every journal starts at 1 and has no gap",
            gapless == devices,
            f"{gapless} of {devices} devices, {acked} acked deltas",
        ),
        Check(
            "each stored cursor is the last acked delta of its device",
            all(record.cursors == record.last_seqs for record in records),
            f"sum {cursors} of {last_seqs}",
        ),
    )


def _check_counts(records: Sequence[ShardRecord]) -> tuple[Check, Check]:
    counts = [each for record in records for each in record.delta_counts]
    stored = sum(record.stored_signals.total() for record in records)
    expected = sum(record.expected_signals.total() for record in records)
    surplus = sum((each.stored_signals - each.expected_signals).total() for each in records)
    return (
        Check(
            "deltas applied, as counted by shards and by cursors",
            all(each.applied == each.distinct for each in counts),
            _format_by_region(records, _format_process_counts),
        ),
        Check(
            "hourly counts equal those recomputed from the viewings",
            all(record.stored_signals == record.expected_signals for record in records),
            f"{stored} of {expected} signals, {surplus} too many",
        ),
    )


def _format_by_region(
    records: Sequence[ShardRecord], describe: Callable[[ShardRecord], str]
) -> str:
    return "; ".join(f"{record.region}: {describe(record)}" for record in records)


def _format_process_counts(record: ShardRecord) -> str:
    return ", ".join(
        f"process {number} {each.applied} and {each.distinct}"
        for number, each in enumerate(record.delta_counts, 1)
    )
