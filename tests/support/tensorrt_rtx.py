"""A TensorRT that builds without a GPU, to try our networks and shapes on: TensorRT for RTX, under the Python API of TensorRT itself.

TensorRT needs a GPU for its first call, and its libraries are not on PyPI. TensorRT for RTX is NVIDIA's sibling of it for desktops: it
has the same ONNX parser, network, shape profiles and checks, builds on a machine without a GPU, and comes in a wheel. Its engines are
its own, so none is kept. Its C++ interface is that of TensorRT of the same month, so TensorRT's Python bindings run over it once their
libraries' names lead there: a small library of ours does that. NVIDIA promises none of this; it is for tests alone, and pinned.

``python -m tests.support.tensorrt_rtx NAME.fp32.onnx``, in the environment that `environment` gives, builds each model named with its plan,
and prints a line of JSON for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from platformdirs import user_cache_dir

from export.fetch import unpack
from export.spec import Source

_VERSION = "11.4.0.106"
_LICENCE = "LicenseRef-NVIDIA-Proprietary"
LIBRARIES = Source(
    "pypi",
    "onnxruntime-ep-nv-tensorrt-rtx-cu13",
    "0.5.0",
    "onnxruntime_ep_nv_tensorrt_rtx_cu13-0.5.0-py3-none-manylinux_2_28_x86_64.whl",
    "32f575c633d171b4edf4b53d3bb22b72a6c9c0a850d2982ce9a788a5d40d3298",
    _LICENCE,
)
_BINDINGS = {
    "311": "d072ac2a095e2be749fefc847adfb25d5ebe70303401df62ede8fe67a59f27fc",
    "312": "5fc7a6c412881f7212030893bd5531b1a0ff415c72c7678dfe4ead7a7765b38d",
    "313": "bac9a362c9189b5f5dd0444213913846e4b46003237834958e890eff57d86ed5",
}
_NAMES = ("libnvinfer.so.11", "libnvonnxparser.so.11", "libnvinfer_plugin.so.11")
_FORWARDING = """
#define _GNU_SOURCE
#include <dlfcn.h>
static void *in(const char *library, const char *symbol) {
  return dlsym(dlopen(library, RTLD_NOW | RTLD_GLOBAL), symbol);
}
#define RTX(symbol) in("libtensorrt_rtx.so.1", symbol)
#define PARSER(symbol) in("libtensorrt_onnxparser_rtx.so.1", symbol)
static int version(void) { return ((int (*)(void))RTX("getInferLibVersion"))(); }
void *createInferBuilder_INTERNAL(void *log, int asked) {
  return ((void *(*)(void *, int))RTX("createInferBuilder_INTERNAL"))(log, version());
}
void *createInferRuntime_INTERNAL(void *log, int asked) {
  return ((void *(*)(void *, int))RTX("createInferRuntime_INTERNAL"))(log, version());
}
void *createInferRefitter_INTERNAL(void *engine, void *log, int asked) { return 0; }
void *getBuilderPluginRegistry(int kind) { return ((void *(*)(int))RTX("getBuilderPluginRegistry"))(kind); }
void *getPluginRegistry(void) { return ((void *(*)(void))RTX("getPluginRegistry"))(); }
void *createNvOnnxParser_INTERNAL(void *network, void *log, int asked) {
  return ((void *(*)(void *, void *, int))PARSER("createNvOnnxParser_INTERNAL"))(network, log, asked);
}
void *createNvOnnxParserRefitter_INTERNAL(void *refitter, void *log, int asked) { return 0; }
int getNvOnnxParserVersion(void) { return ((int (*)(void))PARSER("getNvOnnxParserVersion"))(); }
_Bool initLibNvInferPlugins(void *log, const char *space) { return 1; }
"""


def environment(compiler: str) -> dict[str, str]:
    """The environment in which ``import tensorrt_bindings`` works; both wheels are fetched once, 148 MB. ``compiler``: of C."""
    python = f"{sys.version_info.major}{sys.version_info.minor}"
    bindings = Source(
        "pypi",
        "tensorrt-cu13-bindings",
        _VERSION,
        f"tensorrt_cu13_bindings-{_VERSION}-cp{python}-none-manylinux_2_28_x86_64.whl",
        _BINDINGS[python],
        _LICENCE,
    )
    folder = _linked(unpack(LIBRARIES) / "onnxruntime_ep_nv_tensorrt_rtx", compiler)
    paths = [str(Path(__file__).parents[2]), str(unpack(bindings))]
    return os.environ | {"LD_LIBRARY_PATH": str(folder), "PYTHONPATH": os.pathsep.join(paths)}


def _linked(libraries: Path, compiler: str) -> Path:
    """A folder where every library has the name by which others look for it; whole or absent."""
    folder = Path(user_cache_dir("reelsift")) / "tools" / f"tensorrt-rtx-{LIBRARIES.sha256[:16]}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".tensorrt-rtx-") as staging:
        made = Path(staging) / "made"
        made.mkdir()
        for library in libraries.glob("lib*.so.*.*.*"):
            base, _, version = library.name.partition(".so.")
            (made / f"{base}.so.{version.partition('.')[0]}").symlink_to(library)
        command = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", str(made / _NAMES[0]), "-ldl"]
        subprocess.run(command, input=_FORWARDING, text=True, check=True)
        for name in _NAMES[1:]:
            (made / name).symlink_to(_NAMES[0])
        try:
            os.rename(made, folder)
        except OSError:
            if not folder.exists():  # otherwise another process was faster, with the same
                raise
    return folder


def main(models: list[str]) -> None:
    """Build each ``NAME.PRECISION.onnx``: its size, or its refusal."""
    import tensorrt_bindings as trt

    from export import registry
    from export.errors import EngineError
    from export.tensorrt import engine
    from export.tensorrt.plan import Architecture, plan

    for model in map(Path, models):
        name, precision, _ = model.name.split(".")
        (spec,) = registry.specs([name])
        result: dict[str, Any] = {"model": spec.name}
        try:
            planned = plan(spec, precision, [Architecture(9, 0)])
            result["nbytes"] = len(engine.build(model.read_bytes(), planned, model.with_suffix(".cache"), trt))
        except EngineError as error:
            result["error"] = str(error)
        print(json.dumps(result), flush=True)  # noqa: T201  # what the test reads


if __name__ == "__main__":
    main(sys.argv[1:])
