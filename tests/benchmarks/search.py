"""Search at size (goal P14): how long queries take, and how many neighbours are found.

    python -m tests.benchmarks.search [--segments 100000] [--postgres 0] [--keep DIR] [--queries 40] [--annotations FILE]

``--postgres N`` also fills a PostgreSQL with N segments, in ``--keep DIR`` for once and for all runs. The whole of a
search is timed, from the query's text (its vector is computed by ONNX Runtime in this process, one thread) to the page
of 20 explained hits.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import psycopg
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from orchestrator.adapters.search.opening import search_index
from orchestrator.adapters.search.tokens import Tokens
from orchestrator.adapters.stores.database import Database
from orchestrator.adapters.stores.sql import open_database
from orchestrator.core.results import ModelVersion
from orchestrator.core.searching import SearchFilter, SearchQuery, SegmentRef
from orchestrator.pipeline.search_ports import SearchIndex
from orchestrator.pipeline.searching import MODEL, Embedder, SearchService
from orchestrator.settings import Settings
from tests.benchmarks.search_corpus import CHUNK, PER_ANALYSIS, SPACE, Corpus, annotate, segments_of
from tests.benchmarks.search_load import drop_indexes, load_postgres, load_sqlite
from tests.media.clips import cache_dir
from tests.media.composite import build_composite
from tests.support.ort_inference import OrtInference
from tests.support.postgres import running_postgres

Floats = NDArray[np.float32]
PAGE = 20
DEEP = 100  # neighbours whose recall is measured, besides the page's
WORK_MEMORY = {
    "shared_buffers": "6GB",
    "maintenance_work_mem": "5GB",
    "max_parallel_maintenance_workers": "2",
    "max_wal_size": "16GB",
}
EVERYTHING = SearchFilter()
WARM_UP = 2000
console = Console(soft_wrap=True, highlight=False)


@dataclass(frozen=True)
class Kind:
    """A kind of query: makes the n-th."""

    name: str
    query: Callable[[int], SearchQuery]
    page: int = 0


SENTENCES = (
    "a man riding a bicycle",
    "someone crosses the river by boat",
    "traffic in the city at night",
    "an animal on the grass",
    "breaking news on television",
    "phone number to call",
    "a person sitting in a car",
    "food on a table",
)


class OneSpace(Embedder):
    """The drawn vectors belong to the model in use."""

    async def space(self) -> str:
        return SPACE


def kinds(words: Sequence[str], classes: Sequence[str], segments: int) -> list[Kind]:
    """Every kind of query that is timed."""
    rng = np.random.default_rng(3)
    chosen = [str(word) for word in rng.choice(words, 500)]
    refs = [SegmentRef(f"a{n // PER_ANALYSIS}", int(n % PER_ANALYSIS)) for n in rng.integers(segments, size=500)]

    def tenant(n: int) -> SearchFilter:
        return SearchFilter(tenant=f"t{n % 10}")

    narrow = SearchFilter(
        classes=("person",), min_score=0.5, has_face=True, max_moderation=0.2, min_duration_ns=2 * 10**9
    )
    return [
        Kind("the commonest class", lambda n: SearchQuery("person")),
        Kind("a class", lambda n: SearchQuery(classes[n % len(classes)])),
        Kind("a word of the screen", lambda n: SearchQuery(chosen[n])),
        Kind("a phrase of the screen", lambda n: SearchQuery(f'"{chosen[n]} {chosen[n + 1]}" {chosen[n + 2]}')),
        Kind("four words", lambda n: SearchQuery(" ".join([*chosen[n : n + 2], "person", classes[n % len(classes)]]))),
        Kind("a sentence", lambda n: SearchQuery(SENTENCES[n % len(SENTENCES)])),
        Kind("a sentence, one tenant", lambda n: SearchQuery(SENTENCES[n % len(SENTENCES)], filter=tenant(n))),
        Kind("a sentence, narrow filter", lambda n: SearchQuery(SENTENCES[n % len(SENTENCES)], filter=narrow)),
        Kind("a sentence, fifth page", lambda n: SearchQuery(SENTENCES[n % len(SENTENCES)]), page=4),
        Kind("like a segment", lambda n: SearchQuery(like=refs[n])),
        Kind("like a segment, one tenant", lambda n: SearchQuery(like=refs[n], filter=tenant(n))),
        Kind("newest, narrow filter", lambda n: SearchQuery(filter=narrow)),
    ]


async def timed(service: SearchService, every: Sequence[Kind], numbers: range) -> dict[str, list[float]]:
    """Milliseconds of the queries with these numbers, by kind."""
    times: dict[str, list[float]] = {}
    for kind in every:
        for n in numbers:
            token = ""
            for _ in range(kind.page):
                token = (await service.search(kind.query(n), PAGE, token)).next_token
            started = time.perf_counter()
            await service.search(kind.query(n), PAGE, token)
            times.setdefault(kind.name, []).append((time.perf_counter() - started) * 1e3)
    return times


async def warm_up(index: SearchIndex, corpus: Corpus, segments: int) -> None:
    """Ask for what is near to many segments, so that memory holds what it has room for."""
    mark, vectors = await index.mark(), corpus.chunk(0).meanings
    for n in np.random.default_rng(4).integers(segments, size=WARM_UP):
        await index.meaning(SPACE, vectors[n % CHUNK], EVERYTHING, mark)
        await index.look(SegmentRef(f"a{n // PER_ANALYSIS}", int(n % PER_ANALYSIS)), EVERYTHING, mark)


async def recall(index: SearchIndex, corpus: Corpus, segments: int, queries: int) -> dict[str, float]:
    """Share of the true nearest that are found among the first PAGE and DEEP, by vector; truth is an exhaustive comparison
    of float32 vectors. A row as near as the last true one (to 1e-6) counts as it."""
    rng = np.random.default_rng(9)
    asked = rng.integers(segments, size=queries)
    chunks = {number: corpus.chunk(number) for number in {n // CHUNK for n in asked}}
    by_meaning = np.stack([chunks[n // CHUNK].meanings[n % CHUNK] for n in asked])
    by_meaning = by_meaning + 0.03 * rng.normal(size=by_meaning.shape).astype(np.float32)
    by_meaning /= np.linalg.norm(by_meaning, axis=1, keepdims=True)
    by_look = np.stack([chunks[n // CHUNK].looks[n % CHUNK] for n in asked])
    truth = _exhaustive(corpus, segments, by_meaning, by_look)
    mark = await index.mark()
    shares: dict[str, list[float]] = {}
    for at, n in enumerate(asked):
        ref = SegmentRef(f"a{n // PER_ANALYSIS}", int(n % PER_ANALYSIS))
        answers = {
            "meaning": await index.meaning(SPACE, by_meaning[at], EVERYTHING, mark),
            "look": await index.look(ref, EVERYTHING, mark),
        }
        for name, answer in answers.items():
            cosines = truth[name][at].copy()
            if name == "look":
                cosines[n] = -1  # not itself
            ranked = sorted(answer, key=lambda row: -answer[row])
            for depth in (PAGE, DEEP):
                last = np.partition(cosines, -depth)[-depth]
                hits = sum(cosines[row - 1] >= last - 1e-6 for row in ranked[:depth])
                shares.setdefault(f"{name}, first {depth}", []).append(hits / depth)
    return {name: float(np.mean(values)) for name, values in shares.items()}


def _exhaustive(corpus: Corpus, segments: int, by_meaning: Floats, by_look: Floats) -> dict[str, Floats]:
    truth = {name: np.empty((len(by_look), segments), np.float32) for name in ("meaning", "look")}
    for number in range(segments // CHUNK):
        chunk = corpus.chunk(number)
        here = slice(chunk.first, chunk.first + CHUNK)
        truth["meaning"][:, here], truth["look"][:, here] = by_meaning @ chunk.meanings.T, by_look @ chunk.looks.T
    return truth


@contextmanager
def embedded(corpus: Corpus, segments: int, _: Path | None) -> Iterator[Database]:
    """A SQLite store with so many segments."""
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(Path(folder))
        try:
            for number in range(segments // CHUNK):
                load_sqlite(database, corpus.chunk(number))
            yield database
        finally:
            database.close()


@contextmanager
def shared(corpus: Corpus, segments: int, kept: Path | None) -> Iterator[Database]:
    """A PostgreSQL store with so many segments, on disk. It is filled unless ``kept`` has it."""
    with tempfile.TemporaryDirectory(prefix="reelsift-search-") as passing:
        folder = kept or Path(passing)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # for the account of the server
        with running_postgres({"fsync": "off", "full_page_writes": "off", **WORK_MEMORY}, kept=folder / "pg") as server:
            name, full = f"search_{segments}", f"full_{segments}"
            if not server.execute(f"SELECT 1 FROM pg_database WHERE datname = '{full}'"):
                server.drop(name)
                server.execute(f"CREATE DATABASE {name}")
                _fill(server.url(name), corpus, segments)
                server.execute(f"ALTER DATABASE {name} RENAME TO {full}")
            database = open_database(server.url(full))
            try:
                yield database
            finally:
                database.close()


def _fill(url: str, corpus: Corpus, segments: int) -> None:
    database = open_database(url)
    with closing(database), psycopg.connect(url) as connection:
        statements = drop_indexes(connection)
        connection.commit()
        for number in range(segments // CHUNK):
            load_postgres(database, connection, corpus.chunk(number))
        for index, statement in statements.items():
            started = time.perf_counter()
            connection.execute(statement)  # type: ignore[call-overload]
            connection.commit()
            console.print(f"{index}: built in {time.perf_counter() - started:.0f} s")
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE")


@asynccontextmanager
async def drawing(annotations: Path | None) -> AsyncIterator[tuple[Corpus, Embedder, list[str], list[str]]]:
    """The corpus, and what embeds queries."""
    repository = Settings().model_repository
    video = cache_dir() / "search-composite.mp4"
    if annotations is None and not video.exists():
        build_composite(video)
    lines = annotations.read_text().splitlines() if annotations else []  # noqa: ASYNC240
    segments = segments_of(lines) if annotations else annotate(video)
    labels, objects = (
        (repository / model / "labels.txt").read_text("utf-8").splitlines() for model in ("labels", "objects")
    )
    objects = [name for name in objects if name]
    inference = OrtInference(repository, workers=1)
    embedder = OneSpace(inference, Tokens(repository))
    await inference.ready([MODEL])
    assert isinstance(inference.version(MODEL), ModelVersion)
    vectors = {part: await embedder.vector(part) for part in Corpus.texts(segments, labels, objects)}
    words = sorted({word for segment in segments for word in _screen_words(segment)})
    yield Corpus(segments, labels, objects, vectors), embedder, words, objects[:40]


def _screen_words(segment: dict[str, object]) -> Iterator[str]:
    for annotation in segment["annotations"]:  # type: ignore[attr-defined]
        for line in annotation.get("text", {}).get("lines", ()):
            yield from line["text"].split()


async def measure(
    database: Database, embedder: Embedder, corpus: Corpus, every: list[Kind], segments: int, queries: int
) -> Table:
    """Time every kind on ``database``, as it answers when it has been asked for a while, and measure recall."""
    index = search_index(database)
    service = SearchService(index, embedder)
    started = time.perf_counter()
    await index.mark()
    console.print(f"loaded in {time.perf_counter() - started:.1f} s")
    await warm_up(index, corpus, segments)
    gc.collect()
    gc.freeze()  # as the service does once it serves
    await timed(service, every, range(queries, 2 * queries))
    times = await timed(service, every, range(queries))
    table = Table("query", "p50 ms", "p95 ms", "max ms", title=f"{type(index).__name__}, {segments:,} segments")
    together = [value for values in times.values() for value in values]
    for name, values in (*times.items(), ("all", together)):
        table.add_row(name, *(f"{value:.1f}" for value in (*np.percentile(values, (50, 95)), max(values))))
    for name, share in (await recall(index, corpus, segments, queries)).items():
        table.add_row(f"recall of {name}", f"{share:.4f}", "", "")
    return table


def main(
    segments: Annotated[int, typer.Option(help="In the embedded store.")] = 100_000,
    postgres: Annotated[int, typer.Option(help="In PostgreSQL; 0: leave it out.")] = 0,
    keep: Annotated[Path | None, typer.Option(help="Where PostgreSQL's stay for the next run.")] = None,
    queries: Annotated[int, typer.Option(min=1, max=200, help="Of each kind.")] = 40,
    annotations: Annotated[Path | None, typer.Option(help="Output of `reelsift analyze --json`, to draw from.")] = None,
) -> None:
    """Measure, and print the tables."""

    async def run() -> None:
        async with drawing(annotations) as (corpus, embedder, words, classes):
            for size, store in ((segments, embedded), (postgres, shared)):
                if size:
                    with store(corpus, size // CHUNK * CHUNK, keep) as database:
                        every = kinds(words, classes, size // CHUNK * CHUNK)
                        console.print(await measure(database, embedder, corpus, every, size // CHUNK * CHUNK, queries))

    asyncio.run(run())


if __name__ == "__main__":
    typer.run(main)
