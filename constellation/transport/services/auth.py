"""AuthService: gives tokens to devices that prove who they are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from constellation.errors import ConfigError
from constellation.transport.codec.times import to_duration
from constellation.v1 import auth_pb2 as pb
from constellation.v1 import auth_pb2_grpc

if TYPE_CHECKING:
    from constellation.auth.enrolment import TokenIssuer

_MAX_AT_ONCE: Final = 4
"""Proofs that are checked at once: each signature costs a thread a third of a millisecond."""


class AuthServicer(auth_pb2_grpc.AuthServiceServicer):
    """Serves AuthService; refuses everything without an issuer of tokens."""

    def __init__(self, issuer: TokenIssuer | None) -> None:
        self._issuer = issuer
        self._turns = asyncio.Semaphore(_MAX_AT_ONCE)

    async def GetChallenge(
        self, request: pb.GetChallengeRequest, context: Any
    ) -> pb.GetChallengeResponse:
        return pb.GetChallengeResponse(challenge=self._require_issuer().make_challenge())

    async def IssueToken(
        self, request: pb.IssueTokenRequest, context: Any
    ) -> pb.IssueTokenResponse:
        issuer = self._require_issuer()
        async with self._turns:
            token = await asyncio.to_thread(
                issuer.issue, request.claim, request.challenge, request.signature
            )
        return pb.IssueTokenResponse(token=token, valid_for=to_duration(issuer.token_seconds))

    def _require_issuer(self) -> TokenIssuer:
        if self._issuer is None:
            raise ConfigError(
                "this shard issues no tokens, because VENDOR_KEYS is unset: get one from the "
                "operator of the fleet"
            )
        return self._issuer
