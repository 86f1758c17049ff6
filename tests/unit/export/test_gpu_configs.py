"""Configs for NVIDIA's container: committed as generated, on the GPU, and with parameters that both of Triton's backends know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2
from typer.testing import CliRunner

from export import registry
from export.accelerators import ACCELERATORS, ENGINE_CACHE, Accelerator, accelerated, taken_whole
from export.cli import app
from export.commands import DEFAULT_REPOSITORY
from export.repository import config_message, text_of
from export.spec import ModelSpec
from export.tensorrt.plan import dims_asked
from orchestrator.adapters.triton import contract
from orchestrator.adapters.triton.backends.onnxruntime import options

ROOT = Path(__file__).resolve().parents[3]
# What the C++ backend onnxruntime takes (its onnxruntime.cc); it refuses to load a model with any other.
CPP_TENSORRT = frozenset(
    ["precision_mode", "max_workspace_size_bytes", "int8_calibration_table_name", "int8_use_native_calibration_table"]
    + [
        f"trt_{key}"
        for key in ("max_partition_iterations", "min_subgraph_size", "engine_cache_enable", "timing_cache_path")
    ]
    + [
        f"trt_{key}"
        for key in ("engine_cache_path", "engine_cache_prefix", "timing_cache_enable", "force_timing_cache")
    ]
    + [f"trt_{key}" for key in ("profile_min_shapes", "profile_opt_shapes", "profile_max_shapes", "cuda_graph_enable")]
)
by_model = pytest.mark.parametrize("spec", registry.SPECS, ids=lambda s: s.name)
by_accelerator = pytest.mark.parametrize("accelerator", ACCELERATORS)


def committed(spec: ModelSpec, accelerator: str) -> Path:
    return DEFAULT_REPOSITORY / spec.name / "configs" / f"{accelerator}.pbtxt"


def parsed(spec: ModelSpec, accelerator: Accelerator) -> model_config_pb2.ModelConfig:
    return text_format.Parse(committed(spec, accelerator).read_text(), model_config_pb2.ModelConfig())


@by_model
def test_committed_configs_are_the_generated_ones(spec: ModelSpec) -> None:
    found = {path.stem: path.read_text() for path in (DEFAULT_REPOSITORY / spec.name / "configs").iterdir()}
    found.pop("engine", None)  # of this machine, not committed
    assert found == {accelerator: text_of(accelerated(spec, accelerator)) for accelerator in ACCELERATORS}


@by_accelerator
@by_model
def test_nothing_but_the_place_differs_from_the_cpus(spec: ModelSpec, accelerator: Accelerator) -> None:
    config = parsed(spec, accelerator)
    (group,) = config.instance_group
    assert (group.kind, group.count) == (model_config_pb2.ModelInstanceGroup.KIND_GPU, spec.instances)
    assert contract.from_config(config, "1").whole
    assert list(config.version_policy.specific.versions) == [spec.version]
    on_cpu = config_message(spec)
    config.version_policy.CopyFrom(on_cpu.version_policy)
    config.ClearField("optimization")
    config.ClearField("model_warmup")
    config.instance_group[0].CopyFrom(on_cpu.instance_group[0])
    assert config == on_cpu


@by_accelerator
@by_model
def test_both_backends_know_every_parameter(spec: ModelSpec, accelerator: Accelerator) -> None:
    config = parsed(spec, accelerator)
    given = {a.name: a.parameters for a in config.optimization.execution_accelerators.gpu_execution_accelerator}
    assert list(given) == {"cuda": ["cuda"], "tensorrt": ["tensorrt", "cuda"]}[accelerator]
    assert set(given.get("tensorrt", {})) <= CPP_TENSORRT
    ours = json.loads(json_format.MessageToJson(config, preserving_proto_field_name=True))
    providers = dict(options.parse(ours, "GPU", 1).providers)
    assert providers["CUDAExecutionProvider"] == {"device_id": "1", "use_tf32": "0"}
    if accelerator == "tensorrt":
        assert providers["TensorrtExecutionProvider"]["trt_engine_cache_path"] == ENGINE_CACHE
        assert "trt_fp16_enable" not in providers["TensorrtExecutionProvider"]


@by_model
def test_a_profile_is_given_where_tensorrt_has_the_whole_graph(spec: ModelSpec) -> None:
    (tensorrt, _) = parsed(spec, "tensorrt").optimization.execution_accelerators.gpu_execution_accelerator
    given = {key for key in tensorrt.parameters if key.startswith("trt_profile")}
    assert given == ({f"trt_profile_{end}_shapes" for end in ("min", "opt", "max")} if taken_whole(spec) else set())


@by_accelerator
@by_model
def test_every_shape_is_asked_for_before_the_model_is_ready(spec: ModelSpec, accelerator: Accelerator) -> None:
    config = parsed(spec, accelerator)
    asked = [tuple(sample.inputs[spec.inputs[0].name].dims) for sample in config.model_warmup]
    assert asked == list(dims_asked(spec))
    assert {sample.batch_size for sample in config.model_warmup} == {spec.max_batch_size}
    assert len({sample.name for sample in config.model_warmup}) == len(asked)


def test_the_shapes_are_written_as_onnx_runtime_reads_them() -> None:
    (spec,) = registry.specs(["text_embedding"])
    parameters = (
        accelerated(spec, "tensorrt").optimization.execution_accelerators.gpu_execution_accelerator[0].parameters
    )
    assert parameters["trt_profile_min_shapes"] == "tokens:1x16"
    assert parameters["trt_profile_opt_shapes"] == "tokens:1x32"
    assert parameters["trt_profile_max_shapes"] == "tokens:1x128"


def test_a_version_of_less_precision_says_so() -> None:
    (spec,) = registry.specs(["labels"])
    tensorrt, cuda = accelerated(spec, "tensorrt", "fp16").optimization.execution_accelerators.gpu_execution_accelerator
    assert tensorrt.parameters["precision_mode"] == "FP16"
    assert not cuda.parameters


def test_the_containers_are_started_with_configs_that_there_are() -> None:
    gpu = yaml.safe_load((ROOT / "ops" / "docker" / "gpu.yml").read_text())["services"]["triton"]
    assert "--model-config-name=${TRITON_CONFIG:-cuda}" in gpu["command"]
    assert "cuda" in ACCELERATORS
    needed = "tritonserver --model-repository=/models --disable-auto-complete-config --http-address=127.0.0.1 --metrics-address=0.0.0.0"
    assert set(needed.split()) <= set(gpu["command"].split())
    assert f"engines:{ENGINE_CACHE}" in gpu["volumes"]


def test_the_command_writes_them_and_says_what_has_no_engine(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["configs", "labels", "--repository", str(tmp_path), "--architecture", "sm90"])
    assert done.exit_code == 0
    assert (
        done.output
        == "labels 1 model.onnx (labels: no version has engines; `export labels --target tensorrt` makes one)\n"
    )
    folder = tmp_path / "labels"
    assert {path.name for path in (folder / "configs").iterdir()} == {"cuda.pbtxt", "engine.pbtxt", "tensorrt.pbtxt"}
    assert (folder / "configs" / "engine.pbtxt").read_text() == (folder / "configs" / "cuda.pbtxt").read_text()
    assert (folder / "config.pbtxt").read_text() == (DEFAULT_REPOSITORY / "labels" / "config.pbtxt").read_text()


def test_the_command_refuses_another_word_for_an_architecture(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["configs", "--repository", str(tmp_path), "--architecture", "hopper"])
    assert done.exit_code == 1
    assert "ArchitectureError" in done.output
    assert list(tmp_path.iterdir()) == []
