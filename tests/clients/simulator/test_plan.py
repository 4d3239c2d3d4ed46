from __future__ import annotations

import numpy as np

from constellation_settop.simulator.plan import PROFILES, DayShape, draw_times, plan_device


def draw_plans(shape: DayShape, count: int = 400, seed: int = 3) -> list[tuple[object, ...]]:
    random = np.random.default_rng(seed)
    return [
        (plan.spells, plan.views)
        for plan in (plan_device(random, shape, ramp=0.1) for _ in range(count))
    ]


def test_the_same_seed_gives_the_same_day() -> None:
    assert draw_plans(DayShape()) == draw_plans(DayShape())
    assert draw_plans(DayShape()) != draw_plans(DayShape(), seed=4)


def test_most_views_of_an_evening_peak_begin_in_the_evening() -> None:
    random = np.random.default_rng(1)

    evening = draw_times(random, DayShape("evening-peak"), 10_000)
    flat = draw_times(random, DayShape("flat"), 10_000)

    assert (np.diff(evening) >= 0).all()
    assert ((evening >= 0) & (evening < 1)).all()
    in_evening = [np.mean((each >= 18 / 24) & (each < 23 / 24)) for each in (evening, flat)]
    expected = [sum(PROFILES["evening-peak"][18:23]) / sum(PROFILES["evening-peak"]), 5 / 24]
    assert np.allclose(in_evening, expected, atol=0.02)


def test_churn_and_offline_spells_have_their_share() -> None:
    random = np.random.default_rng(1)
    shape = DayShape(churn=0.25, offline=0.5)
    plans = [plan_device(random, shape, ramp=0.1) for _ in range(2000)]

    late = np.mean([plan.spells[0][0] > 0.1 for plan in plans])
    interrupted = np.mean([len(plan.spells) == 2 or plan.spells[-1][1] < 1 for plan in plans])

    assert 0.2 < late < 0.3
    assert 0.5 < interrupted < 0.75
    for plan in plans:
        times = [at for spell in plan.spells for at in spell]
        assert times == sorted(times)
        assert 0 <= times[0] <= times[-1] <= 1
        assert list(plan.views) == sorted(plan.views)
        assert all(at >= times[0] for at in plan.views)


def test_without_churn_and_offline_spells_every_device_stays_all_day() -> None:
    random = np.random.default_rng(1)
    plans = [plan_device(random, DayShape(churn=0, offline=0), ramp=0.1) for _ in range(100)]

    assert all(len(plan.spells) == 1 and plan.spells[0][1] == 1 for plan in plans)
    assert all(plan.spells[0][0] <= 0.1 for plan in plans)
