"""Errors on the wire: one gRPC status with google.rpc details for each error of the tree, and back.

A status carries ``ErrorInfo`` (the stable reason, domain ``reelsift.dev``, the error's plain facts) and, where a retry
can help, ``RetryInfo``. An error from outside the tree becomes a bare ``INTERNAL``: nothing native reaches the client.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

from orchestrator.core.results import Failed
from orchestrator.errors import InternalError, ReelsiftError

DOMAIN = "reelsift.dev"
DETAILS_KEY = "grpc-status-details-bin"  # where every gRPC library looks for google.rpc.Status
RETRY_AFTER_SECONDS = 2


class AnalysisFailed(Exception):
    """The log of an analysis ended with ``event``: its stream ends with the same status."""

    def __init__(self, event: Failed) -> None:
        super().__init__(event.message)
        self.event = event


class ClientError(Exception):
    """An error status that a server sent. ``str(error)`` is its message; ``detail`` its plain facts.

    ``typed``: it is one of ours; else a proxy's, or of the connection itself.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        grpc_code: str,
        detail: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        typed: bool = True,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.grpc_code = grpc_code
        self.detail = dict(detail or {})
        self.retry_after = retry_after
        self.typed = typed


def status_of(error: BaseException) -> status_pb2.Status:
    """The status that a call ends with when ``error`` was raised in it."""
    match error:
        case AnalysisFailed(event=event):
            return _status(event.grpc_code, event.reason, event.message, dict(event.detail), event.retryable)
        case ReelsiftError():
            return _status(error.grpc_code, error.reason, str(error), error.detail, error.retryable)
        case _:
            return status_of(InternalError("internal error; the server's log says more"))


def _status(code: str, reason: str, message: str, metadata: Mapping[str, str], retryable: bool) -> status_pb2.Status:
    status = status_pb2.Status(code=code_pb2.Code.Value(code), message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata))
    if retryable:
        delay = Duration(seconds=RETRY_AFTER_SECONDS)
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def code_of(status: status_pb2.Status) -> grpc.StatusCode:
    """The gRPC code of ``status``."""
    return grpc.StatusCode[code_pb2.Code.Name(status.code)]


def reason_of(status: status_pb2.Status) -> str:
    """The stable reason in ``status``; empty without an ``ErrorInfo``."""
    info = error_details_pb2.ErrorInfo()
    return next((info.reason for detail in status.details if detail.Unpack(info)), "")


async def abort(context: grpc.aio.ServicerContext[Any, Any], status: status_pb2.Status) -> NoReturn:
    """End the call with ``status``."""
    await context.abort(code_of(status), status.message, ((DETAILS_KEY, status.SerializeToString()),))


def client_error(error: grpc.aio.AioRpcError) -> ClientError:
    """What ``error`` says. A status without our details (a proxy's, or no server at all) has its code as its reason."""
    code = error.code().name
    reason, detail, retry_after, typed = code, {}, None, False
    for key, value in error.trailing_metadata():
        if key != DETAILS_KEY:
            continue
        try:
            status = status_pb2.Status.FromString(value if isinstance(value, bytes) else value.encode())
        except DecodeError:
            continue
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        for packed in status.details:
            if packed.Unpack(info):
                reason, detail, typed = info.reason, dict(info.metadata), True
            elif packed.Unpack(retry):
                retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    message = error.details() or code
    return ClientError(message, reason=reason, grpc_code=code, detail=detail, retry_after=retry_after, typed=typed)
