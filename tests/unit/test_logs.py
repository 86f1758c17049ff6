"""A log line says who, what, when and for whom, and nothing that is nobody's business."""

from __future__ import annotations

import io
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
import structlog
from pydantic import SecretStr

from orchestrator import logs, tracing
from orchestrator.logs import component
from tests.support.own_logging import own_logging
from tests.support.tracing import THEIRS, Notes

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    with own_logging():
        yield


@pytest.fixture
def lines() -> Lines:
    output = io.StringIO()
    logs.configure("info", as_json=True, stream=output)

    def said() -> list[dict[str, Any]]:
        return [json.loads(line) for line in output.getvalue().splitlines()]

    return said


def test_a_line_has_its_fields(lines: Lines) -> None:
    log = structlog.get_logger("orchestrator.pipeline.runner")
    with (
        structlog.contextvars.bound_contextvars(analysis_id="a1", request_id="r1"),
        tracing.installed(Notes()),
        tracing.continued(THEIRS),
    ):
        log.info("analysis.ended", duration_ms=12)
    (line,) = lines()
    moment = datetime.fromisoformat(line.pop("timestamp"))
    assert moment.utcoffset() == timedelta(0)
    assert line == {
        "level": "info",
        "component": "pipeline",
        "event": "analysis.ended",
        "analysis_id": "a1",
        "request_id": "r1",
        "trace_id": "ab" * 16,
        "duration_ms": 12,
    }


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("orchestrator.adapters.triton.client", "triton"),
        ("orchestrator.adapters.stores.sql", "stores"),
        ("orchestrator.api.http.app", "api"),
        ("orchestrator.pipeline.runner", "pipeline"),
        ("orchestrator.app", "app"),
        ("uvicorn.error", "uvicorn"),
        ("", ""),
    ],
)
def test_the_component_is_the_folder(module: str, name: str) -> None:
    assert component(module) == name


SECRETS = {
    "url": "postgresql+psycopg://reelsift:hunter2@db:5432/reelsift",
    "target": "smtp://user:hunter2@mail.example/?to=a@b",
    "authorization": "Bearer hunter2hunter2",
    "headers": {"Authorization": "Basic hunter2hunter2", "accept": "x"},
    "message": "sent Authorization: Bearer hunter2hunter2.hunter2 and password=hunter2, done",
    "database_password": "hunter2",
    "setting": SecretStr("hunter2"),
    "urls": ["discord://hunter2@x/y", {"deep": ["http://hunter2@host/x"]}],
    "api_key": "hunter2",
}


@pytest.mark.parametrize("as_json", [True, False])
def test_no_secret_leaves(as_json: bool) -> None:
    output = io.StringIO()
    logs.configure("info", as_json=as_json, stream=output)
    log = structlog.get_logger("orchestrator.app")
    log.info("service.serving", **SECRETS)
    try:
        local = "hunter2"
        raise ValueError("cannot open postgresql://reelsift:hunter2@db/x")
    except ValueError:
        log.exception("store.failed", local_of=len(local))
    logging.getLogger("sqlalchemy").error("cannot open postgresql://reelsift:hunter2@db/x")
    said = output.getvalue()
    assert "hunter2" not in said
    assert "postgresql://***@db/x" in said
    assert "ValueError" in said


def test_no_picture_leaves_and_nothing_is_endless(lines: Lines) -> None:
    structlog.get_logger("x").info(
        "a.b", jpeg=b"\xff" * 9999, pixels=np.zeros((8, 8, 3), np.uint8), text="x" * 9999, many=list(range(999))
    )
    (line,) = lines()
    assert line["jpeg"] == "<9999 bytes>"
    assert line["pixels"] == "<array (8, 8, 3) uint8>"
    assert line["text"].startswith("x" * logs.MAX_TEXT)
    assert len(line["text"]) < logs.MAX_TEXT + 50
    assert len(line["many"]) == logs.MAX_ITEMS


def test_the_level_changes_at_run_time(lines: Lines) -> None:
    log = structlog.get_logger("x")
    log.debug("a.one")
    logs.set_level("debug")
    log.debug("a.two")
    logs.set_level("ERROR")
    log.warning("a.three")
    logging.getLogger("grpc").warning("a warning of a library")
    assert [line["event"] for line in lines()] == ["a.two"]
    assert logs.level() == "error"
    with pytest.raises(ValueError, match="one of debug, info, warning, error, got 'loud'"):
        logs.set_level("loud")
    assert logs.level() == "error"


def test_libraries_speak_the_same_language(lines: Lines) -> None:
    logging.getLogger("alembic.runtime").info("not asked for")
    logging.getLogger("alembic.runtime").warning("%s is old", "it")
    try:
        raise OSError("gone")
    except OSError:
        logging.getLogger("uvicorn.error").exception("broken")
    logging.getLogger("apprise").log(35, "between two levels")
    old, broken, between = lines()
    assert (old["event"], old["component"], old["logger"], old["message"], old["level"]) == (
        "library.said",
        "alembic",
        "alembic.runtime",
        "it is old",
        "warning",
    )
    assert broken["exception"][0]["exc_type"] == "OSError"
    assert between["level"] == "warning"


def test_an_exception_shows_no_locals(lines: Lines) -> None:
    try:
        treasure = "gold"
        raise RuntimeError(str(len(treasure)))
    except RuntimeError:
        structlog.get_logger("x").exception("a.failed")
    (line,) = lines()
    (told,) = line["exception"]
    assert told["frames"]
    assert "gold" not in json.dumps(line)


def test_warnings_and_errors_are_heard(lines: Lines) -> None:
    heard: Counter[str] = Counter()
    log = structlog.get_logger("x")
    with logs.heard(lambda level: heard.update([level])):
        log.info("a.b")
        log.warning("a.b")
        log.error("a.b")
        log.exception("a.b")
        logging.getLogger("grpc").critical("x")
    log.error("a.b")
    assert heard == {"warning": 1, "error": 2, "critical": 1}
    assert len(lines()) == 6


def test_text_is_for_people() -> None:
    output = io.StringIO()
    logs.configure("info", stream=output)
    try:
        raise ValueError("why")
    except ValueError:
        structlog.get_logger("orchestrator.app").exception("service.failed", number=3)
    said = output.getvalue()
    assert "service.failed" in said
    assert "number=3" in said
    assert 'raise ValueError("why")' in said
    assert "Traceback (most recent call last)" in said
