"""A device that pins the federation's keys shows no popular content that a shard made up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.rpc import code_pb2

from constellation.auth.global_signatures import sign_popular
from constellation.auth.key_file import KeyFile
from constellation.auth.keys import KeyRing, make_key_ring, write_key_ring
from constellation.v1.sync_pb2 import SyncResponse
from constellation_settop import GlobalKeys, InvalidArgumentError, Outbox
from constellation_settop.network.global_keys import UnsignedUpdateError, require_signed
from tests.clients.network.sessions import open_session
from tests.clients.samples import ShardModel, make_popular_update

if TYPE_CHECKING:
    from pathlib import Path

    from constellation.v1 import patterns_pb2


def write_keys(folder: Path, name: str, ring: KeyRing) -> tuple[KeyFile, GlobalKeys]:
    """Return the private keys of a federation, and their public parts as a device has them."""
    private, public = folder / f"{name}.json", folder / f"{name}-public.json"
    write_key_ring(private, ring, is_new=False)
    write_key_ring(public, ring.to_public(), is_new=False)
    return KeyFile(private), GlobalKeys.from_file(public)


def make_signed_update(keys: KeyFile) -> patterns_pb2.GlobalUpdate:
    update = make_popular_update("north", ["film:1", "film:2"])
    for popular in update.popular:
        sign_popular(keys, popular)
    return update


def test_what_the_federation_signed_is_taken(tmp_path: Path) -> None:
    keys, pinned = write_keys(tmp_path, "federation", make_key_ring("EdDSA"))

    require_signed(make_signed_update(keys), pinned)


def test_nothing_of_a_list_can_be_changed(tmp_path: Path) -> None:
    keys, pinned = write_keys(tmp_path, "federation", make_key_ring("EdDSA"))

    def change(**fields: Any) -> patterns_pb2.GlobalUpdate:
        update = make_signed_update(keys)
        for name, value in fields.items():
            update.popular[0].ClearField(name)  # type: ignore[arg-type]  # a name of the message
            if isinstance(value, list):
                getattr(update.popular[0], name).extend(value)
            else:
                setattr(update.popular[0], name, value)
        return update

    for changed in (
        change(region="south"),
        change(id=bytes(16)),
        change(content_ids=["film:2", "film:1"]),
        change(content_ids=["film:1", "film:9"]),
        change(households=[9, 9]),
        change(signature=bytes(64)),
        change(signature=b""),
        change(content_ids=["film:1", "film:2", "film:3"]),
    ):
        with pytest.raises(UnsignedUpdateError, match="is not one of key"):
            require_signed(changed, pinned)


def test_both_pinned_keys_of_a_rotation_are_taken_and_no_other(tmp_path: Path) -> None:
    ring = make_key_ring("EdDSA")
    old, _ = write_keys(tmp_path, "old", ring)
    new, pinned = write_keys(tmp_path, "new", ring.add_new())
    stranger, _ = write_keys(tmp_path, "stranger", make_key_ring("EdDSA"))

    require_signed(make_signed_update(old), pinned)
    require_signed(make_signed_update(new), pinned)
    with pytest.raises(UnsignedUpdateError, match="that key is not pinned"):
        require_signed(make_signed_update(stranger), pinned)
    with pytest.raises(UnsignedUpdateError, match="is signed by nobody"):
        require_signed(make_popular_update("north", ["film:1"]), pinned)


def test_a_refused_update_is_reported_and_the_device_keeps_what_it_has(tmp_path: Path) -> None:
    keys, pinned = write_keys(tmp_path, "federation", make_key_ring("EdDSA"))
    with Outbox.open(":memory:") as outbox:
        session = open_session(outbox, ShardModel(), global_keys=pinned)
        session.receive(SyncResponse(global_update=make_signed_update(keys)), 0.0)
        before = outbox.global_state
        session.take_frames(0.0)

        forged = make_popular_update("north", ["film:66"])
        session.receive(SyncResponse(global_update=forged), 0.0)

        acks = [each.global_ack for each in session.take_frames(0.0) if each.HasField("global_ack")]
        assert [ack.error.code for ack in acks] == [code_pb2.INVALID_ARGUMENT]
        assert outbox.global_state == before
        assert [each.content_ids for each in before.popular.values()] == [("film:1", "film:2")]
        assert session.final_outcome is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{}", "has no public keys"),
        ("nonsense", "has no public keys"),
        ('{"keys": []}', "at least one key"),
        ('{"keys": [{"kid": "a", "kty": "oct", "crv": "", "x": ""}]}', "of the kind Ed25519"),
        ('{"keys": [{"kid": "a", "kty": "OKP", "crv": "Ed25519", "x": "AA"}]}', "32 bytes"),
    ],
)
def test_a_file_that_has_no_keys_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)

    with pytest.raises(InvalidArgumentError, match=problem):
        GlobalKeys.from_file(path)


def test_a_private_key_has_no_place_on_a_device(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    write_key_ring(path, make_key_ring("EdDSA"), is_new=True)

    with pytest.raises(InvalidArgumentError, match="devices must not have"):
        GlobalKeys.from_file(path)
    with pytest.raises(InvalidArgumentError, match="cannot read"):
        GlobalKeys.from_file(tmp_path / "missing.json")
