"""What it costs to know a device: a token is issued each hour, and verified for each stream."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.report import compare
from benchmarks.shard_process import make_folder
from constellation.auth.enrolment import PROOF_PREFIX, Claim, TokenIssuer, issue_claim
from constellation.auth.key_file import KeyFile
from constellation.auth.keys import make_key_ring, write_key_ring
from constellation.auth.revocations import RevokedDevices
from constellation.auth.tokens import TokenVerifier

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.report import Measurement

_REPETITIONS: Final = 2000
_SECONDS: Final = 3600.0
_AUDIENCE: Final = "constellation"
_BASELINE: Final = "one Ed25519 signature verified, the least that any proof of a key costs"


def measure() -> list[Measurement]:
    """Compare the processor time of a token with that of verifying one signature."""
    with make_folder() as folder:
        write_key_ring(folder / "keys.json", make_key_ring(), is_new=True)
        vendor = make_key_ring("EdDSA")
        write_key_ring(folder / "vendor.json", vendor.to_public(), is_new=True)
        keys, revoked = KeyFile(folder / "keys.json"), RevokedDevices()
        vendors = KeyFile(folder / "vendor.json", must_be_public=True)
        issuer = TokenIssuer(keys, vendors, revoked, _AUDIENCE, _SECONDS)
        verifier = TokenVerifier(keys, _AUDIENCE, revoked)
        device = Ed25519PrivateKey.generate()
        public = device.public_key()
        claim = issue_claim(vendor, Claim(bytes(16), public.public_bytes_raw(), "", ""), _SECONDS)
        challenge = issuer.make_challenge()
        message = PROOF_PREFIX + challenge.encode()
        signature = device.sign(message)
        token = issuer.issue(claim, challenge, signature)
        signature_us = _measure_us(lambda: public.verify(signature, message))
        issue_us = _measure_us(lambda: issuer.issue(claim, challenge, signature))
        verify_us = _measure_us(lambda: verifier.verify(token))
    return [
        compare("token_issue_cpu_us", issue_us, "us", _BASELINE, signature_us),
        compare("token_verify_cpu_us", verify_us, "us", _BASELINE, signature_us),
    ]


def _measure_us(action: Callable[[], object]) -> float:
    """Return the processor time of one repetition in microseconds."""
    started = time.process_time()
    for _ in range(_REPETITIONS):
        action()
    return (time.process_time() - started) / _REPETITIONS * 1e6
