"""A further version of an exported model, made in a moment: the same network, whose scores are a hair smaller."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

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
        if other.name not in ("model.onnx", "golden.npz", "manifest.json"):
            shutil.copy2(other, new)
    manifest = json.loads((old / "manifest.json").read_text())
    files = {path.name: _digest(path) for path in sorted(new.iterdir())}
    manifest |= {"version": further, "digest": files["model.onnx"], "files": files}
    (new / "manifest.json").write_text(json.dumps(manifest))
    return new


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
