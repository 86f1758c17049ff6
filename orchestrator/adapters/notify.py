"""Tells people of alerts by webhook, chat or mail, whatever apprise has an address for (https://appriseit.com/services/).

Addresses hold passwords: they are never logged, and apprise, which would, is kept quiet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog
from pydantic import SecretStr

from orchestrator.core.alerting import Alert, Level
from orchestrator.errors import SetupError

if TYPE_CHECKING:
    from apprise import NotifyBase

REMEMBERED = 1000  # news of which it is known who has heard them

log = structlog.get_logger(__name__)


class AppriseNotifier:
    """See ``pipeline.operation_ports.Notifier``. Who has heard is not told of the same news again, whoever else has not."""

    def __init__(self, addresses: Sequence[SecretStr]) -> None:
        """Raises ``SetupError`` for an address that apprise does not know."""
        # Here, for it takes 0.3 s that a service which tells nobody does not need.
        from apprise import Apprise

        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        self._services: list[NotifyBase] = []
        for number, address in enumerate(addresses, 1):
            service = Apprise.instantiate(address.get_secret_value(), suppress_exceptions=True)
            if service is None:
                raise SetupError(f"address {number} of REELSIFT_NOTIFY is none that can be notified")
            self._services.append(service)
        self._heard: dict[tuple[str, str, bool], set[int]] = {}

    async def tell(self, alert: Alert) -> bool:
        """See the port. A service that does not answer is waited for some seconds."""
        heard = self._of(alert)
        deaf = [number for number in range(len(self._services)) if number not in heard]
        answers = await asyncio.gather(*(asyncio.to_thread(self._tell, number, alert) for number in deaf))
        heard.update(number for number, answer in zip(deaf, answers, strict=True) if answer)
        for number, answer in zip(deaf, answers, strict=True):
            if not answer:
                log.warning("alert.not_delivered", service=self._services[number].service_name, alert_id=alert.id)
        return len(heard) == len(self._services)

    def _of(self, alert: Alert) -> set[int]:
        while len(self._heard) >= REMEMBERED:
            del self._heard[next(iter(self._heard))]
        return self._heard.setdefault((alert.id, alert.level, alert.resolved is not None), set())

    def _tell(self, number: int, alert: Alert) -> bool:
        kind = "success" if alert.resolved else "failure" if alert.level is Level.CRITICAL else "warning"
        try:
            return bool(self._services[number].notify(body=body_of(alert), title=title_of(alert), notify_type=kind))
        except Exception as error:  # each service is somebody else's code
            log.warning("notify.unexpected_error", error=type(error).__name__)
            return False


def title_of(alert: Alert) -> str:
    """What it is about, in a few words."""
    return f"[{'RESOLVED' if alert.resolved else alert.level.value}] {alert.component} at {alert.server}"


def body_of(alert: Alert) -> str:
    """What there is to know, a fact a line."""
    lines = [alert.summary, f"raised: {alert.raised:%Y-%m-%d %H:%M:%S} UTC"]
    if alert.resolved:
        lines.append(f"resolved: {alert.resolved:%Y-%m-%d %H:%M:%S} UTC")
    return "\n".join([*lines, f"runbook: {alert.runbook}", f"alert: {alert.id}"])
