"""The terminal's view of a running analysis: a live line of progress, and a block for each segment as it closes."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.api import messages as pb
from orchestrator.cli import describe

PLAIN_PROGRESS_SECONDS = 5.0


class View:
    """Shows responses on ``console``; plain lines where that is no terminal. A context manager."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = describe.printable(title)
        self._length_ns = 0
        self._upload = 0
        self._plain_due = 0.0
        self._live = Live(console=console, transient=True, refresh_per_second=8) if console.is_terminal else None

    def __enter__(self) -> View:
        if self._live:
            self._live.start()
            self._live.update(Text(f"{self._title}: starting", style="dim"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, response: pb.AnalyzeResponse) -> None:
        """Show one response."""
        match response.WhichOneof("event"):
            case "started":
                self._started(response.started)
            case "progress":
                self._progress(response.progress)
            case "segment":
                self._console.print(_block(response.segment))
            case "finished":
                self._finished(response.finished)
            case "upload_progress":
                self._upload = response.upload_progress.committed_bytes

    def _started(self, started: pb.Started) -> None:
        self._length_ns = started.media.declared_duration_ns
        head = Text.assemble((self._title, "bold"), "  ", describe.media_line(started.media, started.decoder))
        self._console.print(head)
        names = ", ".join(describe.printable(name) for name in started.analyzers)
        self._console.print(Text(f"profile {describe.printable(started.profile)}: {names}\n", style="dim"))

    def _progress(self, progress: pb.Progress) -> None:
        words = [
            describe.clock(progress.media_ns),
            f"{min(1.0, progress.media_ns / self._length_ns):.0%}" if self._length_ns else "",
            f"realtime factor {progress.realtime_factor:.2f}" if progress.media_ns else "",
            f"ETA {describe.duration(progress.eta_ns)}" if progress.HasField("eta_ns") else "",
            f"{self._upload / 1e6:.1f} MB uploaded" if self._upload else "",
        ]
        line = Text("  ".join(filter(None, words)))
        if self._live:
            bar = ProgressBar(total=self._length_ns or None, completed=progress.media_ns, width=24)
            grid = Table.grid(padding=(0, 2))
            grid.add_row(bar, line)
            self._live.update(grid)
        elif time.monotonic() >= self._plain_due:
            self._plain_due = time.monotonic() + PLAIN_PROGRESS_SECONDS
            self._console.print(Text.assemble("... ", line))

    def _finished(self, finished: pb.Finished) -> None:
        first, *others = describe.summary_lines(finished)
        self._console.print(Text(first, style="bold green" if not finished.partial else "bold yellow"))
        for line in others:
            self._console.print(Text(line))


def _block(segment: pb.Segment) -> Group:
    rows = Table.grid(padding=(0, 2), pad_edge=False)
    rows.add_column(style="cyan", no_wrap=True, min_width=12)
    rows.add_column(overflow="fold")
    for name, words in describe.segment_rows(segment):
        rows.add_row(Text(f"  {name}"), Text(words))
    return Group(Text(describe.segment_title(segment), style="bold"), rows, Text(""))
