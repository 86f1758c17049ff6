"""Shared GPU memory, against a driver that is made up: what is asked of it, and what becomes of its refusals."""

# ruff: noqa: N802 - the driver's own names
from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator

import pytest

from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.gpu import memory, opening
from orchestrator.adapters.gpu.memory import CudaError, CudaMemory, CudaMissing
from orchestrator.errors import SetupError
from tests.support.gpu import HostMemory

OUT_OF_MEMORY, NO_DEVICE, INVALID_DEVICE, NOT_SUPPORTED = 2, 100, 101, 801


class Driver:
    """``libcuda`` with ``gpus`` cards of ``room`` bytes. Counts what is held."""

    def __init__(self, gpus: int = 1, room: int = 1 << 30) -> None:
        self.gpus, self.room = gpus, room
        self.contexts = self.pushed = 0
        self.shares = True
        self.blocks: dict[int, int] = {}

    def __getattr__(self, name: str) -> Callable[..., int]:
        return getattr(type(self), f"do_{name}").__get__(self)

    def do_cuInit(self, flags: object) -> int:
        return 0 if self.gpus else NO_DEVICE

    def do_cuDeviceGetCount(self, count: object) -> int:
        count._obj.value = self.gpus  # type: ignore[attr-defined]
        return 0

    def do_cuDeviceGet(self, device: object, ordinal: ctypes.c_int) -> int:
        return 0 if ordinal.value < self.gpus else INVALID_DEVICE

    def do_cuDevicePrimaryCtxRetain(self, context: object, device: object) -> int:
        self.contexts += 1
        return 0

    def do_cuDevicePrimaryCtxRelease_v2(self, device: object) -> int:
        self.contexts -= 1
        return 0

    def do_cuCtxPushCurrent_v2(self, context: object) -> int:
        self.pushed += 1
        return 0

    def do_cuCtxPopCurrent_v2(self, context: object) -> int:
        self.pushed -= 1
        return 0

    def do_cuMemAlloc_v2(self, pointer: object, nbytes: ctypes.c_size_t) -> int:
        assert self.pushed, "a context is current"
        if nbytes.value > self.room:
            return OUT_OF_MEMORY
        self.blocks[0x1000] = nbytes.value
        pointer._obj.value = 0x1000  # type: ignore[attr-defined]
        return 0

    def do_cuMemFree_v2(self, pointer: ctypes.c_uint64) -> int:
        del self.blocks[pointer.value]
        return 0

    def do_cuIpcGetMemHandle(self, handle: object, pointer: ctypes.c_uint64) -> int:
        if not self.shares:
            return NOT_SUPPORTED
        ctypes.memset(handle, 0xAB, memory.HANDLE_BYTES)  # type: ignore[arg-type]
        return 0

    def do_cuGetErrorName(self, code: ctypes.c_int, text: object) -> int:
        text._obj.value = b"CUDA_ERROR_SOMETHING"  # type: ignore[attr-defined]
        return 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    driver = Driver()
    monkeypatch.setattr(memory, "_driver", lambda: driver)
    yield driver
    assert (driver.pushed, driver.contexts, driver.blocks) == (0, 0, {}), "nothing is left behind"


def test_what_is_taken_is_given_back(driver: Driver) -> None:
    taken = CudaMemory(0, 1 << 20)
    assert taken.handle == b"\xab" * 64
    assert driver.blocks == {0x1000: 1 << 20}
    taken.free()
    taken.free()


def test_where_there_is_less_it_takes_less(driver: Driver) -> None:
    driver.room = 100 << 20
    taken = CudaMemory.of_at_most(0, 192 << 20, 32 << 20)
    assert taken.nbytes == 96 << 20
    taken.free()


def test_too_little_is_refused_by_name(driver: Driver) -> None:
    driver.room = 10 << 20
    with pytest.raises(CudaError, match="cuMemAlloc_v2 failed: CUDA_ERROR_SOMETHING"):
        CudaMemory.of_at_most(0, 192 << 20, 32 << 20)


def test_memory_that_cannot_be_shared_is_given_back(driver: Driver) -> None:
    driver.shares = False
    with pytest.raises(CudaError, match="cuIpcGetMemHandle"):
        CudaMemory(0, 1 << 20)


@pytest.mark.parametrize("ordinal", [1, 7])
def test_a_gpu_that_there_is_not(driver: Driver, ordinal: int) -> None:
    with pytest.raises(CudaMissing):
        CudaMemory(ordinal, 1 << 20)


def test_without_a_driver_there_are_no_gpus() -> None:
    if memory.gpus():
        pytest.skip("there is a GPU here")
    with pytest.raises((CudaMissing, CudaError)):
        CudaMemory(0, 1 << 20)


class TestOpening:
    """Which GPU a service uses."""

    def test_off_and_none(self, driver: Driver) -> None:
        assert opening.open_memory_on("off", 1 << 20) is None
        driver.gpus = 0
        assert opening.open_memory_on("auto", 1 << 20) is None

    def test_what_was_asked_for_by_number_must_be_there(self, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(opening, "PACKAGES", ())
        with pytest.raises(SetupError, match="GPU 3"):
            opening.open_memory_on("3", 1 << 20)
        monkeypatch.setattr(opening, "PACKAGES", ("no_such_package",))
        with pytest.raises(SetupError, match="no_such_package"):
            opening.open_memory_on("0", 1 << 20)

    def test_a_triton_elsewhere_reads_no_memory_of_ours(self, driver: Driver) -> None:
        assert opening.open_memory_on("auto", 1 << 20, shared=False) is None
        assert opening.open_memory_on("off", 1 << 20, shared=False) is None
        with pytest.raises(SetupError, match=r"GPU 0 .* does not share"):
            opening.open_memory_on("0", 1 << 20, shared=False)

    def test_auto_goes_on_without(self, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(opening, "PACKAGES", ("no_such_package",))
        assert opening.open_memory_on("auto", 1 << 20) is None
        monkeypatch.setattr(opening, "PACKAGES", ())
        driver.room = 0
        assert opening.open_memory_on("auto", 1 << 20) is None

    def test_the_first_of_them(self, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(opening, "PACKAGES", ())
        taken = opening.open_memory_on("auto", 64 << 20)
        assert taken is not None
        assert (taken.ordinal, taken.nbytes) == (0, 64 << 20)
        with Arena(taken.nbytes, taken) as arena:
            installed = opening.gpu_of_models(arena)
            assert installed in (None, 0)
        taken.free()


@pytest.mark.skipif(memory.gpus() > 0, reason="there is a GPU here")
async def test_a_process_that_does_not_come_up() -> None:
    """The real one, with memory that is none: here there is no driver."""
    with Arena(4096, HostMemory()) as arena:
        async with opening.running_gpu(arena, "auto") as process:
            assert process is None
        with pytest.raises(SetupError, match="GPU 0 cannot decode"):
            await opening.running_gpu(arena, "0").__aenter__()


async def test_without_memory_on_a_gpu_there_is_no_process() -> None:
    with Arena(4096) as arena:
        async with opening.running_gpu(arena, "auto") as process:
            assert process is None
        assert opening.gpu_of_models(arena) is None
