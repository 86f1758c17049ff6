"""Spare workers: there is one for whoever comes next, as soon as nobody suffers from its start."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.adapters.decoders import workers
from orchestrator.adapters.decoders.workers import WorkerPool


class Stub:
    """A worker that needs no process."""

    started = 0

    def __init__(self) -> None:
        self.process = self

    def poll(self) -> None:
        return None

    async def stop(self) -> None:
        return None

    @classmethod
    async def start(cls, *_: int) -> Stub:
        cls.started += 1
        return cls()


@pytest.fixture(autouse=True)
def stubs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "Worker", Stub)
    monkeypatch.setattr(workers, "REFILL_SECONDS", 0.1)
    Stub.started = 0


async def test_a_spare_that_was_taken_is_replaced_a_little_later() -> None:
    pool = WorkerPool(1, 1 << 30, 1)
    pool.fill()
    await pool.take()
    assert Stub.started == 1
    await asyncio.sleep(0.15)
    assert Stub.started == 2
    await pool.close()


async def test_or_at_once_when_its_session_has_ended() -> None:
    pool = WorkerPool(1, 1 << 30, 1)
    pool.fill()
    await pool.take()
    pool.fill()
    await asyncio.sleep(0)
    assert Stub.started == 2
    await asyncio.sleep(0.15)
    assert Stub.started == 2, "the timer starts no other"
    await pool.close()


async def test_whoever_takes_again_and_again_does_not_put_it_off() -> None:
    pool = WorkerPool(1, 1 << 30, 1)
    cold = 0
    for _ in range(6):
        before = Stub.started
        await pool.take()
        cold += Stub.started > before
        await asyncio.sleep(0.05)
    assert cold < 6, "some find a spare"
    await pool.close()


async def test_none_is_started_behind_the_end() -> None:
    pool = WorkerPool(1, 1 << 30, 1)
    await pool.take()
    await pool.close()
    pool.fill()
    await asyncio.sleep(0.15)
    assert Stub.started == 1
