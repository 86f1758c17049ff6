"""The pages of operators are true: what they name exists, where they lead is there, and each alert has its page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from orchestrator.cli.main import app
from orchestrator.cli.operators import ListsByDefault
from orchestrator.core.health import KINDS
from tests.support import names
from tests.support.pages import ROOT, Command, Page, read, runbooks

BOOKS = runbooks()
README = read(ROOT / "README.md")
PAGES = [README, read(ROOT / "ops" / "handbooks.md"), *BOOKS]
INDEX = next(page for page in BOOKS if page.stem == "README")
BEYOND_KINDS = {"down", "slow", "gpu-out-of-memory", "logs", "notifications", "rollouts"}  # alerts of Prometheus alone
ALERTS = [page for page in BOOKS if page.stem in KINDS | BEYOND_KINDS]
SHAPE = (
    "Symptom",
    "What users notice",
    "Causes, likeliest first",
    "Check",
    "Fix",
    "Prevention",
    "Escalation",
)
SYMPTOMS = ("where", "health", "alert", "metric", "log")
RULES = ROOT / "ops" / "prometheus" / "rules"
SAID = {"what the last line says", "words"}  # heads of tables of messages
COMMANDS = [command for page in PAGES for command in page.commands]
NOT_OURS = {"REELSIFT_SERVER", "REELSIFT_CONFIG"}  # of the commands, and where the settings are


def ids(page: Page) -> str:
    return page.stem


each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
each_alert = pytest.mark.parametrize("page", ALERTS, ids=ids)


# --- which pages there are -------------------------------------------------------------------------------------------


def test_each_kind_of_component_has_a_page() -> None:
    assert {page.stem for page in BOOKS} >= KINDS | BEYOND_KINDS


def test_each_reading_of_the_code_is_of_a_known_kind() -> None:
    assert names.kinds(), "the code reads nothing"
    assert names.kinds() <= KINDS


def test_each_page_is_in_the_index() -> None:
    assert {goal.name for goal in INDEX.goals()} >= {page.stem + ".md" for page in BOOKS} - {"README.md"}


def test_each_rule_of_prometheus_leads_to_the_page_that_names_it() -> None:
    rules = [
        rule
        for file in sorted(RULES.glob("*.yml"))
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    pages = {page.stem: page for page in BOOKS}
    lost = [rule["alert"] for rule in rules if rule["alert"] not in pages[_runbook(rule)].code]
    assert rules, "there are no rules"
    assert not lost
    assert {word for page in BOOKS for word in page.code if re.fullmatch(r"Reelsift[A-Z]\w+", word)} <= {
        rule["alert"] for rule in rules
    }


def _runbook(rule: dict[str, dict[str, str]]) -> str:
    """The index, of rules that lead to the page of whatever component they are about."""
    stem = Path(rule["annotations"]["runbook_url"].partition("#")[0]).stem
    return INDEX.stem if "$labels" in stem else stem


# --- how they are made -----------------------------------------------------------------------------------------------


@each_alert
def test_the_page_of_an_alert_has_one_shape_and_begins_with_a_command(page: Page) -> None:
    assert page.title.startswith(f"{page.stem}: ")
    assert page.headings == SHAPE
    assert page.opening
    (symptoms,) = (table for table in page.tables if table.section == "Symptom")
    assert tuple(row[0] for row in symptoms.rows) == SYMPTOMS


@each_alert
def test_the_page_of_an_alert_is_read_within_a_minute(page: Page) -> None:
    assert len(page.text.splitlines()) <= 90


# --- where they lead -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", sorted({*ROOT.glob("*.md"), *ROOT.glob("ops/**/*.md")}), ids=lambda path: str(path.relative_to(ROOT))
)
def test_each_link_leads_somewhere(path: Path) -> None:
    page = read(path)
    assert not [str(goal) for goal in page.goals() if not goal.exists()]
    for link in page.links:
        file, _, place = link.partition("#")
        if place and "://" not in link:
            goal = read((path.parent / file).resolve() if file else path)
            assert place in {_anchor(heading) for heading in goal.headings}, link


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


# --- what they name --------------------------------------------------------------------------------------------------


@each_page
def test_each_metric_exists(page: Page) -> None:
    assert set(re.findall(r"\breelsift_[a-z_]+", page.text)) <= names.metrics()


@each_page
def test_each_setting_exists(page: Page) -> None:
    assert set(re.findall(r"\bREELSIFT_[A-Z_]+", page.text)) <= names.settings() | NOT_OURS


@each_page
def test_each_reason_exists(page: Page) -> None:
    capitals = {
        word for word in page.code if re.fullmatch(r"[A-Z][A-Z_]{2,}", word) and not word.startswith("REELSIFT_")
    }
    assert capitals <= names.reasons() | {"ID", "NAME"}


@each_page
def test_each_event_exists(page: Page) -> None:
    """What the row about the log names, and whatever begins as events do."""
    families = {event.partition(".")[0] for event in names.events() if "." in event}
    named = {word for word in page.code if re.fullmatch(rf"({'|'.join(families)})\.[a-z_]+", word)}
    for table in page.tables:
        for row in table.rows:
            if table.section == "Symptom" and row[0] == "log":
                named |= {word for word in re.findall(r"`([^`]+)`", row[1]) if "." in word}
    assert named <= names.events()


@each_page
def test_each_route_exists(page: Page) -> None:
    named = re.findall(
        r"/api/v1/[\w/:{}-]+(?:\.json)?|/api/v1:\w+|(?<![\w.])/(?:healthz|readyz|metrics)\b(?!\.md)[\w/]*", page.text
    )
    asked = {re.sub(r"\b(ID|NAME)\b", "{}", path) for path in named}
    assert asked <= names.routes() | {"/api/v1/openapi.json"}


@each_page
def test_each_file_exists(page: Page) -> None:
    inside = re.compile(r"(?:ops|orchestrator|export|tests|requirements|protos|model_repository)/[\w./-]*")
    named = {word for word in page.code if inside.fullmatch(word)} | set(re.findall(r"\bops/[\w/.-]+\.md", page.text))
    assert not [word for word in named if not (ROOT / word).exists()]


@each_alert
def test_the_components_of_its_symptoms_are_of_known_kinds(page: Page) -> None:
    (symptoms,) = (table for table in page.tables if table.section == "Symptom")
    rows = dict(row[:2] for row in symptoms.rows)
    named = {word.partition("/")[0] for word in re.findall(r"`([a-z]+(?:/\w+)?)`", rows["health"])}
    assert named <= KINDS
    if page.stem in KINDS:
        assert page.stem in named


@pytest.mark.parametrize("page", BOOKS, ids=ids)
def test_the_service_says_what_the_page_has_it_say(page: Page) -> None:
    """In tables of messages: letters that stand alone, and ``...``, stand for anything."""
    for table in page.tables:
        if table.rows[0][0] in SAID:
            for row in table.rows[1:]:
                for message in re.findall(r"`([^`]+)`", row[0]):
                    parts = (re.escape(part) for part in re.split(r"\.\.\.|\b[A-Z]\b|sqlite|postgresql", message))
                    assert re.search(f"{names.HOLE}".join(parts), names.words()), message


# --- what they have their readers type -------------------------------------------------------------------------------


def calls(command: Command) -> Iterator[list[str]]:
    return command.of("reelsift")


OURS = [command for command in COMMANDS if any(calls(command))]


@pytest.mark.parametrize("command", OURS, ids=str)
def test_each_command_is_understood(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsed by the real command, with what it names; nothing runs."""
    monkeypatch.chdir(tmp_path)
    for words in calls(command):
        (tmp_path / "holiday.mp4").touch()
        for word in words:
            if word.startswith("backups/"):
                (tmp_path / word).mkdir(parents=True, exist_ok=True)
        if words == ["--version"]:
            continue
        found, rest = _subcommand(words)
        assert not found.make_context("reelsift", rest).args


@each_page
def test_each_command_that_is_mentioned_exists(page: Page) -> None:
    for mentioned in page.code:
        if mentioned.startswith("reelsift ") and not mentioned.startswith("reelsift:"):
            found, rest = _subcommand([word for word in mentioned.split()[1:] if word != "..."])
            known = {option for parameter in found.params for option in parameter.opts}
            assert {word for word in rest if word.startswith("-")} <= known, mentioned


def _subcommand(words: list[str]) -> tuple[Any, list[str]]:
    """The command that ``words`` name, and its own words; a group that has a command of its own for none is one."""
    command, rest = typer.main.get_command(app), list(words)
    while (commands := getattr(command, "commands", None)) and rest:
        if isinstance(command, ListsByDefault) and rest[0].startswith("-"):
            rest.insert(0, "list")
        if rest[0].startswith("-"):
            break
        assert rest[0] in commands, f"there is no command {rest[0]}"
        command = commands[rest.pop(0)]
    return command, rest


def test_the_readme_shows_every_command() -> None:
    """By its path in a checkout, because that is where its reader has it."""
    shown = [command for command in README.commands if any(calls(command))]
    assert {words[0] for command in shown for words in calls(command)} == set(_subcommand([])[0].commands)
    assert all(command.text.startswith(".venv/bin/reelsift ") for command in shown)


def test_each_target_exists() -> None:
    rules = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    wanted = {
        word
        for command in COMMANDS
        for words in command.of("make")
        for word in words
        if re.fullmatch(r"[a-z-]+", word) and word != "-C"
    }
    assert wanted >= {"demo", "setup", "test", "bench"}
    assert wanted <= rules


def test_every_line_of_a_transcript_is_read() -> None:
    """Wherever a page shows a prompt, there is a command."""
    shown = [line for page in PAGES for line in page.text.splitlines() if line.lstrip().startswith("$ ")]
    assert sum(page is not README for page in PAGES for _ in page.commands) == len(shown) > 150
