"""The wrapper that lets a caller through only with a role that the method allows."""

from __future__ import annotations

from inspect import isasyncgenfunction
from typing import TYPE_CHECKING, Any, Final

import structlog

from constellation.auth.methods import HOUSEHOLD_METHODS, METHOD_ROLES
from constellation.auth.principal import CALLER, Principal
from constellation.errors import PermissionDeniedError, UnauthenticatedError

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

    from constellation.auth.tokens import TokenVerifier
    from constellation.transport.calls.interceptor import Behaviour, CallKind, Wrapper

log = structlog.get_logger(__name__)

_SCHEME: Final = "bearer "
_NOBODY: Final = Principal("nobody", frozenset())


def make_authorization(verifier: TokenVerifier) -> Wrapper:
    """Return a wrapper that checks the token of each call against METHOD_ROLES.

    CALLER then says who calls, in the task that gRPC makes for each call.
    """

    def authorize_calls(method: str, _: CallKind, behaviour: Behaviour) -> Behaviour:
        if isasyncgenfunction(behaviour):

            async def handle_stream(request: Any, context: ServicerContext[Any, Any]) -> Any:
                CALLER.set(authorize(verifier, method, read_token(context)))
                async for response in behaviour(request, context):
                    yield response

            return handle_stream

        async def handle(request: Any, context: ServicerContext[Any, Any]) -> Any:
            CALLER.set(authorize(verifier, method, read_token(context)))
            return await behaviour(request, context)

        return handle

    return authorize_calls


def read_token(context: ServicerContext[Any, Any]) -> str | None:
    """Return the bearer token of a call; None without one. Raises UnauthenticatedError for two."""
    values = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
    if not values:
        return None
    text = values[0]
    if len(values) > 1 or not isinstance(text, str) or not text.lower().startswith(_SCHEME):
        raise UnauthenticatedError("the metadata authorization must be one `Bearer` and a token")
    return text[len(_SCHEME) :].strip()


def authorize(verifier: TokenVerifier, method: str, token: str | None) -> Principal:
    """Return who makes a call.

    Raises UnauthenticatedError without a valid token, and PermissionDeniedError when none of its
    roles may call the method.
    """
    roles = METHOD_ROLES.get(method, frozenset())
    if roles is None:
        return _NOBODY
    if token is None:
        raise UnauthenticatedError(
            "this method needs a token: send it in the metadata authorization, as `Bearer` and the "
            "token"
        )
    caller = verifier.verify(token)
    if not caller.roles & roles:
        name = method.rpartition("/")[2]
        needed = " or ".join(sorted(roles)) or "no role at all"
        held = ", ".join(sorted(caller.roles)) or "no role"
        raise PermissionDeniedError(f"{name} needs the role {needed}; this token has {held}")
    if method in HOUSEHOLD_METHODS:
        log.info("household_read", method=method.rpartition("/")[2], caller=caller.subject)
    return caller
