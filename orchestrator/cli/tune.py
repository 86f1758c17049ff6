"""``reelsift models tune``: which batch, instances, threads and merging of requests serve a model best on this machine."""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from orchestrator import logs
from orchestrator.cli import loop
from orchestrator.cli.serve import settings_with

if TYPE_CHECKING:
    from orchestrator.adapters.triton.tunable import TunableConfig
    from orchestrator.cli.tuning.tuner import Trial, Tuning


def tune(
    model: Annotated[str, typer.Argument(help="Name of a model.")],
    version: Annotated[int | None, typer.Option(min=1, help="Which one; default: the repository's.")] = None,
    clip: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, readable=True, help="A video like those to come.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.5, help="A run takes so long at least.")] = 8.0,
    rounds: Annotated[int, typer.Option(min=5, help="Alternating rounds of a trial.")] = 5,
    trials: Annotated[int, typer.Option(min=1, help="Settings that are tried at most.")] = 16,
    page: Annotated[Path | None, typer.Option(dir_okay=False, help="Write a page (HTML) with the plot.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure, and write no config.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Remove what an earlier tuning wrote.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the measurement as JSON.")] = False,
    repository: Annotated[Path | None, typer.Option(help="The model repository.")] = None,
) -> None:
    """Measure settings of a model's config on this machine, with real frames, and write the one that wins.

    It becomes the version's own config (MODEL/VERSION/config.pbtxt) and counts from the next start of the service. The present
    config stays unless it is beaten beyond noise, twice. Let the machine do nothing else meanwhile.
    """
    from orchestrator.adapters.triton import tunable

    logs.configure("warning")
    root = settings_with({"model_repository": repository}).model_repository
    base = tunable.read(root, model, version)
    own = tunable.own_config(root, model, base.version)
    if own.exists() and not tunable.is_ours(own):
        raise typer.BadParameter(f"{own} is not tuning's to replace or remove", param_hint="MODEL")
    if undo:
        own.unlink(missing_ok=True)
        return
    if page is not None and not page.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {page.parent}", param_hint="--page")
    with tempfile.TemporaryDirectory(prefix="reelsift-tune-") as folder:
        made, facts = _measure(root, base, clip, (seconds, rounds, trials), Path(folder))
    written = made.best != made.start and not dry_run
    if written:
        tunable.write(own, base.with_setting(made.best), _note(made, facts))
    title = f"{model}, version {base.version}: tuned" if written else f"{model}, version {base.version}: measured"
    if page is not None:
        from orchestrator.cli.tuning.page import render

        page.write_text(render(made, facts, title), encoding="utf-8")
        sys.stderr.write(f"page: {page}\n")
    if as_json:
        said = {
            "model": model,
            "version": base.version,
            "facts": dict(facts),
            "written": written,
            **as_json_values(made),
        }
        sys.stdout.write(json.dumps(said, indent=2) + "\n")
        return
    Console().print(_table(made))
    kept = "the present config stays" if made.best == made.start else f"{made.best} wins"
    sys.stdout.write(f"{kept}{f': written to {own}' if written else ''}\n")


def _measure(
    root: Path, base: TunableConfig, clip: Path | None, amount: tuple[float, int, int], folder: Path
) -> tuple[Tuning, Mapping[str, str]]:
    from orchestrator.cli.tuning import load
    from orchestrator.cli.tuning.bench import Bench
    from orchestrator.cli.tuning.tuner import Plan, Tuner
    from orchestrator.core.tuning import Space

    profile, pictures = load.analyzers_asking(base.model, root)
    bench = Bench(root, base, (clip or load.demo_clip()).resolve(), folder)
    bench.profiles.mkdir()
    plan = Plan(load.write_profiles(profile, bench.profiles), *amount)
    cores = len(os.sched_getaffinity(0))
    space = Space(cores, pictures, base.batchable)
    made = loop.run(Tuner(bench, space, plan, lambda line: _say(f"{base.model}: {line}")).tune())
    facts = {
        "When": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "Machine": f"{cores} cores of {_processor()}, {platform.system()} {platform.release()}",
        "Clip": bench.clip.name,
        "Work": f"{', '.join(profile.analyzers)} on {load.rate_of(made.profile)}"
        + (f", {made.repeats} times a run" if made.repeats > 1 else ""),
        "Equal": f"what differs by less than {made.margin:.1%}",
    }
    return made, facts


def as_json_values(made: Tuning) -> dict[str, Any]:
    """All that was measured, as JSON values."""
    return {
        "start": asdict(made.start),
        "best": asdict(made.best),
        "margin": made.margin,
        "control": _trial(made.control),
        "trials": [_trial(trial) for trial in made.trials],
        "confirmation": _trial(made.confirmation) if made.confirmation else None,
    }


def _trial(trial: Trial) -> dict[str, Any]:
    names = ("rate", "cpu", "memory")
    return {
        "setting": asdict(trial.setting),
        "champion": asdict(trial.champion),
        "won": trial.won,
        "said": trial.said,
        "medians": dict(zip(names, trial.duel.medians, strict=True)) if trial.duel.runs else None,
        "rounds": [[asdict(contender), asdict(champion)] for contender, champion in trial.duel.runs],
    }


def _note(made: Tuning, facts: Mapping[str, str]) -> tuple[str, ...]:
    from orchestrator.cli.tuning.tuner import sum_up

    assert made.confirmation is not None
    return (
        f" at {facts['When']} on {facts['Machine']}",
        f"with {facts['Clip']}: {facts['Work']}.",
        f"{made.best} in place of {made.start}: {sum_up(made.confirmation)}.",
        "It holds for this machine. `reelsift models tune --undo` removes it.",
    )


def _table(made: Tuning) -> Table:
    table = Table(
        "setting", "rounds", "frames/s", "CPU ms", "MB", "frames/s x", "CPU x", "memory x", "verdict", box=None
    )
    rows = [
        ("the present config against itself", made.control),
        *((str(trial.setting), trial) for trial in made.trials),
    ]
    if made.confirmation is not None:
        rows.append(("the winner against the present config", made.confirmation))
    for name, trial in rows:
        numbers = [""] * 6
        if trial.duel.runs:
            run = trial.typical
            numbers = [f"{run.rate:.1f}", f"{run.cpu_ms:.2f}", f"{run.memory / 1e6:.0f}"]
            numbers += [f"{median:.3f}" for median in trial.duel.medians]
        table.add_row(name, str(len(trial.duel.runs)), *numbers, trial.said, style="green" if trial.won else "")
    return table


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
