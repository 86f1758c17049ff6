"""How long a client bears with a server that is away."""

from __future__ import annotations

import asyncio
import time

import pytest

from orchestrator.api.patience import Patience, Waiting, is_loss
from orchestrator.api.status import ClientError


def error(code: str, *, reason: str = "", retry_after: float | None = None) -> ClientError:
    return ClientError("lost", reason=reason or code, grpc_code=code, retry_after=retry_after, typed=bool(reason))


@pytest.mark.parametrize(
    ("given", "lost"),
    [
        (error("UNAVAILABLE"), True),
        (error("CANCELLED"), True),
        (error("UNKNOWN"), True),
        (error("UNAVAILABLE", reason="DRAINING"), True),
        (error("UNAVAILABLE", reason="STORE_UNAVAILABLE"), True),
        (error("CANCELLED", reason="CANCELLED"), False),
        (error("UNAVAILABLE", reason="INFERENCE_UNAVAILABLE"), False),
        (error("INTERNAL", reason="INTERNAL"), False),
        (error("DEADLINE_EXCEEDED"), False),
        (error("RESOURCE_EXHAUSTED"), False),
        (error("UNIMPLEMENTED"), False),
    ],
)
def test_what_tells_of_the_way_to_the_server(given: ClientError, lost: bool) -> None:
    assert is_loss(given) == lost


async def test_it_ends_after_its_seconds_and_an_answer_makes_it_whole() -> None:
    waiting = Waiting(Patience(0.2, 0.05, 0.05))
    tries = 0

    async def until_it_ends() -> None:
        nonlocal tries
        while True:
            await waiting.bear(error("UNAVAILABLE"))
            tries += 1

    for _ in range(3):
        began, tries = time.monotonic(), 0
        with pytest.raises(ClientError):
            await until_it_ends()
        assert 0.1 < time.monotonic() - began < 1
        assert tries >= 3
        waiting.answered()


async def test_none_means_none() -> None:
    with pytest.raises(ClientError):
        await Waiting(Patience(0)).bear(error("UNAVAILABLE"))


async def test_the_pauses_grow_and_the_server_may_ask_for_longer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    waiting = Waiting(Patience(60, 0.1, 0.4))
    for _ in range(5):
        await waiting.bear(error("UNAVAILABLE"))
    for least, pause in zip((0.05, 0.1, 0.2, 0.2, 0.2), pauses, strict=True):
        assert least <= pause <= 2 * least
    await waiting.bear(error("UNAVAILABLE", reason="DRAINING", retry_after=5))
    assert pauses[-1] == 5


@pytest.mark.parametrize("wrong", [(-1, 0.1, 1), (1, 0, 1), (1, 2, 1)])
def test_nonsense_is_refused(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError):
        Patience(*wrong)
