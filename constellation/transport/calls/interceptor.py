"""The interceptor that wraps every method, unary and streaming alike."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from inspect import isasyncgenfunction
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

Behaviour = Callable[..., Any]
"""A servicer's method. It takes (request or requests, context) and returns an awaitable, or is an
async generator."""


class CallKind(StrEnum):
    """Which side of a call streams; the values are those of go-grpc-prometheus."""

    UNARY = "unary"
    SERVER_STREAM = "server_stream"
    CLIENT_STREAM = "client_stream"
    BIDI_STREAM = "bidi_stream"


Wrapper = Callable[[str, CallKind, Behaviour], Behaviour]
"""Takes a method's name, kind and behaviour, and returns the behaviour to use instead."""


class MethodInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method; the first of the wrappers is the outermost.

    `wrappers` are for the methods of our own services, `standard` for gRPC's own: health and
    reflection. Each method is wrapped once, not once per call.
    """

    def __init__(self, wrappers: Sequence[Wrapper], standard: Sequence[Wrapper] = ()) -> None:
        self._wrappers = wrappers
        self._standard = standard
        self._wrapped_handlers: dict[str, tuple[Any, Any]] = {}
        """By method: its handler, and the wrapped handler."""

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:  # what `continuation` returns
        handler: Any = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None:
            return handler
        cached = self._wrapped_handlers.get(method)
        if cached is None or cached[0] is not handler:
            cached = self._wrapped_handlers[method] = handler, self._wrap(method, handler)
        return cached[1]

    def _wrap(self, method: str, handler: Any) -> Any:
        behaviour, rebuild, kind = _split_handler(handler)
        decode = handler.request_deserializer
        if decode is not None and kind in {CallKind.UNARY, CallKind.SERVER_STREAM}:
            behaviour, decode = _decode_inside(behaviour, decode), None
        is_own = method.startswith("/constellation.")
        for wrap in reversed(self._wrappers if is_own else self._standard):
            behaviour = wrap(method, kind, behaviour)
        return rebuild(behaviour, decode, _pass_bytes(handler.response_serializer))


def _pass_bytes(encode: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Return an encoder that leaves a response as it is when a behaviour has encoded it already."""

    def pass_or_encode(response: Any) -> bytes:
        return response if type(response) is bytes else encode(response)

    return pass_or_encode


def _decode_inside(behaviour: Behaviour, decode: Callable[[bytes], Any]) -> Behaviour:
    """Return a behaviour that takes bytes, so that undecodable bytes fail inside all wrappers.

    Otherwise gRPC itself would answer, with a status without details, and no wrapper would see the
    call.
    """
    if isasyncgenfunction(behaviour):

        async def handle_stream(request: bytes, context: Any) -> Any:
            async for response in behaviour(decode(request), context):
                yield response

        return handle_stream

    async def handle(request: bytes, context: Any) -> Any:
        return await behaviour(decode(request), context)

    return handle


def _split_handler(handler: Any) -> tuple[Any, Any, CallKind]:
    """Return a handler's behaviour, a function that makes such a handler, and its kind."""
    kinds = (
        (handler.unary_unary, grpc.unary_unary_rpc_method_handler, CallKind.UNARY),
        (handler.unary_stream, grpc.unary_stream_rpc_method_handler, CallKind.SERVER_STREAM),
        (handler.stream_unary, grpc.stream_unary_rpc_method_handler, CallKind.CLIENT_STREAM),
        (handler.stream_stream, grpc.stream_stream_rpc_method_handler, CallKind.BIDI_STREAM),
    )
    return next(kind for kind in kinds if kind[0] is not None)
