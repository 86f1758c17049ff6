"""What systemd is told of the service that it started: the protocol of sd_notify(3).

It is a dozen lines here because the libraries at hand are a binding that has to be compiled, and one that nobody keeps. Datagrams of
``NAME=VALUE`` lines go to the socket that ``NOTIFY_SOCKET`` names; where there is none, nobody is told anything.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import MutableMapping
from dataclasses import dataclass

import structlog

SEND_SECONDS = 0.5  # a manager that does not read must not hold the event loop
PINGS = 3  # in the time after which silence would be taken for a hang

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """``address``: path of its socket (``@`` first: an abstract one), empty where there is no manager. ``watchdog_s``: it ends a service
    that is silent for so long; 0: it does not watch.
    """

    address: str = ""
    watchdog_s: float = 0.0

    @classmethod
    def of_environment(cls, environment: MutableMapping[str, str]) -> ServiceManager:
        """The one that started this process. Its variables are taken out, so that no child speaks in the service's name."""
        address = environment.pop("NOTIFY_SOCKET", "")
        period, pid = environment.pop("WATCHDOG_USEC", "0"), environment.pop("WATCHDOG_PID", "")
        watched = address and pid in ("", str(os.getpid()))  # else another process of this service is meant
        return cls(address, int(period) / 1e6 if watched else 0.0)

    def ready(self, status: str) -> None:
        """Clients are served, with the settings as they are now. ``status``: one line for people."""
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """The settings are being read anew; ``ready`` follows."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, patience_s: float) -> None:
        """The end has begun, and may take ``patience_s``, whatever the unit's own limit is."""
        self._tell("STOPPING=1", "STATUS=draining", f"EXTEND_TIMEOUT_USEC={int(patience_s * 1e6)}")

    async def keep_watched(self) -> None:
        """Say again and again that the event loop turns, until cancelled. Returns at once where nobody watches."""
        while self.watchdog_s:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s / PINGS)

    def _tell(self, *lines: str) -> None:
        if not self.address:
            return
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(SEND_SECONDS)
            try:
                channel.sendto("\n".join(lines).encode(), address)
            except OSError as error:
                log.warning("manager.unreachable", said=lines[0], error=type(error).__name__)
