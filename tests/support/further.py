"""Further versions of an exported model, made in a moment: the same network, whose scores are a hair smaller; and one in Python that
turns bad when it is told to.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf import text_format
from onnx import helper, numpy_helper
from tritonclient.grpc import model_config_pb2

from orchestrator.adapters.triton.server import _BACKENDS as BACKENDS
from orchestrator.settings import Settings

SMALLER = 0.998  # times; what one version says is never quite what the other one does


def further_version(model: Path, version: int, further: int, output: str = "scores") -> Path:
    """Make ``model``/``further`` of ``model``/``version``, as export would have left it: golden answers, digests, manifest."""
    old, new = model / str(version), model / str(further)
    new.mkdir()
    graph = onnx.load(old / "model.onnx")
    _scaled(graph, output)
    onnx.save(graph, new / "model.onnx")
    golden = np.load(old / "golden.npz", allow_pickle=False)
    np.savez(new / "golden.npz", **_answers(new / "model.onnx", golden))  # type: ignore[arg-type]
    for other in old.iterdir():
        if other.name not in ("model.onnx", "golden.npz", "manifest.json"):  # such as a tokenizer
            shutil.copy2(other, new)
    shutil.copy2(old / "manifest.json", new)
    sign(new, "model.onnx")
    return new


Make = Callable[[Path, int, int], object]
"""Makes a version of a model's folder of another one."""


def two_versions(folder: Path, model: str, make: Make = further_version) -> Path:
    """``folder``/models: a repository like ours, which also has a second version of ``model``."""
    repository, ours = folder / "models", Settings().model_repository

    def left_out(folder: str, names: list[str]) -> list[str]:
        """What is not built, and other versions of ``model``."""
        further = Path(folder).name == model
        return [name for name in names if name.startswith(".") or (further and name.isdecimal() and name != "1")]

    shutil.copytree(ours, repository, copy_function=os.link, ignore=left_out)
    make(repository / model, 1, 2)
    return repository


_TURNING = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, {backend!r})
import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as triton
import dlpack

class TritonPythonModel:
    def initialize(self, args):
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        file = Path(__file__).with_name("model.onnx")
        self.session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.names = [each.name for each in self.session.get_outputs()]
        self.kept = []

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        order = Path({order!r})
        how = order.read_text() if order.exists() else ""
        feeds = {{each.name: np.from_dlpack(triton.get_input_tensor_by_name(request, each.name)) for each in self.session.get_inputs()}}
        outputs = dict(zip(self.names, self.session.run(self.names, feeds)))
        if how == "crash":
            os.abort()
        if how == "hang":
            time.sleep(600)
        if how == "slow":
            time.sleep(1)
        if how == "leak":
            self.kept.append(np.ones(4 << 20, np.float64))
        if how == "wrong":
            outputs["classes"] = outputs["classes"] + 100
        return triton.InferenceResponse([
            triton.Tensor.from_dlpack(name, dlpack.capsule(np.ascontiguousarray(array))) for name, array in outputs.items()
        ])
"""


def turning_version(model: Path, version: int, further: int, order: Path) -> Path:
    """A further version that is as good as ``version``, until the file ``order`` says how it is to be bad: ``crash``, ``hang``, ``slow``,
    ``leak`` or ``wrong``.
    """
    new = further_version(model, version, further)
    (new / "model.py").write_text(_TURNING.format(backend=str(BACKENDS / "onnxruntime"), order=str(order)))
    config = text_format.Parse((model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    config.backend = "python"
    config.version_policy.specific.versions[:] = [further]
    config.parameters.clear()
    (new / "config.pbtxt").write_text(text_format.MessageToString(config))
    sign(new, "model.py")
    return new


def sign(folder: Path, file: str) -> None:
    """Have the manifest in ``folder``, whose model is ``file``, vouch for what lies there."""
    manifest = json.loads((folder / "manifest.json").read_text())
    files = {path.name: _digest(path) for path in sorted(folder.iterdir()) if path.name != "manifest.json"}
    manifest |= {"version": int(folder.name), "digest": files[file], "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _scaled(model: onnx.ModelProto, output: str) -> None:
    for node in model.graph.node:
        node.output[:] = [f"{output}_before" if name == output else name for name in node.output]
        node.input[:] = [f"{output}_before" if name == output else name for name in node.input]
    model.graph.initializer.append(numpy_helper.from_array(np.float32(SMALLER), "smaller"))
    model.graph.node.append(helper.make_node("Mul", [f"{output}_before", "smaller"], [output]))


def _answers(file: Path, golden: Mapping[str, Any]) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    made: dict[str, np.ndarray] = {key: golden[key] for key in golden if key.startswith("in/")}
    for number in sorted({key.split("/")[1] for key in made}):
        inputs = {each.name: made[f"in/{number}/{each.name}"] for each in session.get_inputs()}
        made |= {f"out/{number}/{name}": answer for name, answer in zip(names, session.run(None, inputs), strict=True)}
    return made


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
