"""What happens around every call: who calls, may they, and errors as google.rpc.Status.

Nothing passes by it: services are written as if only permitted, well-formed calls existed, and raise the
errors of the contract.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError

from cloison.errors import CloisonError, InvalidIntent
from controller.api import auth, errors

log = structlog.get_logger(__name__)


class _Malformed:
    """Stands for a request whose bytes are no message of the type the method takes."""


def _tolerant(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """Defer a decoding error into the handler, where it becomes the caller's INVALID_ARGUMENT."""
    if deserialize is None:
        return None

    def decode(data: bytes) -> Any:
        try:
            return deserialize(data)
        except (DecodeError, ValueError):
            return _Malformed()

    return decode


def _well_formed(request: Any) -> Any:
    if isinstance(request, _Malformed):
        raise InvalidIntent.of("(request)", "(bytes)", "a message of the type that the method takes")
    return request


class Gate(grpc.aio.ServerInterceptor):  # type: ignore[type-arg] # generic in the stubs only
    """Authenticates, authorises and translates errors, for every method of every service."""

    def __init__(self, authenticate: auth.Authenticator) -> None:
        self._authenticate = authenticate

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the method's handler with the checks in front."""
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            return None
        method = str(handler_call_details.method)
        wrap = self._wrap_stream if handler.response_streaming else self._wrap_unary
        make = _MAKERS[handler.request_streaming, handler.response_streaming]
        original = (
            handler.stream_stream or handler.stream_unary or handler.unary_stream or handler.unary_unary
        )
        return make(
            wrap(original, method, handler.request_streaming),
            request_deserializer=_tolerant(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    def _admit(self, context: Any, method: str, request: Any, streaming: bool) -> Any:
        caller = self._authenticate(context)
        rule = auth.check_role(caller, method)
        auth.set_current_caller(caller)
        if streaming:
            return _checked_stream(request)
        auth.check_request(caller, rule, _well_formed(request))
        return request

    def _wrap_unary(self, original: Any, method: str, streaming: bool) -> Any:
        async def call(request: Any, context: Any) -> Any:
            try:
                return await original(self._admit(context, method, request, streaming), context)
            except Exception as error:  # noqa: BLE001 - the border: what is unexpected is logged with its traceback
                await self._refuse(error, context, method)

        return call

    def _wrap_stream(self, original: Any, method: str, streaming: bool) -> Any:
        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                admitted = self._admit(context, method, request, streaming)
                if inspect.isasyncgenfunction(original):
                    async with aclosing(original(admitted, context)) as responses:
                        async for response in responses:
                            yield response
                else:  # writes to the context itself, as the health service does
                    await original(admitted, context)
            except Exception as error:  # noqa: BLE001 - as above
                await self._refuse(error, context, method)

        return call

    async def _refuse(self, error: Exception, context: Any, method: str) -> None:
        # A handler that aborted by itself has said what it wanted to say.
        if isinstance(error, grpc.aio.AbortError):
            raise error
        if isinstance(error, CloisonError):
            code, status = errors.to_status(error)
            log.info("refused", method=method, code=code.name, reason=str(error), peer=context.peer())
        elif isinstance(error, NotImplementedError):
            code, status = errors.unimplemented(method)
        else:
            code, status = errors.unexpected(error, method)
        await errors.abort(context, code, status)


async def _checked_stream(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _well_formed(request)


_MAKERS: dict[tuple[bool, bool], Any] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
