from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from constellation.auth.keys import read_key_ring, write_key_ring
from constellation.auth.principal import Role
from constellation.auth.revocations import RevokedDevices
from constellation.auth.tokens import MAX_TOKEN_BYTES, issue_token
from constellation.errors import UnauthenticatedError
from tests.auth.callers import AUDIENCE, OWN, Keys, make_verifier

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys.make(tmp_path)


def make_token(keys: Keys, **changed: Any) -> str:
    """Return a signed token with some claims changed; those that are None are left out."""
    now = int(time.time())
    claims = {
        "aud": AUDIENCE,
        "sub": "alice",
        "roles": ["viewer"],
        "exp": now + 60,
        **changed,
    }
    kept = {name: value for name, value in claims.items() if value is not None}
    key = keys.ring.keys[0]
    return jwt.encode(kept, key.load(), "HS256", headers={"kid": key.key_id})


def test_a_token_says_who_calls_in_which_roles_and_until_when(keys: Keys) -> None:
    verifier = make_verifier(keys.path)

    caller = verifier.verify(keys.issue(Role.OPERATOR, Role.VIEWER, subject="alice", seconds=60))

    assert caller.subject == "alice"
    assert caller.roles == {Role.OPERATOR, Role.VIEWER}
    assert caller.expires_at == pytest.approx(time.time() + 60 + 30, abs=5)


def test_roles_of_a_later_version_are_left_out(keys: Keys) -> None:
    token = make_token(keys, roles=["viewer", "emperor"])

    assert make_verifier(keys.path).verify(token).roles == {Role.VIEWER}


WRONG_CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"exp": 1}, "has expired"),
    "not yet valid": ({"nbf": 2**33}, "not a valid token"),
    "for nobody": ({"aud": None}, "not a valid token"),
    "for another fleet": ({"aud": "other"}, "not for the audience 'constellation'"),
    "without an end": ({"exp": None}, "not a valid token"),
    "without a name": ({"sub": None}, "not a valid token"),
    "of a name that is a number": ({"sub": 7}, "not a valid token"),
    "until the end of all numbers": ({"exp": 10**400}, "not a valid token"),
    "with roles that are text": ({"roles": "operator"}, "not a valid token"),
}


@pytest.mark.parametrize("name", WRONG_CLAIMS)
def test_wrong_claims_are_refused(keys: Keys, name: str) -> None:
    claims, problem = WRONG_CLAIMS[name]

    with pytest.raises(UnauthenticatedError, match=problem):
        make_verifier(keys.path).verify(make_token(keys, **claims))


def test_what_is_no_token_is_refused_and_never_quoted(keys: Keys) -> None:
    verifier, good = make_verifier(keys.path), keys.issue(Role.VIEWER)
    head, body, signature = good.split(".")
    unsigned = jwt.encode({"aud": AUDIENCE, "sub": "a", "exp": 2**33}, "", "none")
    other_body = make_token(keys, roles=["operator"]).split(".")[1]
    forged = [
        "",
        "x",
        "a.b.c",
        good[:-4],
        good + "A" * MAX_TOKEN_BYTES,
        unsigned,
        f"{head}.{other_body}.{signature}",
        f"{head}.{body}.",
        "\x00é",
    ]

    for token in forged:
        with pytest.raises(UnauthenticatedError) as raised:
            verifier.verify(token)
        assert not token or token not in str(raised.value)
    assert verifier.verify(good).roles == {Role.VIEWER}


def test_the_header_does_not_choose_the_algorithm(tmp_path: Path) -> None:
    private = Ed25519PrivateKey.generate()
    public: dict[str, Any] = json.loads(
        jwt.algorithms.OKPAlgorithm.to_jwk(private.public_key(), as_dict=False)
    )
    path = tmp_path / "keys.json"
    entry = {**public, "kid": "vendor", "alg": "EdDSA"}
    path.write_text(json.dumps({"keys": [entry]}), encoding="utf-8")
    verifier = make_verifier(path)
    claims = {"aud": AUDIENCE, "sub": OWN.hex(), "roles": ["device"], "exp": int(time.time()) + 60}
    headers = {"kid": "vendor"}

    assert (
        verifier.verify(jwt.encode(claims, private, "EdDSA", headers=headers)).subject == OWN.hex()
    )
    # The public key is known to everybody, so nobody may use it as a shared secret.
    secret = public["x"] * 2
    with pytest.raises(UnauthenticatedError):
        verifier.verify(jwt.encode(claims, secret, "HS256", headers=headers))


def test_keys_that_rotate_need_no_restart(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [time.monotonic()]
    monkeypatch.setattr("constellation.auth.files.time.monotonic", lambda: clock[0])
    verifier = make_verifier(keys.path)
    old = keys.issue(Role.VIEWER)

    rotated = read_key_ring(keys.path).add_new()
    write_key_ring(keys.path, rotated, is_new=False)
    new = issue_token(rotated, AUDIENCE, "bob", [Role.VIEWER], 60)
    clock[0] += 2
    assert verifier.verify(new).subject == "bob"
    assert verifier.verify(old).subject == "somebody"

    write_key_ring(keys.path, rotated.remove(rotated.keys[1].key_id), is_new=False)
    clock[0] += 2
    assert verifier.verify(new).subject == "bob"
    with pytest.raises(UnauthenticatedError, match="its key was revoked"):
        verifier.verify(old)


def test_a_revoked_device_is_refused_and_noticed(keys: Keys) -> None:
    revoked = RevokedDevices()
    verifier = make_verifier(keys.path, revoked)
    caller = verifier.verify(keys.issue(Role.DEVICE))
    assert not caller.is_revoked()

    revoked.replace_global([OWN])

    assert caller.is_revoked()
    with pytest.raises(UnauthenticatedError, match="this device was revoked"):
        verifier.verify(keys.issue(Role.DEVICE))
    assert verifier.verify(keys.issue(Role.OPERATOR, subject=OWN.hex())).subject == OWN.hex()


def test_a_device_has_an_id(keys: Keys) -> None:
    with pytest.raises(UnauthenticatedError, match="not a valid token"):
        make_verifier(keys.path).verify(keys.issue(Role.DEVICE, subject="my television"))
