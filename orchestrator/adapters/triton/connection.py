"""The gRPC calls that reelsift makes to one Triton, over the raw generated stub.

``tritonclient``'s own ``InferInput`` objects and result wrappers are not used: see ``transport.py`` for what that
saves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from urllib.request import urlopen

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2, service_pb2_grpc

from orchestrator import tracing
from orchestrator.adapters.frames.arena import GPU_SUFFIX, Arena
from orchestrator.adapters.triton import contract
from orchestrator.adapters.triton.contract import ModelContract
from orchestrator.adapters.triton.server import Endpoint
from orchestrator.errors import InferenceUnavailable

_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A restarted server is tried again at once, not after gRPC's backoff of seconds.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
)
_CONTROL_TIMEOUT_S = 10.0
_PAGE_TIMEOUT_S = 5.0  # whoever scrapes waits no longer
_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.NOT_FOUND)
_DEAD_STUB = "is not healthy"  # Triton's words: "Stub process 'labels_0_1' is not healthy."


def has_dead_stub(error: grpc.RpcError) -> bool:
    """Whether the server says that the process of the model is dead."""
    return _DEAD_STUB in (error.details() or "")


def is_lost(error: grpc.RpcError) -> bool:
    """Whether the model itself gave no answer, so that the same request may succeed later; else it refused."""
    return has_dead_stub(error) or error.code() in _LOST


def words(error: Exception) -> str:
    """What ``error`` says, for the log."""
    if isinstance(error, grpc.RpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error) or type(error).__name__


class ChannelClosed(grpc.RpcError):
    """This side closed the channel: what a request that was under way has come to is unknown."""

    def code(self) -> grpc.StatusCode:
        """As for a channel that the other side closed."""
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        """For the log."""
        return "the channel was closed"


class Connection:
    """A channel to one server process. ``over`` is set once that process has certainly ended: it touches no memory
    any more.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._channel = grpc.aio.insecure_channel(endpoint.target, options=_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self.over = asyncio.Event()

    async def infer(self, request: service_pb2.ModelInferRequest) -> service_pb2.ModelInferResponse:
        """One inference without a deadline: its memory is free only when the server has answered. Raises
        ``grpc.RpcError``. A Triton that traces to OpenTelemetry goes on with our trace.
        """
        span = tracing.traceparent()
        with _typed():
            response: service_pb2.ModelInferResponse = await self._stub.ModelInfer(
                request, metadata=(("traceparent", span),) if span else None
            )
        return response

    async def live(self, timeout_s: float) -> None:
        """Return once the server answers, trying for ``timeout_s`` seconds; raises ``grpc.RpcError``."""
        with _typed():
            await self._stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=timeout_s, wait_for_ready=True)

    async def release(self) -> str:
        """The server's version."""
        with _typed():
            answer = await self._stub.ServerMetadata(service_pb2.ServerMetadataRequest(), timeout=_CONTROL_TIMEOUT_S)
        return str(answer.version)

    async def model_ready(self, model: str) -> bool:
        """Whether the server says that ``model`` is ready (an embedded one says so of a model whose stub is dead)."""
        with _typed():
            answer = await self._stub.ModelReady(service_pb2.ModelReadyRequest(name=model), timeout=_CONTROL_TIMEOUT_S)
        return bool(answer.ready)

    async def load(self, model: str, timeout_s: float, config: str = "") -> None:
        """Load ``model``, with ``config`` (JSON) in place of its own; one that is loaded so already stays as it is."""
        request = service_pb2.RepositoryModelLoadRequest(model_name=model)
        if config:
            request.parameters["config"].string_param = config
        with _typed():
            await self._stub.RepositoryModelLoad(request, metadata=self._endpoint.header, timeout=timeout_s)

    async def unload(self, model: str) -> None:
        """Begin to unload ``model``; requests that it has taken are answered first."""
        request = service_pb2.RepositoryModelUnloadRequest(model_name=model)
        with _typed():
            await self._stub.RepositoryModelUnload(request, metadata=self._endpoint.header, timeout=_CONTROL_TIMEOUT_S)

    async def contract(self, model: str) -> ModelContract:
        """What the loaded ``model`` takes and gives, of its newest version."""
        with _typed():
            metadata = await self._stub.ModelMetadata(
                service_pb2.ModelMetadataRequest(name=model), timeout=_CONTROL_TIMEOUT_S
            )
        request = service_pb2.ModelConfigRequest(name=model)
        with _typed():
            answer = await self._stub.ModelConfig(request, metadata=self._endpoint.header, timeout=_CONTROL_TIMEOUT_S)
        return contract.from_config(answer.config, max(metadata.versions, key=int))

    async def regions(self) -> list[str]:
        """Names of the shared memory that the server has mapped."""
        request = service_pb2.SystemSharedMemoryStatusRequest()
        with _typed():
            answer = await self._stub.SystemSharedMemoryStatus(
                request, metadata=self._endpoint.header, timeout=_CONTROL_TIMEOUT_S
            )
        return list(answer.regions)

    async def unregister(self, name: str, *, on_gpu: bool) -> None:
        """Have the server let go of the arena ``name``, and of its memory on a GPU; nothing happens where it has neither."""
        metadata, timeout = self._endpoint.header, _CONTROL_TIMEOUT_S
        here = service_pb2.SystemSharedMemoryUnregisterRequest(name=name)
        there = service_pb2.CudaSharedMemoryUnregisterRequest(name=f"{name}{GPU_SUFFIX}")
        with _typed():
            await self._stub.SystemSharedMemoryUnregister(here, metadata=metadata, timeout=timeout)
            if on_gpu:
                await self._stub.CudaSharedMemoryUnregister(there, metadata=metadata, timeout=timeout)

    async def register(self, arena: Arena) -> None:
        """Let the server map ``arena``, under its own name, and its memory on a GPU."""
        request = service_pb2.SystemSharedMemoryRegisterRequest(
            name=arena.name, key=f"/{arena.name}", byte_size=arena.nbytes
        )
        with _typed():
            await self._stub.SystemSharedMemoryRegister(
                request, metadata=self._endpoint.header, timeout=_CONTROL_TIMEOUT_S
            )

        if arena.gpu is not None:
            there = service_pb2.CudaSharedMemoryRegisterRequest(
                name=f"{arena.name}{GPU_SUFFIX}",
                raw_handle=arena.gpu.handle,
                device_id=arena.gpu.ordinal,
                byte_size=arena.nbytes,
            )
            with _typed():
                await self._stub.CudaSharedMemoryRegister(
                    there, metadata=self._endpoint.header, timeout=_CONTROL_TIMEOUT_S
                )

    async def metrics(self) -> str:
        """The server's Prometheus page; empty where its address is not known. Raises ``InferenceUnavailable``."""
        url = self._endpoint.metrics_url
        try:
            return await asyncio.to_thread(_get, url) if url else ""
        except (OSError, HTTPException) as error:
            raise InferenceUnavailable("Triton's page of metrics does not answer") from error

    async def close(self) -> None:
        """Close the channel; what still waits on it fails."""
        await self._channel.close()


@contextmanager
def _typed() -> Iterator[None]:
    """gRPC's two ways of saying that the channel is closed, as an error of its own tree."""
    try:
        yield
    except asyncio.CancelledError:
        # Closing the channel cancels its calls; only a cancelled task may go on as one.
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        raise ChannelClosed() from None
    except grpc.aio.UsageError as error:
        raise ChannelClosed() from error


def _get(url: str) -> str:
    with urlopen(url, timeout=_PAGE_TIMEOUT_S) as page:
        return str(page.read().decode())
