from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest

from constellation.auth.keys import KeyRing, make_key_ring, read_key_ring, write_key_ring
from constellation.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_ring_is_read_as_it_was_written_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path, ring = tmp_path / "keys.json", make_key_ring().add_new()

    write_key_ring(path, ring, is_new=True)

    assert read_key_ring(path).keys == ring.keys
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["keys.json"]


def test_the_newest_key_signs_until_it_is_removed() -> None:
    ring = make_key_ring()
    rotated = ring.add_new()

    assert rotated.signer == rotated.keys[0] != ring.signer
    assert rotated.remove(rotated.keys[0].key_id).signer == ring.signer


@pytest.mark.parametrize("algorithm", ["HS256", "EdDSA"])
def test_a_new_key_is_of_the_kind_that_signed(tmp_path: Path, algorithm: str) -> None:
    ring = make_key_ring(algorithm).add_new()
    path = tmp_path / "keys.json"

    write_key_ring(path, ring, is_new=True)

    assert [key.algorithm for key in read_key_ring(path).keys] == [algorithm] * 2
    assert ring.signer == ring.keys[0]


def test_the_public_part_of_a_ring_verifies_and_cannot_sign() -> None:
    private = make_key_ring("EdDSA")
    both = KeyRing((*private.keys, *make_key_ring().keys))

    public = both.to_public()

    assert [key.key_id for key in public.keys] == [private.keys[0].key_id]
    assert public.signer is None
    assert public.find(private.keys[0].key_id) is not None


@pytest.mark.parametrize(("algorithm", "secret"), [("HS256", "k"), ("EdDSA", "d")])
def test_no_secret_is_shown(algorithm: str, secret: str) -> None:
    ring = make_key_ring(algorithm)

    assert ring.keys[0].fields[secret] not in repr(ring.keys)


def test_a_file_is_not_replaced_by_a_new_ring(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text("mine", encoding="utf-8")

    with pytest.raises(ConfigError, match="exists: give another name"):
        write_key_ring(path, make_key_ring(), is_new=True)
    assert path.read_text(encoding="utf-8") == "mine"


SECRET = "A" * 43
WRONG = {
    "no JSON": ("{", "is no key ring"),
    "a list": ("[]", "is no key ring"),
    "no keys": ('{"keys": []}', "has no key: make one"),
    "a key that is text": ('{"keys": ["x"]}', "a key must be an object"),
    "a key without an id": ('{"keys": [{"kty": "oct", "k": "eA"}]}', "kid"),
    "an unknown algorithm": (
        json.dumps({"keys": [{"kty": "oct", "kid": "a", "alg": "none", "k": SECRET}]}),
        "needs an alg among HS256, EdDSA, ES256, RS256, got 'none'",
    ),
    "a short secret": (
        json.dumps({"keys": [{"kty": "oct", "kid": "a", "alg": "HS256", "k": "c2hvcnQ"}]}),
        "key 'a' must have at least 32 bytes",
    ),
    "two keys with one id": (
        json.dumps({"keys": [{"kty": "oct", "kid": "a", "alg": "HS256", "k": SECRET}] * 2}),
        "has two keys with one id",
    ),
    "a broken private key": (
        json.dumps({"keys": [{"kty": "OKP", "kid": "a", "alg": "EdDSA", "d": "", "x": ""}]}),
        "key 'a' is wrong",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_refused_without_showing_a_secret(tmp_path: Path, name: str) -> None:
    text, problem = WRONG[name]
    path = tmp_path / "keys.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError) as raised:
        read_key_ring(path)

    assert problem in str(raised.value)
    assert str(path) in str(raised.value)
    assert SECRET not in str(raised.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the keys .*none.json: No such file"):
        read_key_ring(tmp_path / "none.json")
