"""``reelsift models compare``."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from orchestrator import logs
from orchestrator.adapters.sources.profiles import load_profiles
from orchestrator.cli import compare_runs, loop
from orchestrator.cli.compare_runs import Plan, Run, Version, looked_up, named
from orchestrator.cli.compare_words import Comparison, as_json, show
from orchestrator.cli.serve import settings_with
from orchestrator.comparing.answers import Both
from orchestrator.comparing.comparison import compare as compare_answers
from orchestrator.comparing.truth import Truth, read_folder
from orchestrator.errors import ProfileError, SetupError


def compare(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    version_a: Annotated[int, typer.Argument(min=1, help="One version, such as the one that serves.")],
    version_b: Annotated[int, typer.Argument(min=1, help="Another, such as one that might.")],
    labelled: Annotated[
        list[Path] | None,
        typer.Option(exists=True, file_okay=False, help="Folder of clips with truth beside them (ops/comparing.md)."),
    ] = None,
    clips: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="A clip of which nothing is known. With neither: golden clips."),
    ] = None,
    page: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write a page (HTML) with pictures of the differences.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
    profile: Annotated[str, typer.Option(help="Profile whose analyzers and settings are used.")] = "default",
    examples: Annotated[int, typer.Option(min=0, help="Differences shown of each analyzer, the largest first.")] = 12,
    repository: Annotated[Path | None, typer.Option(help="The model repository.")] = None,
    profile_dir: Annotated[Path | None, typer.Option(help="Folder of further profiles (TOML).")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what the service does.")] = False,
) -> None:
    """Compare two versions of a model by what their analyzers answer, on labelled clips and others.

    Each version runs in a Triton of its own; nothing that is served changes. --labelled and --clips may be given several times.
    """
    if page is not None and not page.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {page.parent}", param_hint="--page")
    logs.configure("info" if verbose else "error")
    settings = settings_with({"model_repository": repository, "profile_dir": profile_dir})
    known = {clip.resolve(): truth for folder in labelled or () for clip, truth in read_folder(folder).items()}
    shown = named([*known, *(clips or ())] or golden_clips())
    truths = {name: known[clip] for name, clip in shown.items() if clip in known}
    profiles = load_profiles(settings.profile_dir)
    if profile not in profiles:
        raise ProfileError(f"there is no profile {profile!r}; there are {', '.join(sorted(profiles))}")
    plan = Plan.of(model, profiles[profile], shown, settings.model_repository)
    versions = tuple(Version.read(settings.model_repository, model, number) for number in (version_a, version_b))
    comparison = loop.run(_compared(plan, (versions[0], versions[1]), truths))
    if page is not None:
        from orchestrator.cli.compare_page import render, wanted

        pictures = loop.run(looked_up(shown, wanted(comparison, examples)))
        page.write_text(render(comparison, pictures, examples), encoding="utf-8")
        sys.stderr.write(f"page: {page}\n")
    if json_output:
        sys.stdout.write(as_json(comparison, examples) + "\n")
    else:
        show(comparison, Console(highlight=False))


async def _compared(plan: Plan, versions: tuple[Version, Version], truths: dict[str, Truth]) -> Comparison:
    plan = await _timed(plan, truths)
    runs: list[Run] = []
    for version in versions:
        runs.append(await compare_runs.run(plan, version.number, lambda line: _say(f"{plan.model} {line}")))
    both = [Both(a, b) for a, b in zip(runs[0].answers, runs[1].answers, strict=True)]
    return Comparison(versions, (runs[0], runs[1]), truths, compare_answers(both, truths))


async def _timed(plan: Plan, truths: dict[str, Truth]) -> Plan:
    """With the frames that the object detector is shown, of the clips whose boxes are known."""
    looks = plan.looks
    boxed = {name for name, truth in truths.items() if any(each.boxes for each in truth.objects.values())}
    if looks is None or not boxed:
        return plan
    found = await looked_up(plan.clips, dict.fromkeys(boxed, ()))
    return plan.shown({name: each.sampled(looks) for name, each in found.items()})


def golden_clips() -> list[Path]:
    """The clips that the export tool measures parity on, fetched where they are not there yet. Raises ``SetupError``."""
    if importlib.util.find_spec("export") is None:
        raise SetupError(
            "name clips with --clips or --labelled: the export tool, which knows golden ones, is not installed here"
        )
    done = subprocess.run([sys.executable, "-m", "export", "clips"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SetupError("name clips with --clips or --labelled: the golden ones could not be fetched")
    return [Path(line) for line in done.stdout.splitlines()]


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
