"""A service as its operator has it, over a throw-away data directory, and a shell beside it in which pages are played.

What a page names is what lies here: its addresses, its folders, ``holiday.mp4``, and an ``ID`` that suits the command.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker
from functools import cached_property
from pathlib import Path

from orchestrator.api import messages as pb
from orchestrator.api.client import connect
from tests.acceptance.answers import reelsift
from tests.acceptance.server import Server, environment, wait_until
from tests.support.further import two_versions
from tests.support.pages import Command, Page

MODEL = "labels"
START, RESTART = "systemctl start reelsift", "systemctl restart reelsift"
SECONDS = 120.0  # for one command
CALM = {  # whatever the machine is like on which tests run, it is well
    f"REELSIFT_LIMITS__{name}__{level}": str(value)
    for name in ("DISK", "MEMORY", "CPU", "DATABASE", "ARTIFACTS", "LATENCY")
    for level, value in (("WARNING", 90), ("CRITICAL", 99))
}
LOG_TAIL = 3000
SLOW_BYTES = "20000"  # a second: such an upload is at work for as long as a command needs


class Stage:
    """``film`` has five segments at least. ``folder`` should have a short path."""

    def __init__(self, folder: Path, film: Path, short: Path) -> None:
        self._folder, self._film, self._short = folder, film, short
        self._backups = folder / "backups"
        self._backups.mkdir()
        self._states = folder / "state"
        self._repository = two_versions(folder, MODEL)
        self._passed: set[tuple[str, str]] = set()
        self._helpers: list[subprocess.Popen[str]] = []
        self._made = ""  # the analysis that a command of this page has made
        self._starts_itself = False  # whether the page has the server started again after it has had it stopped
        self.server = Server(
            {
                "REELSIFT_MODEL_REPOSITORY": str(self._repository),
                "REELSIFT_HTTP_LISTEN": "127.0.0.1:0",
                "XDG_STATE_HOME": str(self._states),
                "REELSIFT_LOOK_SECONDS": "1",  # what capacity is planned by is soon there
                "REELSIFT_HISTORY_SECONDS": "1",
                **CALM,
            }
        )

    def close(self) -> None:
        """End everything."""
        try:
            if self.server.alive:
                self.server.leave()
        finally:
            for helper in self._helpers:
                helper.kill()
                helper.communicate()
            self.server.stop()

    def begin_page(self, page: Page) -> None:
        """Whatever the page before left behind."""
        self._made = ""
        self._starts_itself = any(command.bare == START for command in page.commands)
        self._start()

    def perform(self, command: Command, folder: Path, *, again: bool) -> None:
        """Do what a page says, in ``folder``, and see that it says what the page has it say. What has passed already is not done
        another time unless ``again``. Raises ``AssertionError``."""
        played = self._played.get(command.bare)
        if played is not None:
            played()
            return
        if not again and (_gist(command), command.said) in self._passed:
            return
        for helper in self._helpers:
            helper.kill()
        if not (folder / "holiday.mp4").exists():
            (folder / "holiday.mp4").symlink_to(self._short)
        below = self.server.tree() if self._ends(command) else []
        text = self._text(command)
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", text],
            cwd=folder,
            env=self._environment(command),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, (
            f"{command}\n{text}\nended with {done.returncode}\n{done.stdout}{done.stderr}{self._log()}"
        )
        if command.said:
            said = done.stdout + done.stderr
            alike = OutputChecker().check_output(f"{command.said}\n", said, ELLIPSIS | NORMALIZE_WHITESPACE)
            assert alike, f"{command}\nsaid\n{said}\nand the page has\n{command.said}"
        if self._ends(command):
            self.server.left(below)
        if not self._starts_itself:
            self._start()
        self._remember(command, done.stdout)
        self._passed.add((_gist(command), command.said))

    # --- what a page names -------------------------------------------------------------------------------------------

    def _text(self, command: Command) -> str:
        self._prepare(command)
        names = {
            ".venv/bin/reelsift": "reelsift",
            "http://127.0.0.1:8080": f"http://{self._http()}",
            "127.0.0.1:50051": self.server.address,
            "/var/lib/reelsift": str(self.server.data),
            "/var/backups/reelsift": str(self._backups),
            "/var/log/reelsift": str(self._states / "reelsift"),
        }
        text = command.text
        if re.search(r"\bID\b", text):
            text = re.sub(r"\bID\b", self._of(command), text)
        for name, here in names.items():
            text = text.replace(name, here)
        return text

    def _environment(self, command: Command) -> Mapping[str, str]:
        data = self.server.data
        if self._restores(command) and "--force" not in command.text:
            data = data.with_name("empty")  # where a store may be restored without force
        return environment() | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "REELSIFT_DATA_DIR": str(data),
            "REELSIFT_MODEL_REPOSITORY": str(self._repository),
            "REELSIFT_SERVER": self.server.address,
            "XDG_STATE_HOME": str(self._states),
            "COLUMNS": "250",
            "TERM": "dumb",
        }

    def _http(self) -> str:
        found = [str(event["address"]) for event in self.server.events() if event["event"] == "http.listening"]
        return found[-1] if found else "127.0.0.1:8080"

    def _of(self, command: Command) -> str:
        """The analysis (or silence) that the command is about."""
        if command.text.startswith("curl"):
            return self._made
        words = {word for call in command.of("reelsift") for word in call}
        if "unsilence" in words:
            return self._reelsift("alerts", "silence", "nothing", "--for", "1h", "--why", "a test").partition(":")[0]
        if words & {"terminate", "cancel"}:
            return self._at_work()
        if "delete" in words:
            return self._ended("--tenant", "to-delete")
        return self._analysed

    @cached_property
    def _analysed(self) -> str:
        """One that has ended well, with what search wants."""
        return self._ended("--analyzers", "shots,keyframe,similarity", film=self._film)

    def _ended(self, *options: str, film: Path | None = None) -> str:
        analyzers = () if "--analyzers" in options else ("--analyzers", "keyframe")
        made = self._reelsift("analyze", film or self._short, "--detach", *analyzers, *options).strip()
        self._reelsift("jobs", "watch", made)
        return made

    def _at_work(self) -> str:
        """One that runs, because its upload is slow."""
        line = [
            "reelsift",
            "analyze",
            str(self._film),
            "--json",
            "--analyzers",
            "keyframe",
            "--upload-rate",
            SLOW_BYTES,
        ]
        helper = subprocess.Popen(
            [*line, "--server", self.server.address],
            env=environment() | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._helpers.append(helper)
        assert helper.stdout is not None
        made = str(json.loads(helper.stdout.readline())["analysisId"])
        running = pb.AnalysisState.ANALYSIS_STATE_RUNNING
        wait_until(lambda: asyncio.run(self._state(made)) == running, 30.0, "a slow upload is at work")
        return made

    async def _state(self, analysis_id: str) -> pb.AnalysisState.ValueType:
        async with connect(self.server.address) as client:
            return (await client.get(analysis_id)).state

    def _remember(self, command: Command, said: str) -> None:
        if command.text.startswith("curl") and (found := re.search(r'"analysisId":\s*"(\w+)"', said)):
            self._made = found[1]

    def _reelsift(self, *words: str | Path) -> str:
        done = reelsift(*words, "--server", self.server.address)
        assert done.returncode == 0, f"{words}: {done.stderr}{self._log()}"
        return done.stdout

    def _log(self) -> str:
        return f"\nthe log:\n{self.server.log.read_text()[-LOG_TAIL:]}"

    # --- what must be so before ----------------------------------------------------------------------------------------

    def _prepare(self, command: Command) -> None:
        for words in command.of("reelsift"):
            match words:
                case ["models", "stage" | "shadow" | "canary" | "promote" | "rollback" | "retire" as step, *_]:
                    asyncio.run(self._lead_to(step))
                case ["capacity", *_]:
                    self._measure()
                case _:
                    pass
        if self._restores(command):
            self._stop()

    def _measure(self) -> None:
        """What is planned by: the cores while something is analysed, and while nothing is."""
        line = ("capacity", "--load", "1 stream", "--server", self.server.address)
        assert self._analysed
        wait_until(lambda: reelsift(*line).returncode == 0, 30.0, "there are samples to plan by")

    async def _lead_to(self, step: str) -> None:
        """Bring the model to where the step is allowed."""
        async with connect(self.server.address) as client:
            models, who = client.models, "a test"
            (model,) = [each for each in await models.list() if each.model == MODEL]
            now = {pb.VersionState.Name(each.state).partition("STATE_")[2]: each.version for each in model.versions}
            fit = {
                "stage": now["STABLE"] == 1 and "CANDIDATE" not in now,
                "rollback": bool({"CANDIDATE", "PREVIOUS"} & now.keys()),
                "retire": now.get("PREVIOUS") == 1,
            }
            if fit.get(step, "CANDIDATE" in now):
                return
            if "CANDIDATE" in now:
                await models.rollback(MODEL, who=who)
            if now["STABLE"] == 2 and "PREVIOUS" in now:
                await models.rollback(MODEL, who=who)
            elif now["STABLE"] == 2:
                await models.stage(MODEL, 1, who=who)
                await models.promote(MODEL, who=who)
                await models.retire(MODEL, 2, who=who)
            if step != "stage":
                await models.stage(MODEL, 2, who=who)
            if step == "retire":
                await models.promote(MODEL, who=who)

    @staticmethod
    def _restores(command: Command) -> bool:
        """Into the server's own store: it must be stopped."""
        return any(words[0] == "restore" and "--data-dir" not in words for words in command.of("reelsift"))

    @staticmethod
    def _ends(command: Command) -> bool:
        """Whether the server ends by it."""
        return any(words[0] == "drain" for words in command.of("reelsift"))

    # --- what systemd does ---------------------------------------------------------------------------------------------

    @property
    def _played(self) -> Mapping[str, Callable[[], None]]:
        """No systemd runs where tests do: this is what it would do to the server."""
        return {
            START: self._start,
            "systemctl stop reelsift": self._stop,
            RESTART: self._restart,
        }

    def _start(self) -> None:
        if not self.server.alive:
            self.server.begin()

    def _stop(self) -> None:
        if self.server.alive:
            self.server.leave()

    def _restart(self) -> None:
        if (RESTART, "") not in self._passed:  # once, as it takes its time
            self._stop()
            self._start()
            self._passed.add((RESTART, ""))


def _gist(command: Command) -> str:
    """What it does: its words without the reason that is given."""
    return re.sub(r""" --why ("[^"]*"|'[^']*'|\S+)""", "", command.bare).replace(".venv/bin/", "")
