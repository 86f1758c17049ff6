"""Ray Data labelling a clip on this machine: a task decodes, a pool of actors, one per core, asks sessions of one thread.

    python -m tests.benchmarks.peers.ray_data CLIP tuned         # prints the run as JSON, Ray's own processes included
    python -m tests.benchmarks.peers.ray_data CLIP documented

``documented`` is a job as Ray's documentation has it: rows out of ``flat_map``, everything else by default. Its actors start with the
job, and so their time counts. ``tuned`` is better than that: decoding runs beside the actors and not inside one of them, frames travel
in blocks of 32 and not of 128 MiB, and time runs from when all of them stand ready.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset

from tests.benchmarks.bare import BATCH, session
from tests.benchmarks.peers.common import START_SECONDS, batches, measured
from tests.benchmarks.service import cores

BLOCK_FRAMES, BLOCK_BYTES = 32, 4 << 20  # a block ends with the batch that passes these bytes, which is the first
STORE_BYTES = 1 << 30


class Labels:
    """An actor with a session of its own."""

    def __init__(self) -> None:
        self._model = session(threads=1)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The answers to a batch."""
        names = ["scores", "classes"]
        return dict(zip(names, self._model.run(names, {"frames": batch["frames"]}), strict=True))


class Gate:
    """Has a decoder in another process wait, once it is up, until it is told to go. Both are told by files."""

    def __init__(self, folder: Path) -> None:
        self._up, self._go = folder / "up", folder / "go"

    def wait_for_go(self) -> None:
        """Say that we are up, wait."""
        self._up.touch()
        _wait_for(self._go)

    def open(self) -> None:
        """Let it go."""
        self._go.touch()

    def wait_for_decoder(self) -> None:
        """Until it is up."""
        _wait_for(self._up)


def _wait_for(file: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not file.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Ray Data does not come up: there is no {file.name}")
        time.sleep(0.005)


def documented(clip: str) -> None:
    """A job by default settings."""

    def rows(_: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for batch in batches(clip):
            for frame in batch:
                yield {"frames": frame}

    decoded = ray.data.from_items([clip]).flat_map(rows)
    labelled = decoded.map_batches(Labels, compute=ActorPoolStrategy(size=max(1, cores() - 1)), batch_size=BATCH)
    measured(lambda: answers(labelled))


def tuned(clip: str, gate: Gate) -> None:
    """A job that is measured when all its processes are up."""

    def blocks(_: dict[str, Any]) -> Iterator[dict[str, Any]]:
        gate.wait_for_go()
        for batch in batches(clip, BLOCK_FRAMES):
            yield {"frames": batch}

    context = DataContext.get_current()
    context.target_max_block_size, context.wait_for_min_actors_s = BLOCK_BYTES, int(START_SECONDS)
    # Another share of a core than the actors', or Ray Data would fuse it into one of them.
    decoded = ray.data.from_items([clip]).map_batches(blocks, batch_size=1, num_cpus=0.5)
    pool = ActorPoolStrategy(size=cores())
    labelled = decoded.map_batches(Labels, compute=pool, batch_size=BATCH, num_cpus=1, zero_copy_batch=True)
    with ThreadPoolExecutor(1) as thread:
        counted = thread.submit(answers, labelled)
        gate.wait_for_decoder()

        def work() -> int:
            gate.open()
            return counted.result()

        measured(work)


def answers(labelled: Dataset) -> int:
    """Run the job; the number of frames that were answered."""
    return sum(len(batch["classes"]) for batch in labelled.iter_batches(batch_size=None))


def main(clip: str, kind: str) -> None:
    """Start Ray, measure, stop."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        ray.init(
            num_cpus=cores() + (kind == "tuned"),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=STORE_BYTES,
            _temp_dir=folder,
        )
        DataContext.get_current().enable_progress_bars = False
        if kind == "tuned":
            tuned(clip, Gate(Path(folder)))
        else:
            documented(clip)
        ray.shutdown()


if __name__ == "__main__":
    main(str(Path(sys.argv[1]).resolve()), sys.argv[2])
