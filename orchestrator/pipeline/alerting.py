"""Alerts at work: raised and resolved by what the watcher sees, kept in the store, and told to people.

What is open is known here, in memory. It is written to the store, and delivered, by two tasks that know nothing of each other, so that the
alert "the database does not answer" reaches somebody while the database does not answer, and one that nobody could be told of is kept.
After a restart both go on with what the store holds of this server. News may reach somebody twice that way, and are never lost.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from orchestrator.core.alerting import Alert, AlertFilter, Change, Hysteresis, Level, Silence, summary
from orchestrator.core.health import Reading, Status
from orchestrator.errors import InvalidRequest, ReelsiftError
from orchestrator.pipeline.operation_ports import Notifier, OperationsStore

TURN_SECONDS = 5.0  # between two looks for silences that have begun or ended
PAUSE_SECONDS = (1.0, 5.0, 15.0, 60.0, 300.0)  # before news are tried again
STORE_SECONDS = 3.0  # an operator who asks what is wrong does not wait longer for the store
LONGEST_SILENCE = timedelta(days=90)

log = structlog.get_logger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


class Alerting:
    """The alerts of ``server``. ``on_delivery`` is told how each delivery went (``delivered``, ``failed``)."""

    def __init__(
        self,
        server: str,
        store: OperationsStore,
        notifier: Notifier | None = None,
        *,
        on_delivery: Callable[[str], None] = lambda outcome: None,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._server, self._store, self._notifier = server, store, notifier
        self._on_delivery, self._now = on_delivery, now
        self._looks: dict[str, Hysteresis] = {}
        self._alerts: dict[str, Alert] = {}  # open, or not yet written, or somebody still has to hear of it
        self._open: dict[str, str] = {}  # component -> id
        self._unsaved: set[str] = set()
        self._silences: Sequence[Silence] = ()  # as they were last read
        self._to_save, self._to_tell = asyncio.Event(), asyncio.Event()

    async def start(self) -> None:
        """Take over what an earlier run of this server left open or untold. Raises ``StoreUnavailable``."""
        for alert in sorted(await self._store.unsettled(self._server), key=lambda each: each.raised):
            self._alerts[alert.id] = alert
            if alert.resolved is not None:
                continue
            if twin := self._open.get(alert.component):  # two processes had this server's name for a while
                self._change(replace(self._alerts[twin], resolved=self._now(), notified=True))
            self._open[alert.component] = alert.id
            self._looks[alert.component] = Hysteresis(alert.level)

    def tell_to(self, notifier: Notifier | None) -> None:
        """Have another one told from now on."""
        self._notifier = notifier

    async def run(self) -> None:
        """Write and tell until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_forever(self._save, self._to_save, None))
            group.create_task(_forever(self._tell, self._to_tell, TURN_SECONDS))

    def counts(self) -> Mapping[Level, int]:
        """Open alerts by level; every level is there."""
        found = Counter(self._alerts[name].level for name in self._open.values())
        return {level: found[level] for level in Level}

    # --- what is seen ------------------------------------------------------------------------------------------------

    def see(self, readings: Sequence[Reading]) -> None:
        """A look at everything. A component that nobody speaks of any more is well."""
        gone = self._looks.keys() - {reading.component for reading in readings}
        for reading in (*readings, *(Reading(component, Status.HEALTHY, 1.0) for component in sorted(gone))):
            looks = self._looks.setdefault(reading.component, Hysteresis())
            self._follow(reading, looks.see(reading), looks.level)
            if looks.level is None and reading.component in gone:
                del self._looks[reading.component]

    def _follow(self, reading: Reading, change: Change, level: Level | None) -> None:
        now, component = self._now(), reading.component
        alert = self._alerts.get(self._open.get(component, ""))
        if alert is not None and reading.status is not Status.HEALTHY:
            self._alerts[alert.id] = alert = replace(alert, value=reading.value, summary=summary(reading))
        match change:
            case Change.RAISE:
                assert level is not None
                alert = Alert(
                    uuid.uuid4().hex, self._server, component, level, summary(reading), reading.value, now, now
                )
                self._open[component] = alert.id
                self._put(alert, "alert.raised")
            case Change.WORSEN if alert is not None:
                self._put(replace(alert, level=Level.CRITICAL, changed=now, notified=False), "alert.worsened")
            case Change.RESOLVE if alert is not None:
                del self._open[component]
                unheard = bool(alert.silenced_by)  # who heard of no trouble needs not hear of its end
                self._put(replace(alert, changed=now, resolved=now, notified=unheard), "alert.resolved")

    def _put(self, alert: Alert, event: str) -> None:
        tell = log.info if alert.resolved else log.error if alert.level is Level.CRITICAL else log.warning
        tell(
            event,  # "component" and "level" are the log line's own
            subject=alert.component,
            alert_level=alert.level.value,
            value=alert.value,
            summary=alert.summary,
            runbook=alert.runbook,
            alert_id=alert.id,
        )
        self._change(alert)
        self._to_tell.set()

    def _change(self, alert: Alert) -> None:
        self._alerts[alert.id] = alert
        self._unsaved.add(alert.id)
        self._to_save.set()

    # --- keeping -----------------------------------------------------------------------------------------------------

    async def _save(self) -> bool:
        """Write what has changed; whether it was."""
        writing = [self._alerts[name] for name in self._unsaved]
        if not writing:
            return True
        try:
            await self._store.keep(writing)
        except ReelsiftError as error:
            log.warning("alert.not_kept", reason=error.reason, alerts=len(writing))
            return False
        for alert in writing:
            if self._alerts[alert.id] == alert:
                self._unsaved.discard(alert.id)
                if alert.resolved and alert.notified:
                    del self._alerts[alert.id]
        return True

    # --- telling -----------------------------------------------------------------------------------------------------

    async def _tell(self) -> bool:
        """Tell whatever there is to tell; whether all was heard."""
        if not any(not alert.notified or alert.silenced_by for alert in self._alerts.values()):
            return True
        await self._hear_of_silences()
        heard = [await self._tell_of(name) for name in list(self._alerts)]
        return all(heard)

    async def _hear_of_silences(self) -> None:
        with suppress(ReelsiftError, TimeoutError):  # then those count that were known before
            async with asyncio.timeout(STORE_SECONDS):
                self._silences = await self._store.silences(self._now())

    async def _tell_of(self, name: str) -> bool:
        alert = self._alerts.get(name)
        if alert is None:
            return True
        now = self._now()
        by = next((each.id for each in self._silences if each.covers(alert.component, now)), "")
        if alert.resolved is None and by != alert.silenced_by and (by or alert.silenced_by):
            # One that was told before it was silenced has been heard of; one whose silence is over has not.
            alert = replace(alert, silenced_by=by, notified=bool(by))
            self._change(alert)
        if alert.notified:
            return True
        delivered = True
        if self._notifier is not None and not by:
            delivered = await self._notifier.tell(alert)
            self._on_delivery("delivered" if delivered else "failed")
        newest = self._alerts.get(name)  # it may have changed meanwhile: then there is more to tell
        if delivered and newest and (newest.level, newest.resolved) == (alert.level, alert.resolved):
            self._change(replace(newest, notified=True))
        return delivered

    # --- what operators ask ------------------------------------------------------------------------------------------

    async def alerts(self, query: AlertFilter, limit: int = 100) -> Sequence[Alert]:
        """Newest first. While the store does not answer, those of this server that are open."""
        stored: Sequence[Alert] = ()
        with suppress(ReelsiftError, TimeoutError):
            async with asyncio.timeout(STORE_SECONDS):
                stored = await self._store.alerts(query, limit)
        # What is known here is newer than what has been written.
        found = {alert.id: alert for alert in stored} | self._alerts
        taken = sorted(filter(query.takes, found.values()), key=lambda alert: (alert.raised, alert.id), reverse=True)
        return taken[:limit]

    async def silences(self) -> Sequence[Silence]:
        """Those in force."""
        return await self._store.silences(self._now())

    async def silence(self, pattern: str, seconds: float, *, who: str, why: str) -> Silence:
        """See ``api.ports.Operations``."""
        if not pattern or not 0 < seconds <= LONGEST_SILENCE.total_seconds():
            raise InvalidRequest(
                f"a silence has a pattern, and more than 0 and at most {LONGEST_SILENCE.total_seconds():.0f} seconds"
            )
        now = self._now()
        silence = Silence(uuid.uuid4().hex, pattern, now + timedelta(seconds=seconds), who, why, now)
        await self._store.silence(silence)
        log.info("silence.begun", pattern=pattern, seconds=seconds, who=who, why=why, silence_id=silence.id)
        self._to_tell.set()
        return silence

    async def end_silence(self, silence_id: str) -> None:
        """See ``api.ports.Operations``."""
        await self._store.end_silence(silence_id, self._now())
        log.info("silence.ended", silence_id=silence_id)
        self._to_tell.set()


async def _forever(work: Callable[[], Awaitable[bool]], sooner: asyncio.Event, every: float | None) -> None:
    """Do ``work`` every so many seconds, after pauses that grow while it fails, and whenever there is something new."""
    tries = 0
    while True:
        sooner.clear()
        done = False
        try:
            done = await work()
        except Exception:
            log.exception("alert.unexpected_error")  # whoever tells of trouble must not die of it
        tries = 0 if done else tries + 1
        with suppress(TimeoutError):
            async with asyncio.timeout(PAUSE_SECONDS[min(tries, len(PAUSE_SECONDS)) - 1] if tries else every):
                await sooner.wait()
