"""How tensors travel to Triton and back: by reference into shared memory on one host, inline to a remote one.

Both make one attempt; ``client.py`` retries. A request's memory is pinned until Triton has certainly finished with
it: when it answered, or when its process ended. A caller that is cancelled or gives up leaves the request running,
and the memory pinned, until then.

Requests are protobuf messages on the raw stub, built once per signature and reused with new offsets.
Measured, CPU microseconds of the client per request (one UINT8 input and one FP32 output by reference, unix
socket, two in flight, uvloop, three rounds on a busy machine): grpc.aio alone with a ready message 246-294,
with ``tritonclient.grpc.aio``'s objects 268-283, an attempt here 340-425, of which 45 are checks, pins,
layout, the own task and the copies of outputs. So gRPC itself is the cost; the raw stub is used for exact
status codes and reusable messages, not because it is much cheaper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import grpc
import numpy as np
from tritonclient.grpc import service_pb2

from orchestrator.adapters.frames.arena import Arena, ArenaSlot
from orchestrator.adapters.triton.connection import Connection
from orchestrator.adapters.triton.contract import ModelContract, TensorSpec
from orchestrator.core.frames import Slot
from orchestrator.ports import Outputs, Tensor

_ALIGN = 64
_SIGNATURES_KEPT = 64
_QUARANTINE_S = 120.0
#: with these the server itself may not have answered: the channel may have broken while the request runs on
_UNANSWERED = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Call:
    """One request, checked against its model's contract: full shapes of inputs and (bounds of) outputs."""

    contract: ModelContract
    inputs: Mapping[str, Slot | Tensor]
    input_shapes: Shapes
    output_shapes: Shapes

    @classmethod
    def check(
        cls,
        contract: ModelContract,
        inputs: Mapping[str, Slot | Tensor],
        shapes: Shapes | None = None,
        output_dims: Shapes | None = None,
        rows: int | None = None,
    ) -> Call:
        """Raises ``ValueError`` for a name, dtype, shape or number of ``rows`` that the model does not have, or a slot that is too
        small.
        """
        if inputs.keys() != contract.inputs.keys():
            raise ValueError(f"{contract.name} takes {sorted(contract.inputs)}, got {sorted(inputs)}")
        full = {
            name: _input_shape(contract, contract.inputs[name], value, (shapes or {}).get(name), rows)
            for name, value in inputs.items()
        }
        bounds = output_dims or {}
        outputs = {
            name: contract.shape(spec.bounded(bounds.get(name)), rows) for name, spec in contract.outputs.items()
        }
        return cls(contract, inputs, full, outputs)

    def carried(self, name: str) -> Tensor:
        """The part of input ``name`` that is sent, where it is sent by value."""
        value, shape = self.inputs[name], self.input_shapes[name]
        if isinstance(value, np.ndarray):
            return value[: shape[0]] if self.contract.max_batch else value
        return value.array(shape, self.contract.inputs[name].dtype.name)


def _input_shape(
    contract: ModelContract, spec: TensorSpec, value: Slot | Tensor, shape: tuple[int, ...] | None, rows: int | None
) -> tuple[int, ...]:
    if isinstance(value, np.ndarray):
        if value.dtype != spec.dtype:
            raise ValueError(f"{contract.name} takes {spec.name} as {spec.dtype}, got {value.dtype}")
        shape = value.shape
    full = contract.shape(spec.bounded(contract.dims(shape) if shape is not None else None), rows)
    if value.nbytes < spec.nbytes(full):
        raise ValueError(f"{spec.name} of {contract.name} is {spec.nbytes(full)} bytes, the slot {value.nbytes}")
    return full


class Transport(Protocol):
    """Carries one attempt of one call."""

    async def attempt(self, connection: Connection, call: Call, ended: Callable[[], None]) -> Outputs:
        """Outputs as owned arrays. ``ended`` is called once, when the server is done with the request, which may
        be after a cancelled caller has left. Raises ``grpc.RpcError``."""
        ...


class InlineTransport:
    """Tensors as raw bytes in the messages: for a Triton on another host."""

    async def attempt(self, connection: Connection, call: Call, ended: Callable[[], None]) -> Outputs:
        """See ``Transport``."""
        request = service_pb2.ModelInferRequest(model_name=call.contract.name, model_version=call.contract.version)
        for name, spec in call.contract.inputs.items():
            request.inputs.add(name=name, datatype=spec.datatype, shape=call.input_shapes[name])
            request.raw_input_contents.append(call.carried(name).tobytes())
        try:
            response = await connection.infer(request)
        finally:
            ended()
        raw = zip(response.outputs, response.raw_output_contents, strict=True)
        return {
            output.name: np.frombuffer(content, call.contract.outputs[output.name].dtype)
            .reshape(tuple(output.shape))
            .copy()
            for output, content in raw
        }


class SharedMemoryTransport:
    """Tensors by reference. ``scratch`` holds outputs and copied inputs; it is apart from the frame arena, so that
    decoders that fill that one can never starve the requests that would empty it."""

    def __init__(self, scratch: Arena) -> None:
        self.scratch = scratch
        self._lanes: dict[tuple[object, ...], list[_Lane]] = {}
        self._running: set[asyncio.Task[object]] = set()

    async def attempt(self, connection: Connection, call: Call, ended: Callable[[], None]) -> Outputs:
        """See ``Transport``."""
        try:
            layout = _Layout(call)
            space = await self.scratch.allocate(layout.nbytes)
        except BaseException:
            ended()
            raise
        task = asyncio.create_task(self._run(connection, call, layout, space, ended))
        self._running.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def _run(
        self, connection: Connection, call: Call, layout: _Layout, space: ArenaSlot, ended: Callable[[], None]
    ) -> Outputs:
        pinned: list[ArenaSlot] = []
        finished = True
        try:
            for value in call.inputs.values():
                if isinstance(value, ArenaSlot):
                    value.pin()
                    pinned.append(value)
            lane = self._lane(call)
            lane.point(call, layout, space, self.scratch.name)
            finished = False
            try:
                response = await connection.infer(lane.request)
            except grpc.RpcError as error:
                finished = error.code() not in _UNANSWERED or connection.over.is_set()
                raise
            finished = True
            self._lanes.setdefault(lane.signature, []).append(lane)
            return layout.read(call, space, response)
        finally:
            if finished:
                _unpin(pinned, space)
            else:
                self._keep(asyncio.create_task(_quarantine(connection, pinned, space)))
            ended()

    def _lane(self, call: Call) -> _Lane:
        signature = _signature(call)
        idle = self._lanes.get(signature)
        if idle:
            return idle.pop()
        if len(self._lanes) >= _SIGNATURES_KEPT:
            self._lanes.clear()
        return _Lane(signature, call)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._running.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[object]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # a caller that left does not ask for it


async def _quarantine(connection: Connection, slots: list[ArenaSlot], space: ArenaSlot) -> None:
    # A server that still lives then has refused the request without running it, or finished it long ago.
    with suppress(TimeoutError):
        await asyncio.wait_for(connection.over.wait(), _QUARANTINE_S)
    _unpin(slots, space)


def _unpin(slots: list[ArenaSlot], space: ArenaSlot) -> None:
    for slot in slots:
        slot.unpin()
    space.release()


class _Layout:
    """Where copied inputs and outputs lie in a request's scratch space: byte offsets, aligned for any dtype."""

    __slots__ = ("nbytes", "offsets")

    def __init__(self, call: Call) -> None:
        self.offsets: dict[tuple[str, str], tuple[int, int]] = {}
        self.nbytes = 0
        for name, value in call.inputs.items():
            if not isinstance(value, ArenaSlot):
                self._add("input", name, call.contract.inputs[name].nbytes(call.input_shapes[name]))
        for name, shape in call.output_shapes.items():
            self._add("output", name, call.contract.outputs[name].nbytes(shape))

    def _add(self, side: str, name: str, nbytes: int) -> None:
        self.offsets[side, name] = (self.nbytes, nbytes)
        self.nbytes += -(-max(1, nbytes) // _ALIGN) * _ALIGN

    def read(self, call: Call, space: ArenaSlot, response: service_pb2.ModelInferResponse) -> Outputs:
        """Copies of the outputs, in the shapes that the model gave them."""
        found = {}
        for output in response.outputs:
            view = space.array(
                tuple(output.shape),
                call.contract.outputs[output.name].dtype.name,
                self.offsets["output", output.name][0],
            )
            found[output.name] = view.copy()
        return found


class _Lane:
    """A request message of one signature; only its offsets change from use to use."""

    __slots__ = ("_input_offsets", "_output_offsets", "request", "signature")

    def __init__(self, signature: tuple[object, ...], call: Call) -> None:
        self.signature = signature
        contract = call.contract
        self.request = service_pb2.ModelInferRequest(model_name=contract.name, model_version=contract.version)
        self._input_offsets, self._output_offsets = {}, {}
        for name, spec in contract.inputs.items():
            shape = call.input_shapes[name]
            tensor = self.request.inputs.add(name=name, datatype=spec.datatype, shape=shape)
            self._input_offsets[name] = _reference(tensor.parameters, spec.nbytes(shape))
        for name, spec in contract.outputs.items():
            output = self.request.outputs.add(name=name)
            self._output_offsets[name] = _reference(output.parameters, spec.nbytes(call.output_shapes[name]))

    def point(self, call: Call, layout: _Layout, space: ArenaSlot, scratch: str) -> None:
        """Refer to this call's memory, copying inputs that are not in an arena into ``space``."""
        for name, (region, offset) in self._input_offsets.items():
            value = call.inputs[name]
            if isinstance(value, ArenaSlot):
                region.string_param, offset.int64_param = value.region, value.offset
                continue
            start = layout.offsets["input", name][0]
            array = call.carried(name)
            space.array(array.shape, array.dtype.name, start)[...] = array
            region.string_param, offset.int64_param = scratch, space.offset + start
        for name, (region, offset) in self._output_offsets.items():
            region.string_param, offset.int64_param = scratch, space.offset + layout.offsets["output", name][0]


def _reference(
    parameters: Mapping[str, service_pb2.InferParameter], nbytes: int
) -> tuple[service_pb2.InferParameter, ...]:
    parameters["shared_memory_byte_size"].int64_param = nbytes
    return parameters["shared_memory_region"], parameters["shared_memory_offset"]


def _signature(call: Call) -> tuple[object, ...]:
    contract = call.contract
    return (contract.name, contract.version, *call.input_shapes.items(), *call.output_shapes.items())
