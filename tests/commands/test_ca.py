from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import grpc
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from constellation.v1 import health_pb2, health_pb2_grpc
from tests.conftest import run_shard
from tests.scenarios.processes import run_command

if TYPE_CHECKING:
    from pathlib import Path

    from tests.command_line import CommandLine


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_shard_serves_with_a_certificate_that_was_issued(tmp_path: Path, host: str) -> None:
    folder = tmp_path / "pki"
    made = await run_command("ca", "new", str(folder))
    issued = await run_command("ca", "issue", str(folder), "localhost", "127.0.0.1", "--days", "2")

    async with run_shard(tls_cert=folder / "server.pem", tls_key=folder / "server.key") as shard:
        credentials = grpc.ssl_channel_credentials((folder / "ca.pem").read_bytes())
        async with grpc.aio.secure_channel(f"{host}:{shard.port}", credentials) as channel:
            health = health_pb2_grpc.HealthServiceStub(channel)
            assert (await health.GetLiveness(health_pb2.GetLivenessRequest(), timeout=10)).live

    assert made.out == f"{folder}/ca.pem: what clients trust\n{folder}/ca.key: keep it secret\n"
    assert issued.out == (
        f"{folder}/server.pem: TLS_CERT, for localhost, 127.0.0.1\n{folder}/server.key: TLS_KEY\n"
    )
    for name in ("ca.key", "server.key"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_a_certificate_of_another_authority_is_not_trusted(
    unconfigured_cli: CommandLine, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        unconfigured_cli("ca", "new", str(folder))
        unconfigured_cli("ca", "issue", str(folder), "localhost")
    leaf = x509.load_pem_x509_certificates((first / "server.pem").read_bytes())[0]
    own = x509.load_pem_x509_certificate((first / "ca.pem").read_bytes())
    other = x509.load_pem_x509_certificate((second / "ca.pem").read_bytes())

    leaf.verify_directly_issued_by(own)
    with pytest.raises(InvalidSignature):
        leaf.verify_directly_issued_by(other)


def test_mistakes_are_named(unconfigured_cli: CommandLine, tmp_path: Path) -> None:
    without = unconfigured_cli("ca", "issue", str(tmp_path), "localhost")
    unconfigured_cli("ca", "new", str(tmp_path))
    again = unconfigured_cli("ca", "new", str(tmp_path))

    assert (without.status, again.status) == (2, 2)
    assert "make an authority with `constellation ca new`" in without.err
    assert "exists: a new authority would lock out all that trust it" in again.err


async def test_a_certificate_for_a_name_too_long_for_its_subject_is_valid(tmp_path: Path) -> None:
    folder, host = tmp_path / "pki", f"shard-0.{'a' * 60}.television.example"
    await run_command("ca", "new", str(folder))
    await run_command("ca", "issue", str(folder), host)

    async with run_shard(tls_cert=folder / "server.pem", tls_key=folder / "server.key") as shard:
        credentials = grpc.ssl_channel_credentials((folder / "ca.pem").read_bytes())
        options = [("grpc.ssl_target_name_override", host)]
        address = f"127.0.0.1:{shard.port}"
        async with grpc.aio.secure_channel(address, credentials, options) as channel:
            health = health_pb2_grpc.HealthServiceStub(channel)
            assert (await health.GetLiveness(health_pb2.GetLivenessRequest(), timeout=10)).live
