from __future__ import annotations

from random import Random

from constellation_settop.network.backoff import Backoff


def test_delays_are_anywhere_below_a_doubling_ceiling() -> None:
    for seed in range(50):
        backoff = Backoff(1.0, 300.0, Random(seed))  # noqa: S311  # no secret

        delays = [backoff.next_seconds() for _ in range(40)]

        assert all(0 <= delay <= min(300, 2**n) for n, delay in enumerate(delays))


def test_delays_spread_over_the_whole_range() -> None:
    delays = []
    for seed in range(400):
        backoff = Backoff(1.0, 300.0, Random(seed))  # noqa: S311  # no secret
        delays.append([backoff.next_seconds() for _ in range(12)][-1])

    assert min(delays) < 15
    assert max(delays) > 285


def test_a_welcome_begins_anew() -> None:
    backoff = Backoff(1.0, 300.0, Random(1))  # noqa: S311  # no secret
    for _ in range(100):
        backoff.next_seconds()

    backoff.reset()

    assert backoff.next_seconds() <= 1
