"""Whatever README and the runbooks have their readers type is typed here, at a real service, and says what the page shows."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.stage import Stage
from tests.conftest import Film
from tests.media.pathology import GOOD
from tests.support.pages import ROOT, Command, Page, read, runbooks

PAGES = [read(ROOT / "README.md"), *runbooks()]
PROCEDURES = {"backup-restore", "maintenance", "upgrade", "weekly"}
"""Their commands follow each other, and so each is done there even if another page has had it; but steps of models, which take long."""

NOT_HERE = {
    r"make (demo|setup|test|bench|faults)\b.*": "minutes to hours; `make test` is what runs this",
    r".*reelsift models verify": "minutes; tests/integration/export does it",
    r".*reelsift models compare .*": "minutes; tests/integration/comparing does it",
    r".*reelsift models export labels --precision int8": "minutes; tests/integration/export does it",
    r".*reelsift serve .*": "it runs until it is stopped: whoever the others talk to is this command",
    r"(journalctl|timedatectl) .*|timedatectl": "systemd does not run where tests do",
    r"systemctl (status|list-timers) .*|systemctl list-timers|systemctl restart systemd-timesyncd": "the same",
    r"docker .*": "there is no container engine",
    r"sudo -u reelsift .*": "there is no such user",
    r"nvidia-smi.*": "there is no GPU",
    r"openssl .*": "it names an operator's certificate and host",
    r"pg_isready .*": "the store here is embedded",
    r"/opt/reelsift/bin/pip install .*|ops/systemd/install.sh": "it installs, as root",
}


def why_not(command: Command) -> str | None:
    """Why a command cannot be done here; ``None`` where it can."""
    return next((why for pattern, why in NOT_HERE.items() if re.fullmatch(pattern, command.bare)), None)


@pytest.fixture(scope="module")
def stage(composite: Film, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    short = GOOD.build(tmp_path_factory.mktemp("short"))
    with tempfile.TemporaryDirectory(prefix="pages-") as folder:
        made = Stage(Path(folder), composite.path, short)
        try:
            yield made
        finally:
            made.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name.removesuffix(".md"))
def test_the_commands_of_the_page_do_what_it_says(page: Page, stage: Stage, tmp_path: Path) -> None:
    stage.begin_page(page)
    for command in page.commands:
        if why_not(command) is None:
            stage.perform(command, tmp_path, again=page.stem in PROCEDURES and "reelsift models" not in command.text)


def test_the_list_of_what_cannot_be_done_here_is_up_to_date() -> None:
    lines = [command.bare for page in PAGES for command in page.commands]
    assert not [pattern for pattern in NOT_HERE if not any(re.fullmatch(pattern, line) for line in lines)]
    assert sum(why_not(command) is None for page in PAGES for command in page.commands) > 150


def test_every_procedure_is_a_page() -> None:
    assert {page.stem for page in PAGES} >= PROCEDURES
