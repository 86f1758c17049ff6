"""A client of the service, for the command line, for tests and for programs.

It bears with a server that restarts and with connections that break: what was acknowledged is never sent twice, and
each logged response is yielded once.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from orchestrator.api import messages as pb
from orchestrator.api.calling import traced
from orchestrator.api.gen.reelsift.v1.analysis_pb2_grpc import AnalysisServiceStub
from orchestrator.api.gen.reelsift.v1.search_pb2_grpc import SearchServiceStub
from orchestrator.api.limits import MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES
from orchestrator.api.link import Link, Responses
from orchestrator.api.model_client import ModelClient
from orchestrator.api.operations_client import OperationsClient
from orchestrator.api.patience import PATIENT, Patience
from orchestrator.api.sending import CHUNK_BYTES, file_source, read_chunks, stream_source
from orchestrator.api.status import ClientError, client_error

__all__ = ["AnalysisOptions", "ClientError", "Patience", "ReelsiftClient", "connect", "read_chunks"]

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
    ("grpc.max_send_message_length", MAX_REQUEST_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),  # our own patience paces the tries
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


@dataclass(frozen=True, slots=True)
class AnalysisOptions:
    """How to analyse. ``timeout``: seconds until it must have ended. ``request_id``: one is made up where it is empty.

    ``cancel_on_disconnect``: the analysis ends with the call, so a lost connection is not taken up again.
    """

    profile: str = ""
    analyzers: Sequence[str] = ()
    request_id: str = ""
    priority: int = 0
    timeout: float | None = None
    tenant: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    cancel_on_disconnect: bool = False
    ignore_known: bool = False

    def config(self, *, path: str | None = None, content_length: int | None = None) -> pb.AnalysisConfig:
        """The configuration for a file of the server, or without ``path`` for an upload."""
        config = pb.AnalysisConfig(
            profile=self.profile,
            analyzers=self.analyzers,
            request_id=self.request_id or uuid.uuid4().hex,
            priority=self.priority,
            tenant=self.tenant,
            labels=self.labels,
            cancel_on_disconnect=self.cancel_on_disconnect,
            ignore_known=self.ignore_known,
        )
        if path is None:
            config.upload.CopyFrom(pb.Upload(content_length=content_length))
        else:
            config.path = path
        return config

    def deadline(self) -> float | None:
        """When it must have ended, by the monotonic clock, if it begins now."""
        return None if self.timeout is None else time.monotonic() + self.timeout


class ReelsiftClient:
    """Calls a server. Every method raises :class:`ClientError`.

    A server that never answered yet is not waited for: most likely its address is wrong. ``timeout``: seconds for a
    call that answers at once.
    """

    def __init__(self, channel: grpc.aio.Channel, patience: Patience = PATIENT, timeout: float | None = 60.0) -> None:
        channel = traced(channel)
        self._stub = AnalysisServiceStub(channel)
        self._search = SearchServiceStub(channel)
        self._link = Link(self._stub, patience, timeout)
        self._timeout = timeout
        self.models = ModelClient(channel, self._link, timeout)
        self.operations = OperationsClient(channel, self._link, timeout)

    # --- analyse, and follow it ---

    def analyze_path(self, path: str, options: AnalysisOptions = AnalysisOptions()) -> Responses:
        """Analyse a file that the server can read itself."""
        return self._link.analyze(options.config(path=path), None, options.deadline())

    def analyze_file(
        self,
        path: Path,
        options: AnalysisOptions = AnalysisOptions(),
        *,
        chunk_bytes: int = CHUNK_BYTES,
        bytes_per_second: float | None = None,
    ) -> Responses:
        """Upload ``path``, at no more than ``bytes_per_second``, and analyse it meanwhile. Raises ``OSError`` too."""
        source = file_source(path, chunk_bytes, bytes_per_second)
        return self._link.analyze(options.config(content_length=source.size), source, options.deadline())

    def analyze_stream(
        self,
        data: AsyncIterator[bytes],
        options: AnalysisOptions = AnalysisOptions(),
        *,
        content_length: int | None = None,
    ) -> Responses:
        """Upload ``data`` as it comes and analyse it meanwhile. It can be sent once only: a loss in its midst is an error."""
        source = stream_source(data, content_length)
        return self._link.analyze(options.config(content_length=content_length), source, options.deadline())

    def watch(self, analysis_id: str, after_sequence: int = 0) -> Responses:
        """The responses of an analysis with a sequence above ``after_sequence``, each once, through whatever breaks."""
        return self._link.watch(analysis_id, after_sequence)

    async def upload(self, analysis_id: str, path: Path, **how: Any) -> pb.UploadProgress:
        """Send what is missing of an analysis' upload, from ``path``. ``how``: as in :meth:`analyze_file`."""
        return await self._link.upload(analysis_id, file_source(path, **how))

    # --- one question, one answer ---

    async def create(self, config: pb.AnalysisConfig) -> pb.CreateAnalysisResponse:
        """Create an analysis (see :meth:`AnalysisOptions.config`). Its request_id makes sure that it is one."""
        return await self._link.ask(self._stub.CreateAnalysis, pb.CreateAnalysisRequest(config=config))

    async def estimate(self, config: pb.AnalysisConfig) -> pb.Estimate:
        """What an analysis would be and take."""
        request = pb.CreateAnalysisRequest(config=config, dry_run=True)
        return (await self._link.ask(self._stub.CreateAnalysis, request)).estimate

    async def get(self, analysis_id: str) -> pb.Analysis:
        """The present state of an analysis."""
        return (await self._link.ask(self._stub.GetAnalysis, pb.GetAnalysisRequest(analysis_id=analysis_id))).analysis

    async def list(self, query: pb.ListAnalysesRequest | None = None) -> AsyncIterator[pb.Analysis]:
        """Analyses, newest first, page after page."""
        request = pb.ListAnalysesRequest()
        request.CopyFrom(query or request)
        while True:
            page = await self._link.ask(self._stub.ListAnalyses, request)
            for analysis in page.analyses:
                yield analysis
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def cancel(self, analysis_id: str) -> None:
        """Stop an analysis."""
        await self._link.ask(self._stub.CancelAnalysis, pb.CancelAnalysisRequest(analysis_id=analysis_id))

    async def retry(self, analysis_id: str, *, analyzer: str | None = None, whole: bool = False) -> pb.Analysis:
        """A new analysis of the same source: of everything, of one analyzer, or else of what failed or has changed.

        Its answer may be lost with the connection; then it is not asked again, which would make another one.
        """
        request = pb.RetryAnalysisRequest(analysis_id=analysis_id)
        if whole:
            request.whole = True
        elif analyzer is not None:
            request.analyzer = analyzer
        else:
            request.failed_analyzers = True
        try:
            return (await self._stub.RetryAnalysis(request, timeout=self._timeout)).analysis
        except grpc.aio.AioRpcError as error:
            raise client_error(error) from None

    async def delete(self, analysis_id: str) -> None:
        """Forget an ended analysis."""
        await self._link.ask(self._stub.DeleteAnalysis, pb.DeleteAnalysisRequest(analysis_id=analysis_id))

    async def export(self, analysis_id: str, file_format: str) -> AsyncIterator[bytes]:
        """The results of an ended analysis as a file in ``file_format``, such as "jsonl", in pieces."""
        name = f"EXPORT_FORMAT_{file_format.upper()}"
        if name not in pb.ExportFormat.keys():  # noqa: SIM118 - the enum's wrapper is no mapping
            raise ClientError(
                f"there is no format {file_format!r}", reason="INVALID_REQUEST", grpc_code="INVALID_ARGUMENT"
            )
        call = self._stub.ExportAnalysis(
            pb.ExportAnalysisRequest(analysis_id=analysis_id, format=pb.ExportFormat.Value(name))
        )
        try:
            async for response in call:
                yield response.data
        except grpc.aio.AioRpcError as error:
            raise client_error(error) from None
        finally:
            call.cancel()

    async def search(self, request: pb.SearchRequest) -> pb.SearchResponse:
        """A page of segments."""
        return await self._link.ask(self._search.Search, request)


@asynccontextmanager
async def connect(
    address: str, patience: Patience = PATIENT, timeout: float | None = 60.0
) -> AsyncIterator[ReelsiftClient]:
    """A client of the server at ``address`` (``HOST:PORT`` or ``unix:PATH``)."""
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        yield ReelsiftClient(channel, patience, timeout)
