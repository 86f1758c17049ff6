"""How a client bears with a server, or a connection, that is lost."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from orchestrator.api.status import ClientError

# What gRPC itself, or a proxy, says of a connection that broke; our own server's statuses are typed.
_BROKEN = frozenset({"UNAVAILABLE", "CANCELLED", "INTERNAL", "UNKNOWN"})
_AWAY = frozenset({"DRAINING", "STORE_UNAVAILABLE"})


@dataclass(frozen=True, slots=True)
class Patience:
    """``seconds`` without an answer until the client gives up (0: at the first loss); it tries again after ``pause``
    seconds, then after longer and longer, up to ``longest``.
    """

    seconds: float = 60.0
    pause: float = 0.1
    longest: float = 2.0

    def __post_init__(self) -> None:
        if self.seconds < 0 or not 0 < self.pause <= self.longest:
            raise ValueError(f"patience is not negative, and its pauses grow: {self}")


PATIENT = Patience()


class Waiting:
    """The patience of one request."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._pause = patience.pause
        self._since: float | None = None

    def answered(self) -> None:
        """The server lives: patience is whole again."""
        self._pause = self._patience.pause
        self._since = None

    async def bear(self, error: ClientError) -> None:
        """Wait before the next try. Raises ``error`` when patience is at an end."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        pause = max(self._pause * random.uniform(0.5, 1.0), error.retry_after or 0.0)  # not all clients at once
        if now + pause > self._since + self._patience.seconds:
            raise error from None
        self._pause = min(2 * self._pause, self._patience.longest)
        await asyncio.sleep(pause)


def is_loss(error: ClientError) -> bool:
    """Whether ``error`` tells of the way to the server, or of its going away, and not of the request."""
    return error.reason in _AWAY if error.typed else error.grpc_code in _BROKEN
