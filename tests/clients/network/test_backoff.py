from __future__ import annotations

from random import Random

import pytest

from constellation_settop.network.backoff import (
    EXCHANGE_PERIOD_SECONDS,
    LOST_STREAMS_BEFORE_EXCHANGES,
    Backoff,
    ExchangeFallback,
)


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


def test_a_reset_makes_the_next_delay_short() -> None:
    backoff = Backoff(1.0, 300.0, Random(1))  # noqa: S311  # no secret
    for _ in range(100):
        backoff.next_seconds()

    backoff.reset()

    assert backoff.next_seconds() <= 1


def lose_streams(fallback: ExchangeFallback, count: int) -> None:
    for _ in range(count):
        fallback.record_lost_stream()


def test_several_lost_streams_in_a_row_make_way_for_one_exchange() -> None:
    fallback = ExchangeFallback()

    lose_streams(fallback, LOST_STREAMS_BEFORE_EXCHANGES - 1)
    assert not fallback.is_active(100.0)
    lose_streams(fallback, 1)

    assert fallback.is_active(100.0)
    assert fallback.begin_exchange()
    assert not fallback.is_active(100.0)


def test_an_exchange_that_succeeds_is_followed_by_others_for_a_while() -> None:
    fallback = ExchangeFallback()
    lose_streams(fallback, LOST_STREAMS_BEFORE_EXCHANGES)
    fallback.begin_exchange()

    fallback.use_exchanges(100.0)

    assert fallback.is_active(100.0 + EXCHANGE_PERIOD_SECONDS - 1)
    assert not fallback.begin_exchange()
    assert not fallback.is_active(100.0 + EXCHANGE_PERIOD_SECONDS)


@pytest.mark.parametrize("count", [1, LOST_STREAMS_BEFORE_EXCHANGES])
def test_a_welcome_forgets_lost_streams(count: int) -> None:
    fallback = ExchangeFallback()
    lose_streams(fallback, count)

    fallback.reset()
    lose_streams(fallback, LOST_STREAMS_BEFORE_EXCHANGES - 1)

    assert not fallback.is_active(100.0)
