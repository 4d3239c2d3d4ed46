from __future__ import annotations

import pytest

from constellation_settop import InvalidArgumentError, SyncSettings, TlsSettings


def test_secrets_are_not_shown() -> None:
    tls = TlsSettings(private_key=b"hidden", certificate_chain=b"public")

    shown = repr(SyncSettings(credential="hidden", tls=tls))

    assert "hidden" not in shown
    assert "public" in shown


@pytest.mark.parametrize("name", ["private_key", "certificate_chain"])
def test_a_client_certificate_needs_its_key_and_the_reverse(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="together"):
        TlsSettings(**{name: b"alone"})


@pytest.mark.parametrize("seconds", [0, 0.5, -1, float("nan"), float("inf")])
def test_an_interval_is_at_least_a_second(seconds: float) -> None:
    with pytest.raises(InvalidArgumentError, match="sync_every_seconds must be at least 1, got"):
        SyncSettings(sync_every_seconds=seconds)
