"""The build of an engine, over TensorRT in memory: what is asked of it, and its refusals in our words."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from export import registry
from export.errors import EngineError, MissingError
from export.graph import Graph
from export.tensorrt import device, engine
from export.tensorrt.plan import Architecture, EnginePlan, plan
from tests.support.tensorrt_double import Behaviour, BuilderFlag, Module

HOPPER = Architecture(9, 0)


def planned(precision: str = "fp32") -> EnginePlan:
    (spec,) = registry.specs(["moderation"])
    return plan(spec, precision, [HOPPER])


def network() -> bytes:
    graph = Graph("moderation")
    frames = graph.input("frames", "FP32", ["batch", 2])
    graph.output("scores", "FP32", ["batch", 2], frames)
    return graph.model().SerializeToString()


def built(tmp_path: Path, behaviour: Behaviour, wanted: EnginePlan | None = None) -> bytes:
    return engine.build(network(), wanted or planned(), tmp_path / "cache" / "timing", Module(behaviour))


def test_the_plan_is_what_tensorrt_is_asked_for(tmp_path: Path) -> None:
    asked = Behaviour()
    assert b"engine of ['frames'] to ['scores']" in built(tmp_path, asked)
    shapes = planned().profile
    assert asked.shapes == {"frames": (shapes.least, shapes.usual, shapes.most)}
    assert asked.flags == 0b10  # strongly typed
    assert asked.cleared == [BuilderFlag.TF32]


def test_tf32_stays_where_a_version_is_not_fp32(tmp_path: Path) -> None:
    asked = Behaviour()
    built(tmp_path, asked, planned("fp16"))
    assert asked.cleared == []


def test_measured_times_are_kept_for_the_next_build(tmp_path: Path) -> None:
    first, second = Behaviour(), Behaviour()
    built(tmp_path, first)
    built(tmp_path, second)
    assert (first.caches, second.caches) == ([b""], [b"measured "])
    assert (tmp_path / "cache" / "timing").read_bytes() == b"measured measured "
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["timing"]


def test_times_of_another_gpu_are_measured_anew(tmp_path: Path) -> None:
    asked = Behaviour(foreign_cache=b"of another")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "timing").write_bytes(b"of another")
    built(tmp_path, asked)
    assert asked.caches == [b"of another", b""]
    assert (tmp_path / "cache" / "timing").read_bytes() == b"measured "


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        (Behaviour(no_driver=True), "cannot begin: CUDA initialization failure with error: 35"),
        (Behaviour(parse_error="Transpose: first input has type UInt8"), "does not parse the network: Transpose"),
        (Behaviour(refuses_shapes=True), r"refuses the shapes Profile\(tensor='frames'"),
        (Behaviour(build_error="no runners that implement it"), "builds no engine: no runners"),
        (Behaviour(drops_output=True), r"has the tensors \['frames'\], declared are \['frames', 'scores'\]"),
    ],
)
def test_a_refusal_is_told_in_its_words(tmp_path: Path, behaviour: Behaviour, says: str) -> None:
    with pytest.raises(EngineError, match=f"moderation: .*{says}"):
        built(tmp_path, behaviour)
    assert not (tmp_path / "cache").exists()


def test_times_are_kept_by_release_and_architecture() -> None:
    names = {
        engine.timing_cache(Module(), HOPPER).name,
        engine.timing_cache(Module(), Architecture(8, 6)).name,
    }
    assert names == {"timing-11.4.0-sm90.cache", "timing-11.4.0-sm86.cache"}


def test_without_tensorrt_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingError, match="pip install tensorrt-cu13"):
        engine.tensorrt()


class Driver:
    """libcuda with a GPU, or without."""

    def __init__(self, refusing: str = "") -> None:
        self._refusing = refusing

    def __getattr__(self, call: str):
        def answer(*arguments) -> int:
            if call == self._refusing:
                return 100  # CUDA_ERROR_NO_DEVICE
            if call == "cuDeviceGetName":
                arguments[0].value = b"NVIDIA H100"
            if call == "cuDeviceGetAttribute":
                arguments[0]._obj.value = {75: 9, 76: 0}[arguments[1].value]
            return 0

        return answer


def test_the_gpu_is_asked_for_its_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: Driver())
    assert device.first_gpu() == device.Gpu("NVIDIA H100", HOPPER)


def test_without_a_gpu_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: Driver("cuInit"))
    with pytest.raises(MissingError, match=r"the driver shows none \(cuInit: error 100\)"):
        device.first_gpu()

    def lacking(name: str):
        raise OSError(name)

    monkeypatch.setattr(device.ctypes, "CDLL", lacking)
    with pytest.raises(MissingError, match="no NVIDIA driver"):
        device.first_gpu()


def test_a_plan_of_another_model_is_noticed(tmp_path: Path) -> None:
    other = dataclasses.replace(planned(), spec=registry.specs(["labels"])[0])
    with pytest.raises(EngineError, match="labels: the parsed network has the tensors"):
        built(tmp_path, Behaviour(), other)
