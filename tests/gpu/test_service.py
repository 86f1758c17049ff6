"""A whole analysis with its frames on the GPU, beside one on the CPU: the same shots, and nearly the same answers."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.conftest import Film


def analysed(film: Film, folder: Path, gpu: str) -> list[dict[str, Any]]:
    out = folder / f"{gpu}.jsonl"
    environment = os.environ | {"REELSIFT_GPU": gpu, "REELSIFT_DATA_DIR": str(folder / gpu)}
    command = ["reelsift", "analyze", str(film.path), "--json"]
    with out.open("w") as written:
        subprocess.run(command, stdout=written, env=environment, check=True, timeout=280)
    return [json.loads(line) for line in out.read_text().splitlines()]


def labels(line: dict[str, Any]) -> set[str]:
    found = next(each for each in line["segment"]["annotations"] if each.get("labels"))
    return {label["label"] for label in found["labels"]["labels"] if label["score"] >= 0.5}


def test_the_answers_are_nearly_those_of_the_cpu(composite: Film, tmp_path: Path) -> None:
    on_gpu, on_cpu = (analysed(composite, tmp_path, gpu) for gpu in ("0", "off"))
    (started,) = [line["started"] for line in on_gpu if "started" in line]
    assert started["decoder"] == "nvdec"
    ours, theirs = ([line for line in lines if "segment" in line] for lines in (on_gpu, on_cpu))
    assert [line["segment"]["interval"] for line in ours] == [line["segment"]["interval"] for line in theirs]
    agreeing = sum(labels(one) == labels(other) for one, other in zip(ours, theirs, strict=True))
    assert agreeing >= len(ours) - 2
    (finished,) = [line["finished"] for line in on_gpu if "finished" in line]
    assert finished["ledger"]["decodedFrames"] == finished["ledger"]["expectedFrames"]
