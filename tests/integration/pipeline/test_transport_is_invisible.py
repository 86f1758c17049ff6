"""Whether a model answers inside this process or in Triton, next to whichever other pictures: the answer is the same."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from orchestrator.adapters.triton.connection import Connection
from orchestrator.core.results import Finished, SegmentClosed
from orchestrator.ports import Inference
from orchestrator.settings import Settings
from tests.integration.pipeline.conftest import Parts
from tests.media import clips
from tests.support.ort_inference import OrtInference

pytestmark = pytest.mark.asyncio(loop_scope="module")

FREE = {"shots": 100, "text_recognition": 320}  # the free side of a model: frames of a window, pixels of a line
SPARE = 0.02  # of the tensors' bytes: what messages about them may take


@dataclass
class Traffic:
    """What crossed between client and Triton in protobuf."""

    calls: int = 0
    raw_bytes: int = 0
    message_bytes: int = 0
    tensor_bytes: int = 0
    models: set[str] = field(default_factory=set)


@pytest.fixture
def traffic(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> Traffic:
    """Every message of every inference of our Triton, seen where it leaves and where it comes in. Other tests' clients
    may be probing theirs, inline.
    """
    seen, plain = Traffic(), Connection.infer

    async def infer(self: Connection, request: service_pb2.ModelInferRequest) -> service_pb2.ModelInferResponse:
        response = await plain(self, request)
        if self is not parts.triton._supervisor._connection:  # type: ignore[attr-defined]
            return response
        seen.calls += 1
        seen.models.add(request.model_name)
        seen.raw_bytes += sum(map(len, (*request.raw_input_contents, *response.raw_output_contents)))
        seen.raw_bytes += sum(tensor.contents.ByteSize() for tensor in (*request.inputs, *response.outputs))
        seen.message_bytes += request.ByteSize() + response.ByteSize()
        for tensor in (*request.inputs, *request.outputs):
            seen.tensor_bytes += tensor.parameters["shared_memory_byte_size"].int64_param
        return response

    monkeypatch.setattr(Connection, "infer", infer)
    return seen


async def test_an_analysis_is_the_same_without_triton(parts: Parts, short: Path, traffic: Traffic) -> None:
    """And on one host no tensor travels in protobuf."""
    direct = OrtInference(parts.settings.model_repository)
    ours = await parts.analyse(parts.triton, short)
    theirs = await parts.analyse(direct, short)
    assert isinstance(ours[-1], Finished), ours[-1]
    segments = [event.segment for event in ours if isinstance(event, SegmentClosed)]
    assert segments == [event.segment for event in theirs if isinstance(event, SegmentClosed)]
    assert len(segments) == 2
    assert traffic.calls > 20
    assert traffic.models >= {"shots", "labels", "objects", "moderation", "text_detection", "text_recognition", "faces"}
    assert traffic.raw_bytes == 0
    assert traffic.message_bytes < SPARE * traffic.tensor_bytes


def manifests() -> dict[str, dict[str, Any]]:
    """The exported models."""
    found = sorted(Settings().model_repository.glob("*/1/manifest.json"))
    return {path.parent.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in found}


MODELS = ["shots", "labels", "objects", "moderation", "faces", "face_embedding"]
MODELS += ["text_detection", "text_recognition", "text_orientation"]


def footage(model: str) -> NDArray[np.uint8]:
    """Two whole batches of different frames of the real clips, in the shape that the model takes."""
    manifest = manifests()[model]
    (tensor,) = manifest["inputs"]
    *frames, height, width, _ = (FREE.get(model, 0) if side < 0 else side for side in tensor["dims"])
    wanted = 2 * manifest["max_batch_size"] * math.prod(frames)
    source = islice(cycle(chain(clips.pictures("carphone_pristine"), clips.pictures("bikes", 106))), 0, None, 7)
    shown = [cv2.resize(next(source), (width, height), interpolation=cv2.INTER_AREA) for _ in range(wanted)]
    return np.stack(shown).reshape(2, manifest["max_batch_size"], *frames, height, width, 3)


async def infer(
    inference: Inference, model: str, batch: NDArray[np.uint8], rows: int | None = None
) -> Mapping[str, NDArray[Any]]:
    free = {
        output["name"]: tuple(FREE[model] if side < 0 else side for side in output["dims"])
        for output in manifests()[model]["outputs"]
        if min(output["dims"]) < 0
    }
    outputs = await inference.infer(model, {"frames": batch}, output_dims=free or None, rows=rows)
    return {name: np.asarray(value) for name, value in outputs.items()}


async def test_every_model_of_pictures_is_tested() -> None:
    pictures = {name for name, manifest in manifests().items() if manifest["inputs"][0]["name"] == "frames"}
    assert set(MODELS) == pictures


@pytest.mark.parametrize("model", MODELS)
async def test_a_rows_answer_does_not_depend_on_its_neighbours(parts: Parts, model: str) -> None:
    """Bit for bit, through Triton: at every place of the batch, among other rows, and with fewer of them."""
    await parts.triton.ready([model])
    batch, mixed = footage(model)
    first = await infer(parts.triton, model, batch)
    rows = len(batch)
    order = np.roll(np.arange(rows), 3)
    moved = await infer(parts.triton, model, np.ascontiguousarray(batch[order]))
    mixed[-1] = batch[0]
    among = await infer(parts.triton, model, mixed)
    fewer = {count: await infer(parts.triton, model, batch, rows=count) for count in {1, -(-rows // 2), rows}}
    for name, value in first.items():
        assert value.shape[0] == rows
        for count, answer in fewer.items():
            assert count <= answer[name].shape[0] <= min(rows, count + 1)
            np.testing.assert_array_equal(answer[name][:count], value[:count], err_msg=f"{name}: {count} rows")
        np.testing.assert_array_equal(moved[name], value[order], err_msg=f"{name}: another place")
        np.testing.assert_array_equal(among[name][-1], value[0], err_msg=f"{name}: other neighbours")
    if rows > 1:
        assert any(not np.array_equal(value[0], value[1]) for value in first.values()), "different pictures, one answer"
    direct = OrtInference(parts.settings.model_repository)
    await direct.ready([model])
    for name, value in (await infer(direct, model, batch)).items():
        np.testing.assert_array_equal(value, first[name], err_msg=f"{name}: without Triton")
