"""Alerts are delivered by the real library to a real HTTP server, which does not always take them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from orchestrator.adapters.notify import AppriseNotifier
from orchestrator.core.alerting import Level
from orchestrator.errors import SetupError
from orchestrator.pipeline import alerting as alerting_module
from orchestrator.pipeline.alerting import Alerting
from tests.support.hook import Hook, listening
from tests.support.operations_store import THEN, MemoryOperations, alert, bad, good


@pytest.fixture
def hook() -> Iterator[Hook]:
    with listening() as made:
        yield made


async def test_what_a_webhook_is_told(hook: Hook) -> None:
    notifier = AppriseNotifier([hook.address()])
    full = alert(level=Level.CRITICAL, summary="disk/data: 0.95 ratio (>= 0.9); 2.1 GiB free")
    assert await notifier.tell(full)
    assert await notifier.tell(replace(full, resolved=THEN + timedelta(minutes=5)))
    raised, resolved = hook.taken
    assert (raised["title"], raised["type"]) == ("[CRITICAL] disk/data at here", "failure")
    assert raised["message"].splitlines() == [
        "disk/data: 0.95 ratio (>= 0.9); 2.1 GiB free",
        "raised: 2026-02-03 04:05:06 UTC",
        "runbook: disk",
        "alert: a",
    ]
    assert (resolved["title"], resolved["type"]) == ("[RESOLVED] disk/data at here", "success")
    assert "resolved: 2026-02-03 04:10:06 UTC" in resolved["message"]


async def test_one_who_did_not_hear_is_told_again_and_nobody_else_is(hook: Hook) -> None:
    notifier = AppriseNotifier([hook.address("a"), SecretStr("json://127.0.0.1:1/nobody"), hook.address("b")])
    assert not await notifier.tell(alert())
    assert not await notifier.tell(alert())
    assert len(hook.taken) == 2
    assert not await notifier.tell(alert(level=Level.CRITICAL))  # other news
    assert len(hook.taken) == 4


async def test_a_webhook_that_fails_first_has_every_alert_in_the_end(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerting_module, "PAUSE_SECONDS", (0.05, 0.1))
    hook.answers = [500, 503, 404]
    outcomes: list[str] = []
    store = MemoryOperations()
    alerting = Alerting("here", store, AppriseNotifier([hook.address()]), on_delivery=outcomes.append)
    task = asyncio.create_task(alerting.run())
    for look in ([bad()], [bad()], [good()], [good()]):
        alerting.see(look)
        if look[0].status:
            continue
        async with asyncio.timeout(10):
            while not hook.taken:
                await asyncio.sleep(0.02)
    async with asyncio.timeout(10):
        while not (len(hook.taken) == 2 and all(each.notified for each in store.kept.values())):
            await asyncio.sleep(0.02)
    task.cancel()
    assert [body["title"] for body in hook.taken] == ["[WARNING] disk/data at here", "[RESOLVED] disk/data at here"]
    assert outcomes == ["failed"] * 3 + ["delivered"] * 2


async def test_no_secret_is_ever_logged(hook: Hook, caplog: pytest.LogCaptureFixture) -> None:
    hook.answers = [500]
    caplog.set_level(logging.DEBUG)
    notifier = AppriseNotifier([hook.address("t0ken")])
    with capture_logs() as logs:
        assert not await notifier.tell(alert())
        assert await notifier.tell(alert())
    assert [line["event"] for line in logs] == ["alert.not_delivered"]
    said = caplog.text + repr(logs)
    assert "s3cret" not in said


@pytest.mark.parametrize("address", ["nonsense", "http://", "slack://", "unknown://x"])
def test_an_address_that_is_none_is_refused_without_being_told(address: str) -> None:
    with pytest.raises(SetupError) as caught:
        AppriseNotifier([SecretStr("json://127.0.0.1:1"), SecretStr(address)])
    assert "address 2" in str(caught.value)
    assert address not in str(caught.value)


def test_services_of_every_kind_are_known() -> None:
    AppriseNotifier(
        [
            SecretStr("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/"),
            SecretStr("mailtos://user:password@example.com?to=oncall@example.com"),
            SecretStr("jsons://example.com/hook"),
        ]
    )
