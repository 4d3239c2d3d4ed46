"""Converts the privacy budget and its ledger to the message that operators receive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from constellation.federated.weeks import find_week, find_week_start
from constellation.transport.codec.times import to_timestamp
from constellation.v1 import federation_pb2 as pb
from federation.privacy.budget import RELEASES_PER_WEEK, RHO_ONE, Mechanism

if TYPE_CHECKING:
    from federation.privacy.ledger import Ledger
    from federation.privacy.mode import PrivacyMode


def from_privacy(mode: PrivacyMode | None, now: float, weeks: int) -> pb.GetPrivacyResponse:
    """Return what was spent in the last `weeks` weeks, the present one first."""
    if mode is None:
        return pb.GetPrivacyResponse()
    ledger, present = mode.ledger, find_week(now)
    return pb.GetPrivacyResponse(
        enabled=True,
        epsilon=mode.budget.epsilon,
        delta=mode.budget.delta,
        weeks=[_from_week(mode, ledger, present - back) for back in range(weeks)],
        releases_refused=mode.releases_refused,
    )


def _from_week(mode: PrivacyMode, ledger: Ledger, week: int) -> pb.PrivacyWeek:
    spent = mode.compute_epsilon(ledger.count_units(week))
    return pb.PrivacyWeek(
        begins_at=to_timestamp(find_week_start(week)),
        epsilon_spent=spent,
        epsilon_left=max(mode.budget.epsilon - spent, 0.0),
        mechanisms=[_from_mechanism(mode, ledger, week, each) for each in Mechanism],
    )


def _from_mechanism(
    mode: PrivacyMode, ledger: Ledger, week: int, mechanism: Mechanism
) -> pb.PrivacySpending:
    rows = [row for row in ledger.rows if (row.week, row.mechanism) == (week, mechanism)]
    planned = RELEASES_PER_WEEK[mechanism]
    return pb.PrivacySpending(
        mechanism=mechanism.value,
        releases=len(rows),
        releases_planned=planned,
        rho_spent=sum(row.units for row in rows) / RHO_ONE,
        rho_budget=mode.budget.get_units(mechanism) * planned / RHO_ONE,
        noise_scale=rows[-1].scale if rows else 0.0,
    )
