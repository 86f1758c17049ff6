"""Golden batches: few, small, from all over what parity was measured on, and read back as they were answered."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from export import golden, registry
from export.spec import TensorSpec

SPEC = dataclasses.replace(
    registry.SPECS[0],
    inputs=(TensorSpec("frames", "UINT8", (4,)),),
    outputs=(TensorSpec("sums", "INT32", (1,)),),
)


def numbered(batches: int, rows: int, size: int = 4) -> list[np.ndarray]:
    """Batches whose every byte is the row's number."""
    rows_of = np.arange(batches * rows, dtype=np.uint8).reshape(batches, rows, 1)
    return list(np.repeat(rows_of, size, axis=2))


def test_batches_are_pairs_from_all_over() -> None:
    found = golden.chosen(numbered(batches=3, rows=8))
    assert [batch[:, 0].tolist() for batch in found] == [[0, 1], [4, 5], [8, 9], [12, 13], [16, 17], [20, 21]]


def test_few_small_batches_are_all_taken() -> None:
    assert [len(batch) for batch in golden.chosen(numbered(batches=4, rows=1))] == [1, 1, 1, 1]


def test_large_batches_are_fewer_and_one_is_always_taken() -> None:
    assert len(golden.chosen(numbered(batches=8, rows=1, size=1 << 20))) == 4
    assert len(golden.chosen(numbered(batches=2, rows=1, size=5 << 20))) == 1


def test_what_is_written_is_read(tmp_path: Path) -> None:
    batches = golden.chosen(numbered(batches=3, rows=2))
    path = tmp_path / "golden.npz"
    golden.write(path, SPEC, lambda batch: {"sums": batch.sum(axis=1, keepdims=True).astype(np.int32)}, batches)
    stored = golden.read(path)
    assert [g.inputs["frames"].tolist() for g in stored] == [b.tolist() for b in batches]
    assert [g.outputs["sums"].tolist() for g in stored] == [[[0], [4]], [[8], [12]], [[16], [20]]]


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    with path.open("wb") as stream:
        np.savez(stream, nonsense=np.zeros(1))
    with pytest.raises(ValueError, match="unpack"):
        golden.read(path)
