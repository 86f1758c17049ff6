"""Every error of the tree has its status, and a client reads the same out of it."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from orchestrator import errors
from orchestrator.api.status import DETAILS_KEY, DOMAIN, AnalysisFailed, client_error, code_of, reason_of, status_of
from orchestrator.core.results import Failed


def tree(root: type[errors.ReelsiftError]) -> list[type[errors.ReelsiftError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in tree(child))]


TREE = [kind for kind in tree(errors.ReelsiftError) if kind.__module__ == errors.__name__]


def received(status: status_pb2.Status) -> grpc.aio.AioRpcError:
    trailers = grpc.aio.Metadata((DETAILS_KEY, status.SerializeToString()))
    return grpc.aio.AioRpcError(code_of(status), grpc.aio.Metadata(), trailers, status.message)


def test_the_tree_is_all_there() -> None:
    assert len(TREE) >= 20
    assert {"MEDIA_UNREADABLE", "QUEUE_FULL", "DRAINING"} <= {kind.reason for kind in TREE}


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_every_error_of_the_tree(kind: type[errors.ReelsiftError]) -> None:
    status = status_of(kind("what went wrong", limit=5))
    assert code_of(status) is grpc.StatusCode[kind.grpc_code]
    assert status.message == "what went wrong"
    details = {detail.TypeName(): detail for detail in status.details}
    info = error_details_pb2.ErrorInfo()
    assert details["google.rpc.ErrorInfo"].Unpack(info)
    assert (info.reason, info.domain, dict(info.metadata)) == (kind.reason, DOMAIN, {"limit": "5"})
    assert ("google.rpc.RetryInfo" in details) == kind.retryable
    seen = client_error(received(status))
    assert (str(seen), seen.reason, seen.grpc_code) == ("what went wrong", kind.reason, kind.grpc_code)
    assert seen.detail == {"limit": "5"}
    assert (seen.retry_after is not None) == kind.retryable


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_a_failed_event_has_the_status_of_its_error(kind: type[errors.ReelsiftError]) -> None:
    event = Failed(kind.reason, kind.grpc_code, "what went wrong", kind.retryable, (("limit", "5"),))
    assert status_of(AnalysisFailed(event)) == status_of(kind("what went wrong", limit=5))


def test_an_unexpected_error_tells_nothing() -> None:
    status = status_of(ZeroDivisionError("native text of /some/path"))
    assert code_of(status) is grpc.StatusCode.INTERNAL
    assert reason_of(status) == "INTERNAL"
    assert "native" not in str(status)


@pytest.mark.parametrize("trailers", [(), ((DETAILS_KEY, b"\xff\xff not a status"),), (("other-bin", b"x"),)])
def test_a_status_without_our_details_has_its_code_as_reason(trailers: tuple[tuple[str, bytes], ...]) -> None:
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), "no route"
    )
    seen = client_error(error)
    assert (seen.reason, seen.grpc_code, str(seen)) == ("UNAVAILABLE", "UNAVAILABLE", "no route")
