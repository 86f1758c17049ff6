"""Settings of config.pbtxt as session options; what is not honoured is refused."""

import ctypes
import gc

import numpy as np
import pytest

from orchestrator.adapters.triton.backends.onnxruntime import dlpack, options
from orchestrator.adapters.triton.backends.onnxruntime.options import ConfigError, Options, parse


def config(accelerators=None, level=None, **parameters: str):
    made = {"parameters": {key.replace("__", "."): {"string_value": value} for key, value in parameters.items()}}
    made["optimization"] = {"graph": {"level": level or 0}}
    if accelerators:
        made["optimization"]["execution_accelerators"] = {"gpu_execution_accelerator": accelerators}
    return made


def test_what_export_writes_is_one_quiet_thread():
    got = parse(config(intra_op_thread_count="1", inter_op_thread_count="1"), "CPU", 0)
    assert got == Options(intra_op_threads=1, inter_op_threads=1)


def test_several_threads_do_not_spin_unless_asked():
    assert parse(config(intra_op_thread_count="4"), "CPU", 0).entries == {"session.intra_op.allow_spinning": "0"}
    spinning = parse(config(intra_op_thread_count="4", session__intra_op__allow_spinning="1"), "CPU", 0)
    assert spinning.entries == {"session.intra_op.allow_spinning": "1"}


@pytest.mark.parametrize(("level", "name"), [(None, "ALL"), (-1, "BASIC"), (1, "EXTENDED"), (2, "DISABLE_ALL")])
def test_graph_levels_are_those_of_the_cpp_backend(level, name: str):
    assert parse(config(level=level), "CPU", 0).graph_level.endswith(name)


def test_flags():
    got = parse(config(execution_mode="1", enable_mem_arena="0", enable_mem_pattern="false"), "CPU", 0)
    assert (got.parallel, got.memory_arena, got.memory_pattern) == (True, False, False)


def test_tensorrt_comes_before_cuda_before_the_cpu():
    tensorrt = {
        "name": "tensorrt",
        "parameters": {"precision_mode": "FP16", "trt_engine_cache_enable": "1", "max_workspace_size_bytes": "7"},
    }
    providers = parse(config([tensorrt]), "GPU", 2).providers
    assert [name for name, _ in providers] == [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]
    assert providers[0][1] == {
        "device_id": "2",
        "trt_fp16_enable": "1",
        "trt_engine_cache_enable": "1",
        "trt_max_workspace_size": "7",
    }
    assert providers[1][1] == {"device_id": "2"}


def test_an_accelerator_is_for_gpu_instances_alone():
    cuda = {"name": "cuda", "parameters": {"cudnn_conv_use_max_workspace": "0"}}
    assert parse(config([cuda]), "CPU", 0).providers == (("CPUExecutionProvider", {}),)
    assert parse(config([cuda]), "GPU", 0).providers[0][1]["cudnn_conv_use_max_workspace"] == "0"
    assert parse(config(), "GPU", 0).providers[0][0] == "CUDAExecutionProvider"


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (config(intra_op_threads="1"), "intra_op_threads"),
        (config(share_session_between_instances="1"), "share_session_between_instances"),
        (config(intra_op_thread_count="-1"), "intra_op_thread_count"),
        (config(execution_mode="2"), "execution_mode"),
        (config(enable_mem_arena="perhaps"), "enable_mem_arena"),
        (config(level=5), "level"),
        (config([{"name": "openvino"}]), "openvino"),
        (config([{"name": "tensorrt", "parameters": {"precision_mode": "FP7"}}]), "precision_mode"),
        (config([{"name": "tensorrt", "parameters": {"workspace": "1"}}]), "workspace"),
        ({"optimization": {"execution_accelerators": {"cpu_execution_accelerator": [{"name": "openvino"}]}}}, "cpu_"),
    ],
)
def test_what_is_not_honoured_is_refused(bad, says: str):
    with pytest.raises(ConfigError, match=says):
        parse(bad, "CPU", 0)


class Taken:
    """A consumer of a capsule, as NumPy knows them."""

    def __init__(self, capsule):
        self._capsule = capsule

    def __dlpack__(self, **_):
        return self._capsule

    def __dlpack_device__(self):
        return (1, 0)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "float32", "float64", "bool"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0, 3), (2, 3, 4)])
def test_a_capsule_carries_the_array_without_a_copy(dtype: str, shape: tuple[int, ...]):
    array = np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)
    seen = np.from_dlpack(Taken(dlpack.capsule(array)))
    assert (seen.dtype, seen.shape) == (array.dtype, shape)
    np.testing.assert_array_equal(seen, array)
    assert array.size == 0 or seen.ctypes.data == array.ctypes.data


def test_a_strided_array_is_made_whole():
    array = np.arange(24).reshape(4, 6)[::2, ::3]
    np.testing.assert_array_equal(np.from_dlpack(Taken(dlpack.capsule(array))), array)


def test_the_consumer_frees_it():
    before = len(dlpack._alive)
    seen = np.from_dlpack(Taken(dlpack.capsule(np.ones(3))))
    assert len(dlpack._alive) == before + 1
    del seen
    gc.collect()
    assert len(dlpack._alive) == before


def test_a_type_that_dlpack_lacks_is_refused():
    with pytest.raises(TypeError, match="DLPack"):
        dlpack.capsule(np.array(["text"]))
    assert ctypes.sizeof(dlpack._Tensor) == 48


@pytest.mark.parametrize(
    ("flags", "left"), [("sse4_2 avx2", {"session.x64quantprecision": "1"}), ("avx2 avx512_vnni", {})]
)
def test_the_slow_way_to_multiply_bytes_is_taken_where_the_fast_one_loses(
    flags: str, left: dict, tmp_path, monkeypatch
):
    cpu = tmp_path / "cpuinfo"
    cpu.write_text(f"processor : 0\nflags : fpu {flags} adx\n")
    exact = options._has_exact_products(cpu)
    monkeypatch.setattr(options, "_has_exact_products", lambda: exact)
    got = parse(config(session__x64quantprecision="1"), "CPU", 0)
    assert {key: value for key, value in got.entries.items() if "spinning" not in key} == left
