"""``reelsift models tune``: the course of a tuning over made-up contenders, and what the command writes and says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.adapters.sources.profiles import load_profiles
from orchestrator.adapters.triton import tunable
from orchestrator.cli import tune as command
from orchestrator.cli.models import app
from orchestrator.cli.tuning import load, page
from orchestrator.cli.tuning.bench import Told
from orchestrator.cli.tuning.tuner import Plan, Trial, Tuner, Tuning
from orchestrator.core.profiles import parse_profile
from orchestrator.core.tuning import Duel, Run, Setting, Space
from orchestrator.errors import InferenceUnavailable, InvalidRequest

START = Setting(1, 1, 8)
FAST = Setting(2, 1, 8)
SPACE = Space(cores=2, pictures=8)
runner = CliRunner()


class FakeContender:
    def __init__(self, bench: FakeBench, setting: Setting) -> None:
        self.bench, self.setting, self.stopped = bench, setting, False

    async def ready(self) -> None:
        if self.setting in self.bench.broken:
            raise InferenceUnavailable("the model cannot be loaded")

    async def run(self, profile: str, repeats: int, patience_s: float) -> Told:
        assert not self.stopped
        self.bench.ran.append((self.setting, profile, repeats))
        self.bench.fail(self.setting, len(self.bench.ran))
        seconds = self.bench.seconds(self.setting) * int(profile.removeprefix("tune-")) * repeats
        answers = "other" if self.setting in self.bench.lying else f"answers of {profile} {repeats}"
        return Told(Run(100 * repeats, seconds, 1.0 * repeats, 1 << 30), answers)

    async def stop(self) -> None:
        self.stopped = True


class FakeBench:
    """Contenders that take known seconds. ``broken`` ones cannot be loaded, ``lying`` ones answer otherwise."""

    def __init__(
        self, seconds: Callable[[Setting], float], broken=(), lying=(), fail=lambda setting, run: None
    ) -> None:
        self.seconds, self.broken, self.lying, self.fail = seconds, broken, lying, fail
        self.base = tunable.TunableConfig("one", 1, tunable.model_config_pb2.ModelConfig(backend="onnxruntime"))
        self.base = self.base.with_setting(START)
        self.base.config.max_batch_size = START.batch
        self.ran: list[tuple[Setting, str, int]] = []
        self.started: list[FakeContender] = []

    async def start(self, setting: Setting) -> FakeContender:
        self.started.append(FakeContender(self, setting))
        return self.started[-1]


async def tuned(bench: FakeBench, **plan) -> tuple[Tuning, list[str]]:
    said: list[str] = []
    chosen = {"profiles": ["tune-1", "tune-2", "tune-4"], "seconds": 3.0, "rounds": 5, "trials": 10} | plan
    try:
        return await Tuner(bench, SPACE, Plan(**chosen), said.append).tune(), said  # type: ignore[arg-type]
    finally:
        assert all(contender.stopped for contender in bench.started)


def seconds(setting: Setting) -> float:
    return 0.9 if setting == FAST else 1.0 + 0.1 * (setting != START)


async def test_the_winner_is_confirmed_in_fresh_rounds():
    bench = FakeBench(seconds)
    made, said = await tuned(bench)
    assert made.best == FAST
    assert made.confirmation is not None
    assert made.confirmation.duel.medians[0] == pytest.approx(1 / 0.9)
    assert (made.confirmation.setting, made.confirmation.champion) == (FAST, START)
    assert any("frames/s x 1.111" in line for line in said)
    later = made.trials[made.trials.index(next(trial for trial in made.trials if trial.won)) + 1 :]
    assert {trial.champion for trial in later} == {FAST}


async def test_luck_is_not_confirmed():
    """It was faster as long as it was a contender; against the present config once more it is not."""
    lucky = {"left": 6}

    def once(setting: Setting) -> float:
        if setting == FAST and lucky["left"]:
            lucky["left"] -= 1
            return 0.9
        return 1.0 if setting in (FAST, START) else 1.2

    made, _ = await tuned(FakeBench(once))
    assert made.confirmation is not None
    assert made.best == START


async def test_the_present_config_stays_when_nothing_beats_it():
    made, _ = await tuned(FakeBench(lambda setting: 1.0 if setting == START else 1.05))
    assert made.best == START
    assert made.confirmation is None
    assert made.trials
    assert all(len(trial.duel.runs) == 2 for trial in made.trials)  # hopeless ones are not measured to the end
    assert len(made.control.duel.runs) == 5


async def test_runs_take_their_seconds():
    bench = FakeBench(seconds)
    made, _ = await tuned(bench, seconds=3.0)
    assert (made.profile, made.repeats) == ("tune-4", 1)
    made, _ = await tuned(FakeBench(seconds), seconds=9.0)
    assert (made.profile, made.repeats) == ("tune-4", 3)
    made, _ = await tuned(FakeBench(seconds), seconds=1.5)
    assert (made.profile, made.repeats) == ("tune-2", 1)


async def test_a_setting_that_cannot_be_loaded_is_a_lost_trial():
    made, _ = await tuned(FakeBench(seconds, broken=(FAST,)))
    lost = next(trial for trial in made.trials if trial.setting == FAST)
    assert (lost.won, lost.said, lost.duel.runs) == (False, "the model cannot be loaded", [])
    assert made.best == START


async def test_other_answers_are_a_lost_trial_however_fast():
    made, _ = await tuned(FakeBench(seconds, lying=(FAST,)))
    assert made.best == START
    assert "answers" in next(trial for trial in made.trials if trial.setting == FAST).said


async def test_without_a_present_config_there_is_nothing_to_beat():
    with pytest.raises(InferenceUnavailable):
        await tuned(FakeBench(seconds, broken=(START,)))


async def test_the_champions_own_failure_is_nobodys_loss():
    def fail(setting: Setting, run: int) -> None:
        if setting == START and run > 20:
            raise InferenceUnavailable("it died")

    with pytest.raises(InferenceUnavailable, match="it died"):
        await tuned(FakeBench(seconds, fail=fail))


@pytest.mark.parametrize("model", ["labels", "shots", "text_detection", "moderation"])
def test_the_load_is_the_analyzers_that_ask_the_model(model: str, tmp_path: Path):
    repository = Path(__file__).parents[3] / "model_repository"
    profile, pictures = load.analyzers_asking(model, repository)
    expected = {
        "labels": ["labels", "similarity"],
        "shots": ["shots"],
        "text_detection": ["text"],
        "moderation": ["moderation"],
    }
    assert list(profile.analyzers) == expected[model]
    assert pictures == {"labels": 8, "shots": 25, "text_detection": 4, "moderation": 8}[model]
    names = load.write_profiles(profile, tmp_path)
    assert len(names) == (1 if model == "shots" else 6)
    for name in names:
        again = parse_profile(name, (tmp_path / f"{name}.toml").read_text())
        assert list(again.analyzers) == list(profile.analyzers)
        for analyzer, options in again.analyzers.items():
            own = load_profiles()["thorough"].analyzers[analyzer]
            assert {**own, "fps": options["fps"]} == options if "fps" in own else own == options
    assert load.rate_of(names[-1]) == "every frame"


def test_a_model_that_no_analyzer_asks_has_no_load():
    with pytest.raises(InvalidRequest, match="no analyzer asks text_embedding"):
        load.analyzers_asking("text_embedding", Path(__file__).parents[3] / "model_repository")


def trial(setting: Setting, rates: list[float], lost: str = "") -> Trial:
    duel = Duel(5)
    for rate in rates:
        duel.add(Run(100, 1 / rate, 2, 10**9), Run(100, 1, 2, 10**9))
    return Trial(setting, START, duel, lost)


def made_up(*, won: bool) -> Tuning:
    made = Tuning(START, "tune-0", 2, trial(START, [1.0, 1.001, 0.999, 1.0, 1.002]), 0.01)
    made.trials += [trial(FAST, [1.1, 1.2, 1.1, 1.12, 1.11]), trial(Setting(1, 2, 8), [], "<b>cannot be loaded</b>")]
    made.confirmation = trial(FAST, [1.1] * 5 if won else [1.0] * 5)
    return made


FACTS: Mapping[str, str] = {
    "When": "2026-01-01 00:00 UTC",
    "Machine": "2 cores of <Z80>",
    "Clip": "a.mp4",
    "Work": "labels on every frame",
}


def test_the_page_stands_alone_and_escapes():
    text = page.render(made_up(won=True), FACTS, "labels, version 1: tuned")
    assert "<b>cannot" not in text
    assert "&lt;Z80&gt;" in text
    assert "1.100 x the frames/s" in text
    assert text.count("<circle") == 2 * 15
    assert not re.search(r"(src|href)=|<script|https?://", text)
    assert "The present config stays" in page.render(made_up(won=False), FACTS, "labels, version 1: measured")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "labels"
    (folder / "1").mkdir(parents=True)
    config = Path(__file__).parents[3] / "model_repository" / "labels" / "config.pbtxt"
    (folder / "config.pbtxt").write_bytes(config.read_bytes())
    return folder.parent


def run(repository: Path, *arguments: str, made: Tuning | None = None, monkeypatch: pytest.MonkeyPatch | None = None):
    if monkeypatch is not None:
        monkeypatch.setattr(command, "_measure", lambda *_: (made, FACTS))
    return runner.invoke(app, ["tune", "labels", "--repository", str(repository), *arguments])


def test_the_winner_is_written_and_undone(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    own = repository / "labels" / "1" / "config.pbtxt"
    dry = run(repository, "--dry-run", made=made_up(won=True), monkeypatch=monkeypatch)
    assert (dry.exit_code, own.exists()) == (0, False)
    done = run(repository, "--page", str(tmp_path / "tune.html"), made=made_up(won=True), monkeypatch=monkeypatch)
    assert done.exit_code == 0, done.output
    assert "wins" in done.stdout
    assert tunable.read(repository, "labels").setting == FAST
    assert "2 cores of <Z80>" in own.read_text().splitlines()[0]
    assert (tmp_path / "tune.html").read_text().startswith("<!doctype html>")
    assert run(repository, "--undo").exit_code == 0
    assert not own.exists()
    assert run(repository, "--undo").exit_code == 0


def test_nothing_is_written_when_the_present_config_stays(repository: Path, monkeypatch: pytest.MonkeyPatch):
    done = run(repository, "--json", made=made_up(won=False), monkeypatch=monkeypatch)
    said = json.loads(done.stdout)
    assert said["written"] is False
    assert said["best"] == said["start"]
    assert [each["won"] for each in said["trials"]] == [True, False]
    assert len(said["trials"][0]["rounds"]) == 5
    assert not (repository / "labels" / "1" / "config.pbtxt").exists()


def test_a_config_that_tuning_did_not_write_is_left_alone(repository: Path):
    own = repository / "labels" / "1" / "config.pbtxt"
    own.write_bytes((repository / "labels" / "config.pbtxt").read_bytes())
    for arguments in (("--undo",), ()):
        assert run(repository, *arguments).exit_code == 2
    assert own.exists()
