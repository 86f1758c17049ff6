"""Answers of the service as tests read them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import json_format

from orchestrator.api import messages as pb
from tests.acceptance.server import REELSIFT, environment


@dataclass
class Answer:
    """All responses of one analysis, in the order in which they came; ``at`` holds the clock at each."""

    responses: list[pb.AnalyzeResponse] = field(default_factory=list)
    at: list[float] = field(default_factory=list)

    def add(self, response: pb.AnalyzeResponse) -> None:
        self.responses.append(response)
        self.at.append(time.monotonic())

    @property
    def analysis_id(self) -> str:
        return self.responses[0].analysis_id

    @property
    def media(self) -> pb.MediaInfo:
        return next(each.started.media for each in self.responses if each.HasField("started"))

    @property
    def segments(self) -> list[pb.Segment]:
        return [each.segment for each in self.responses if each.HasField("segment")]

    @property
    def acknowledged(self) -> list[int]:
        """Committed bytes, as told."""
        told = (each.upload_progress for each in self.responses if each.HasField("upload_progress"))
        return [each.committed_bytes for each in told]

    @property
    def finished(self) -> pb.Finished:
        assert self.responses, "nothing came"
        assert self.responses[-1].HasField("finished"), f"the last message is {self.responses[-1]}"
        return self.responses[-1].finished


async def collect(responses: AsyncIterator[pb.AnalyzeResponse]) -> Answer:
    """Read an analysis to its end."""
    answer = Answer()
    async for response in responses:
        answer.add(response)
    return answer


def parse(lines: Iterable[str]) -> Answer:
    """What ``reelsift analyze --json`` printed."""
    answer = Answer()
    for line in lines:
        answer.add(json_format.Parse(line, pb.AnalyzeResponse()))
    return answer


def annotation(segment: pb.Segment, analyzer: str) -> pb.Annotation:
    """What ``analyzer`` said of ``segment``."""
    (found,) = (each for each in segment.annotations if each.analyzer == analyzer)
    return found


def assert_same(one: Answer, other: Answer) -> None:
    """Every byte of every segment is the same."""
    for mine, theirs in zip(one.segments, other.segments, strict=False):
        if mine.SerializeToString(deterministic=True) != theirs.SerializeToString(deterministic=True):
            raise AssertionError(f"segment {mine.index} differs:\n{_difference(mine, theirs)}")
    assert len(one.segments) == len(other.segments)


def _difference(mine: pb.Segment, theirs: pb.Segment) -> str:
    ours, yours = str(mine).splitlines(), str(theirs).splitlines()
    pairs = (f"{a.strip()}  |  {b.strip()}" for a, b in zip(ours, yours, strict=False) if a != b)
    return "\n".join([*list(pairs)[:20], f"({len(ours)} and {len(yours)} lines)"])


def reelsift(*arguments: str | Path, timeout: float = 180, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the real command."""
    line = [str(REELSIFT), *map(str, arguments)]
    return subprocess.run(
        line, capture_output=True, text=True, timeout=timeout, env=environment(), cwd=cwd, check=False
    )
