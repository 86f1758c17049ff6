"""Settings from a file, and their change while the service runs: as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from orchestrator.cli.serve import _again, settings_with
from orchestrator.errors import InvalidRequest, SetupError
from orchestrator.reloading import Reloads, unchanging
from orchestrator.settings import Settings

BY = {"who": "olga", "why": "a test"}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "reelsift.toml"
    path.write_text("")
    monkeypatch.setenv("REELSIFT_CONFIG", str(path))
    return path


def test_options_win_over_variables_and_these_over_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(
        'max_running = 5\nmax_waiting = 6\nroots = ["/videos", "/films"]\nstuck_seconds = 60\n'
        "[retention.uploads]\nmax_bytes = 1000\nmax_age_seconds = 5\n"
    )
    monkeypatch.setenv("REELSIFT_MAX_WAITING", "7")
    monkeypatch.setenv("REELSIFT_RETENTION__UPLOADS__MAX_BYTES", "2000")
    settings = settings_with({"max_running": 8, "log_level": None})
    assert (settings.max_running, settings.max_waiting, settings.stuck_seconds) == (8, 7, 60)
    assert settings.roots == (Path("/videos"), Path("/films"))
    assert (settings.retention.uploads.max_bytes, settings.retention.uploads.max_age_seconds) == (2000, 5)


def test_a_name_that_is_none_is_refused(file: Path) -> None:
    file.write_text("max_runing = 5\n")
    with pytest.raises(ValidationError, match="max_runing"):
        Settings()
    with pytest.raises(InvalidRequest, match="max_runing"):
        _again({})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.write_text("max_running = = 5"), "no TOML"),
        (lambda path: path.write_bytes(b"\xff"), "no TOML"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(file: Path, change: Callable[[Path], object], message: str) -> None:
    change(file)
    with pytest.raises(SetupError, match=message) as caught:
        Settings()
    assert str(file) not in str(caught.value)
    with pytest.raises(InvalidRequest, match=message):
        _again({})


def test_a_wrong_value_is_refused_by_name(file: Path) -> None:
    file.write_text('max_running = "many"\n')
    with pytest.raises(InvalidRequest, match="max_running"):
        _again({})
    file.write_text('log_level = "loud"\n')
    with pytest.raises(InvalidRequest, match="log_level"):
        _again({})


class Told:
    """Takes some settings, and remembers what was put in force."""

    def __init__(self) -> None:
        self.applied: list[Settings] = []
        self.refuses = False
        self.idle = False

    def prepare(self, new: Settings) -> Callable[[], None] | None:
        if self.refuses:
            raise InvalidRequest("not so")
        return None if self.idle else lambda: self.applied.append(new)


def test_what_somebody_takes_over_changes_and_the_rest_needs_a_restart(file: Path) -> None:
    reloads, told, other = Reloads(_again({}), lambda: _again({})), Told(), Told()
    reloads.on(("max_running", "max_waiting"), told.prepare)
    reloads.on(("roots",), other.prepare)
    assert reloads.names == {"max_running", "max_waiting", "roots"}
    assert reloads.reload(**BY) == ()
    file.write_text("max_running = 9\n")
    assert reloads.reload(**BY) == ("max_running",)
    assert ([each.max_running for each in told.applied], other.applied) == ([9], [])
    assert reloads.settings.max_running == 9
    file.write_text('max_running = 10\nlisten = "127.0.0.1:1"\narena_bytes = 5\n')
    with pytest.raises(InvalidRequest, match="only a restart changes arena_bytes, listen"):
        reloads.reload(**BY)
    assert (len(told.applied), reloads.settings.max_running) == (1, 9)


def test_one_that_refuses_keeps_all_as_it_was(file: Path) -> None:
    reloads, told, other = Reloads(_again({}), lambda: _again({})), Told(), Told()
    reloads.on(("max_running",), told.prepare)
    reloads.on(("roots",), other.prepare)
    file.write_text('max_running = 9\nroots = ["/films"]\n')
    other.refuses = True
    with pytest.raises(InvalidRequest, match="not so"):
        reloads.reload(**BY)
    assert told.applied == []
    other.refuses = False
    assert reloads.reload(**BY) == ("max_running", "roots")


def test_what_a_setting_names_may_have_changed_without_it(file: Path) -> None:
    reloads, told = Reloads(_again({}), lambda: _again({})), Told()
    reloads.on(("profile_dir",), told.prepare, always=True)
    assert reloads.reload(**BY) == ("profile_dir",)
    told.idle = True
    assert reloads.reload(**BY) == ()


def test_a_name_that_is_no_setting_cannot_be_registered() -> None:
    with pytest.raises(ValueError, match="colour"):
        unchanging(Settings()).on(("colour",), lambda new: None)
