"""The best script without a server: one thread scales what libav's threads decode, one per core has ONNX Runtime label it.

python -m tests.benchmarks.peers.threaded CLIP    # prints the run as JSON; imports and loading not counted

Each session runs in the thread that asks it (one intra-op thread), so that none spins while it waits, and Python's lock is free
wherever time is spent.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.benchmarks.bare import session
from tests.benchmarks.peers.common import Ask, Askers, batches, measured
from tests.benchmarks.service import cores


def labeller() -> Ask:
    """A session of its own."""
    model = session(threads=1)
    return lambda batch: len(model.run(["scores", "classes"], {"frames": batch})[1])


def main(clip: str) -> None:
    """Label every frame of ``clip``."""
    with Askers(cores(), labeller) as askers:
        askers.warm_up()
        measured(lambda: askers.answer(batches(clip)))


if __name__ == "__main__":
    main(str(Path(sys.argv[1]).resolve()))
