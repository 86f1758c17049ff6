"""The greatest memory of a process tree, sampled."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from tests.benchmarks.cpu import kind, tree

_PAGE = os.sysconf("SC_PAGE_SIZE")
PERIOD = 0.2


class Peak:
    """Context manager: ``whole`` is the greatest sum of resident memory (bytes; pages that processes share count for each), and
    ``worker`` that of a single decode worker.
    """

    def __init__(self, pid: int) -> None:
        self._pid, self._over = pid, threading.Event()
        self.whole = self.worker = 0
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            sizes = [(process, _resident(process.pid)) for process in tree(self._pid)]
            self.whole = max(self.whole, sum(size for _, size in sizes))
            workers = [size for process, size in sizes if kind(process.arguments) == "decode worker"]
            self.worker = max(self.worker, *workers, 0)
            if self._over.wait(PERIOD):
                return


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0
