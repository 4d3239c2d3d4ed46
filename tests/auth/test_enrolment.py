"""A device gets a token for a vendor's claim and a proof of its key, and for nothing less."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from constellation.auth.enrolment import (
    CHALLENGE_SECONDS,
    CLAIM_AUDIENCE,
    Claim,
    TokenIssuer,
    issue_claim,
)
from constellation.auth.key_file import KeyFile
from constellation.auth.keys import make_key_ring
from constellation.auth.principal import Role
from constellation.auth.revocations import RevokedDevices
from constellation.errors import ConfigError, UnauthenticatedError
from tests.auth.callers import AUDIENCE, Keys, make_verifier
from tests.auth.devices import Television, Vendor
from tests.deltas import device_id

if TYPE_CHECKING:
    from pathlib import Path


class Enrolment:
    """A shard's issuer of tokens, and the vendor whose devices it admits."""

    def __init__(self, folder: Path) -> None:
        self.keys = Keys.make(folder)
        self.vendor = Vendor.make(folder)
        self.revoked = RevokedDevices()
        self.issuer = TokenIssuer(
            KeyFile(self.keys.path), KeyFile(self.vendor.public), self.revoked, AUDIENCE, 3600
        )

    def enrol(self, television: Television, claim: str) -> str:
        challenge = self.issuer.make_challenge()
        return self.issuer.issue(claim, challenge, television.sign(challenge))


@pytest.fixture
def enrolment(tmp_path: Path) -> Enrolment:
    return Enrolment(tmp_path)


def test_a_device_that_its_vendor_admitted_gets_a_token(enrolment: Enrolment) -> None:
    television = Television()

    token = enrolment.enrol(television, television.get_claim(enrolment.vendor))

    caller = make_verifier(enrolment.keys.path).verify(token)
    assert caller.subject == television.device_id.hex()
    assert caller.roles == {Role.DEVICE}
    assert caller.lot == "lot-7"
    assert caller.expires_at == pytest.approx(time.time() + 3600 + 30, abs=5)


def test_a_vendor_may_bind_an_id_of_its_own_to_a_key(enrolment: Enrolment) -> None:
    television = Television()

    claim = television.get_claim(enrolment.vendor, device_id=device_id(9))

    verifier = make_verifier(enrolment.keys.path)
    assert verifier.verify(enrolment.enrol(television, claim)).subject == device_id(9).hex()


def test_any_shard_of_the_fleet_takes_a_challenge(enrolment: Enrolment) -> None:
    television = Television()
    other = TokenIssuer(
        KeyFile(enrolment.keys.path),
        KeyFile(enrolment.vendor.public),
        RevokedDevices(),
        AUDIENCE,
        60,
    )
    challenge = other.make_challenge()

    claim = television.get_claim(enrolment.vendor)

    assert enrolment.issuer.issue(claim, challenge, television.sign(challenge))


def _sign_with_another_key(enrolment: Enrolment, _: Path) -> tuple[str, str, bytes]:
    challenge = enrolment.issuer.make_challenge()
    claim = Television().get_claim(enrolment.vendor)
    return claim, challenge, Television().sign(challenge)


def _sign_the_bare_challenge(enrolment: Enrolment, _: Path) -> tuple[str, str, bytes]:
    television, challenge = Television(), enrolment.issuer.make_challenge()
    signature = television.key.sign(challenge.encode())
    return television.get_claim(enrolment.vendor), challenge, signature


def _shorten_the_signature(enrolment: Enrolment, _: Path) -> tuple[str, str, bytes]:
    television, challenge = Television(), enrolment.issuer.make_challenge()
    return television.get_claim(enrolment.vendor), challenge, television.sign(challenge)[:-1]


def _come_from_another_vendor(enrolment: Enrolment, folder: Path) -> tuple[str, str, bytes]:
    television, challenge = Television(), enrolment.issuer.make_challenge()
    claim = television.get_claim(Vendor.make(folder, "other"))
    return claim, challenge, television.sign(challenge)


def _show_an_old_claim(enrolment: Enrolment, _: Path) -> tuple[str, str, bytes]:
    television, challenge = Television(), enrolment.issuer.make_challenge()
    claim = television.get_claim(enrolment.vendor, seconds=-1)
    return claim, challenge, television.sign(challenge)


def _invent_a_challenge(enrolment: Enrolment, _: Path) -> tuple[str, str, bytes]:
    television = Television()
    challenge = jwt.encode({"aud": f"{AUDIENCE}/challenge"}, "s" * 32, headers={"kid": "mine"})
    return television.get_claim(enrolment.vendor), challenge, television.sign(challenge)


def _use_a_token_as_a_challenge(enrolment: Enrolment, _: Path) -> tuple[str, str, bytes]:
    television, challenge = Television(), enrolment.keys.issue(Role.DEVICE)
    return television.get_claim(enrolment.vendor), challenge, television.sign(challenge)


def _send_too_much(enrolment: Enrolment, _: Path) -> tuple[str, str, bytes]:
    return "x" * 5000, enrolment.issuer.make_challenge(), bytes(64)


def _send_nothing(_: Enrolment, __: Path) -> tuple[str, str, bytes]:
    return "", "", b""


Attempt = Callable[["Enrolment", "Path"], tuple[str, str, bytes]]

WRONG: dict[str, tuple[Attempt, str]] = {
    "another key": (_sign_with_another_key, "not one of the key in the claim"),
    "no prefix": (_sign_the_bare_challenge, "not one of the key in the claim"),
    "short": (_shorten_the_signature, "not one of the key in the claim"),
    "another vendor": (_come_from_another_vendor, "no key of this process verifies the claim"),
    "an old claim": (_show_an_old_claim, "the claim has expired"),
    "an invented challenge": (_invent_a_challenge, "no key of this process verifies the challenge"),
    "a token": (_use_a_token_as_a_challenge, "the challenge is not a valid challenge"),
    "too long": (_send_too_much, "the claim has 5000 bytes, the most is 4096"),
    "nothing": (_send_nothing, "the challenge is not a valid challenge"),
}


@pytest.mark.parametrize("case", WRONG)
def test_nothing_less_is_enough(enrolment: Enrolment, tmp_path: Path, case: str) -> None:
    attempt, problem = WRONG[case]

    with pytest.raises(UnauthenticatedError, match=problem):
        enrolment.issuer.issue(*attempt(enrolment, tmp_path))


def test_a_challenge_is_short_lived(enrolment: Enrolment, monkeypatch: pytest.MonkeyPatch) -> None:
    television = Television()
    now = time.time()
    monkeypatch.setattr(
        "constellation.auth.enrolment.time.time", lambda: now - CHALLENGE_SECONDS - 1
    )
    challenge = enrolment.issuer.make_challenge()

    with pytest.raises(UnauthenticatedError, match="the challenge has expired"):
        enrolment.issuer.issue(television.get_claim(enrolment.vendor, seconds=3600), challenge, b"")


def test_a_challenge_is_no_token(enrolment: Enrolment) -> None:
    with pytest.raises(UnauthenticatedError):
        make_verifier(enrolment.keys.path).verify(enrolment.issuer.make_challenge())


def test_a_revoked_device_gets_no_token(enrolment: Enrolment) -> None:
    television = Television()
    enrolment.revoked.replace_global([television.device_id])

    with pytest.raises(UnauthenticatedError, match="this device was revoked"):
        enrolment.enrol(television, television.get_claim(enrolment.vendor))


GOOD_KEY = {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}
ODD: dict[str, dict[str, Any]] = {
    "no id": {"sub": "television"},
    "a short id": {"sub": "00ff"},
    "no key": {"cnf": {}},
    "another curve": {"cnf": {"jwk": {**GOOD_KEY, "crv": "X25519"}}},
    "a short key": {"cnf": {"jwk": {**GOOD_KEY, "x": "AAAA"}}},
    "a number as key": {"cnf": {"jwk": {**GOOD_KEY, "x": 7}}},
    "a long lot": {"lot": "l" * 65},
    "a list as model": {"model": ["m"]},
}


@pytest.mark.parametrize("case", ODD)
def test_a_claim_names_a_device_and_its_key(enrolment: Enrolment, case: str) -> None:
    key = enrolment.vendor.ring.keys[0]
    claims = {
        "aud": CLAIM_AUDIENCE,
        "sub": device_id(1).hex(),
        "cnf": {"jwk": GOOD_KEY},
        "exp": int(time.time()) + 60,
        **ODD[case],
    }
    claim = jwt.encode(claims, key.load(), "EdDSA", headers={"kid": key.key_id})

    with pytest.raises(UnauthenticatedError, match="names no device with an Ed25519 key"):
        enrolment.issuer.issue(claim, enrolment.issuer.make_challenge(), bytes(64))


def test_a_vendor_signs_with_a_private_key() -> None:
    with pytest.raises(ConfigError, match="--algorithm EdDSA"):
        issue_claim(make_key_ring(), Claim(device_id(1), bytes(32), "", ""), 60)


def test_what_a_vendor_gives_away_is_public(enrolment: Enrolment) -> None:
    (key,) = json.loads(enrolment.vendor.public.read_bytes())["keys"]

    assert "d" in enrolment.vendor.ring.keys[0].fields
    assert sorted(key) == ["alg", "crv", "kid", "kty", "use", "x"]
