"""A comparison in tables and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.cli import describe
from orchestrator.cli.compare_runs import Run, Version
from orchestrator.comparing.comparison import Findings
from orchestrator.comparing.differences import Difference, telling
from orchestrator.comparing.measures import Measure
from orchestrator.comparing.truth import Truth

SAME = 5e-4  # a change below it shows as none


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two versions, what they answered and took, and what that comes to. ``truths``: by clip, where there is one."""

    versions: tuple[Version, Version]
    runs: tuple[Run, Run]
    truths: Mapping[str, Truth]
    findings: tuple[Findings, ...]

    @property
    def model(self) -> str:
        """The model's name."""
        return self.versions[0].model

    @property
    def clips(self) -> list[tuple[str, int, bool]]:
        """Name, frames, and whether truth is known, of every clip."""
        return [(each.clip, each.frames, each.clip in self.truths) for each in self.runs[0].answers]

    @property
    def differences(self) -> int:
        """How many there are in all."""
        return sum(len(found.differences) for found in self.findings)

    @property
    def costs(self) -> list[tuple[str, float, float]]:
        """CPU seconds per second of media of A and B: of the model alone, and of everything."""
        a, b = (run.cpu_per_second for run in self.runs)
        return [("the model", a.model, b.model), ("the whole pipeline", a.everything, b.everything)]


def number(measure: Measure) -> str:
    """The value, or that there is none."""
    return "–" if measure.value is None else f"{measure.value:.3f}"


def change(a: Measure, b: Measure) -> tuple[str, str]:
    """From A to B in words, and ``better``, ``worse``, or nothing where it does not matter."""
    if a.value is None or b.value is None:
        return "", ""
    by = b.value - a.value
    if abs(by) < SAME:
        return "=", ""
    return f"{by:+.3f}", "better" if (by > 0) == a.rising else "worse"


def facts(version: Version) -> str:
    """A version in a line."""
    told = [version.facts.get("precision", ""), version.facts.get("target", ""), version.digest[:12]]
    return f"version {version.number}" + (f" ({', '.join(filter(None, told))})" if any(told) else "")


def show(comparison: Comparison, console: Console) -> None:
    """Print everything but the examples."""
    a, b = comparison.versions
    seconds = comparison.runs[0].media_s
    labelled = sum(known for _, _, known in comparison.clips)
    console.print(Text(f"{comparison.model}: A {facts(a)}, B {facts(b)}", style="bold"))
    clips = describe.counted(len(comparison.clips), "clip")
    console.print(Text(f"{clips}, {seconds:.1f} s of video, {labelled} of them labelled\n"))
    for found in comparison.findings:
        console.print(_table(found))
        console.print(Text(f"{describe.counted(len(found.differences), 'difference')} worth a look\n"))
    costs = Table("CPU seconds per second of video", "A", "B", "B / A")
    for name, one, other in comparison.costs:
        costs.add_row(name, f"{one:.4f}", f"{other:.4f}", f"{other / one:.2f}" if one else "–")
    console.print(costs)


def _table(found: Findings) -> Table:
    table = Table(found.analyzer, "of", "A", "B", "change", "A and B")
    for name, one in found.accuracy[0].items():
        other = found.accuracy[1].get(name, Measure(None, 0))
        words, verdict = change(one, other)
        style = {"better": "green", "worse": "red"}.get(verdict, "")
        table.add_row(describe.printable(name), str(one.of), number(one), number(other), Text(words, style=style), "")
    for name, measure in found.agreement.items():
        table.add_row(name, str(measure.of), "", "", "", number(measure))
    return table


def as_json(comparison: Comparison, examples: int) -> str:
    """Everything, with at most so many ``examples`` of each analyzer, as one JSON document."""
    document = {
        "model": comparison.model,
        "versions": [
            {
                "version": each.number,
                "digest": each.digest,
                **each.facts,
                "cpu_seconds_per_second": asdict(run.cpu_per_second),
            }
            for each, run in zip(comparison.versions, comparison.runs, strict=True)
        ],
        "clips": [{"name": name, "frames": frames, "labelled": known} for name, frames, known in comparison.clips],
        "media_seconds": comparison.runs[0].media_s,
        "analyzers": {found.analyzer: _findings(found, examples) for found in comparison.findings},
    }
    return json.dumps(document, indent=1, ensure_ascii=False)


def _findings(found: Findings, examples: int) -> dict[str, Any]:
    a, b = found.accuracy
    return {
        "accuracy": {
            name: {"of": one.of, "a": one.value, "b": b[name].value if name in b else None} for name, one in a.items()
        },
        "agreement": {name: {"of": each.of, "value": each.value} for name, each in found.agreement.items()},
        "differences": len(found.differences),
        "largest": [_difference(each) for each in telling(found.differences, examples)],
    }


def _difference(each: Difference) -> dict[str, Any]:
    return {"clip": each.clip, "frame": each.frame, "size": each.size, "words": each.words}
