"""What an engine is planned to be: shapes that cover what is asked, files by architecture, and a config that Triton reads."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from export import registry
from export.errors import ArchitectureError, BuildError, NoEngineError, NotOffered
from export.repository import config_message, text_of
from export.spec import ModelSpec
from export.tensorrt import sizes
from export.tensorrt.plan import PLAN_FILE, Architecture, EnginePlan, dims_asked, plan, profile
from export.variant import Variant
from orchestrator.adapters.search import tokens
from orchestrator.adapters.triton import contract
from orchestrator.analyzers import text
from orchestrator.core import shots

HOPPER, AMPERE = Architecture(9, 0), Architecture(8, 6)
by_model = pytest.mark.parametrize("spec", registry.SPECS, ids=lambda s: s.name)


def spec_of(name: str) -> ModelSpec:
    (spec,) = registry.specs([name])
    return spec


def planned(name: str = "labels", precision: str = "fp32") -> EnginePlan:
    return plan(spec_of(name), precision, [HOPPER, AMPERE])


def lengths_of_windows(frames: int) -> set[int]:
    """How many thumbnails the shot model is shown for a media of so many frames, whatever the gate says of each core."""
    found: set[int] = set()
    for parts in itertools.product([None, (0, 1), (25, 50), (10, 36)], repeat=4):
        answers, block = itertools.cycle(parts), shots.Block(0)

        def verdict(core: shots.Window, answers: Iterator[tuple[int, int] | None] = answers) -> shots.Verdict:
            part = next(answers)
            return shots.Verdict((), part and (core.core_start + part[0], core.core_start + part[1]))

        while block.ready(frames, finished=True):
            found |= {len(window.shown(frames)) for window in block.windows(frames, verdict) if window.verdict.doubt}
            block = block.next
    return found


@pytest.mark.parametrize("text", ["9.0", "sm90", "sm_90"])
def test_an_architecture_is_read_as_people_write_it(text: str) -> None:
    assert Architecture.parse(text) == HOPPER
    assert (str(HOPPER), HOPPER.file) == ("9.0", "model.plan.sm90")
    assert Architecture.parse("sm120") == Architecture(12, 0)


@pytest.mark.parametrize("text", ["", "hopper", "9", "9.0.1", "sm"])
def test_another_word_is_no_architecture(text: str) -> None:
    with pytest.raises(ArchitectureError, match=r"9\.0 or sm90"):
        Architecture.parse(text)


def test_whole_batches_are_what_an_engine_is_tuned_for() -> None:
    shapes = profile(spec_of("labels"))
    assert (shapes.tensor, shapes.least) == ("frames", (1, 224, 224, 3))
    assert shapes.usual == shapes.most == (8, 224, 224, 3)


@by_model
def test_a_profile_has_the_shape_of_the_input(spec: ModelSpec) -> None:
    shapes = profile(spec)
    for size in (shapes.least, shapes.usual, shapes.most):
        assert len(size) == 1 + len(spec.inputs[0].dims)
        assert all(own in (-1, got) for own, got in zip(spec.inputs[0].dims, size[1:], strict=True))
    assert all(a <= b <= c for a, b, c in zip(shapes.least, shapes.usual, shapes.most, strict=True))
    assert (shapes.least[0], shapes.most[0]) == (1, spec.max_batch_size)


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("shots", lengths_of_windows(1) | lengths_of_windows(149) | lengths_of_windows(602)),
        ("text_recognition", set(text.WIDTHS)),
        ("text_embedding", set(tokens.LENGTHS)),
    ],
)
def test_free_sizes_are_those_that_the_service_asks_for(model: str, asked: set[int]) -> None:
    size = sizes.FREE[model]
    assert set(size.values) == asked
    shapes, dims = profile(spec_of(model)), dims_asked(spec_of(model))
    assert (shapes.most[1:], shapes.least[1:]) == dims[:2]
    assert len(set(dims)) == len(dims) == len(asked)


def test_every_free_size_is_known() -> None:
    assert set(sizes.FREE) == {s.name for s in registry.SPECS if -1 in s.inputs[0].dims}


def test_a_free_size_that_nobody_knows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sizes.FREE, "shots")
    with pytest.raises(BuildError, match="shots: a size is free"):
        profile(spec_of("shots"))


@pytest.mark.parametrize("wrong", [(), (0, 1), (2, 1), (1, 1)])
def test_sizes_rise(wrong: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="rise from 1"):
        sizes.Size(wrong, 1)


def test_the_usual_size_is_one_of_them() -> None:
    with pytest.raises(ValueError, match=r"one of \(1, 3\), got 2"):
        sizes.Size((1, 3), 2)


@by_model
def test_the_config_is_one_that_triton_reads(spec: ModelSpec) -> None:
    config = text_format.Parse(text_of(plan(spec, "fp32", [HOPPER, AMPERE]).config(7)), model_config_pb2.ModelConfig())
    assert (config.backend, config.platform, config.name) == ("tensorrt", "tensorrt_plan", spec.name)
    assert dict(config.cc_model_filenames) == {"8.6": "model.plan.sm86", "9.0": "model.plan.sm90"}
    assert list(config.version_policy.specific.versions) == [7]
    (group,) = config.instance_group
    assert (group.kind, group.count) == (model_config_pb2.ModelInstanceGroup.KIND_GPU, spec.instances)
    assert not config.parameters
    # On another GPU Triton looks for this file: it must not be there, lest an engine of another architecture is loaded.
    assert config.default_model_filename == ""
    assert PLAN_FILE not in config.cc_model_filenames.values()


@by_model
def test_the_contract_is_the_onnx_versions_but_for_whole_batches(spec: ModelSpec) -> None:
    onnx, engine = (contract.from_config(c, "1") for c in (config_message(spec), planned(spec.name).config(1)))
    assert (engine.inputs, engine.outputs, engine.max_batch) == (onnx.inputs, onnx.outputs, onnx.max_batch)
    assert engine.whole
    assert engine.shape(engine.inputs[spec.inputs[0].name].dims, 1)[0] == profile(spec).usual[0]


def test_a_gpu_without_an_engine_is_told_which_there_are() -> None:
    assert planned().engine_for(HOPPER) == "model.plan.sm90"
    with pytest.raises(NoEngineError, match=r"labels: engines for 8\.6, 9\.0, none for 12\.0"):
        planned().engine_for(Architecture(12, 0))


def test_only_a_version_that_does_not_call_itself_fp32_is_rounded_to_tf32() -> None:
    assert not planned().tf32
    assert planned(precision="fp16").tf32


def test_int8_is_not_offered_for_tensorrt() -> None:
    with pytest.raises(NotOffered, match="labels: int8 is for CPUs"):
        Variant(spec_of("labels"), "int8", "tensorrt")
    assert Variant(spec_of("labels"), "fp16", "tensorrt").declared is None


@pytest.mark.parametrize("architectures", [[], [HOPPER, HOPPER]])
def test_engines_are_for_different_architectures(architectures: list[Architecture]) -> None:
    with pytest.raises(ValueError, match="different architectures"):
        plan(spec_of("labels"), "fp32", architectures)
