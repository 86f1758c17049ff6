"""Measure a GPU: decoding against its decoders' own rate (P11), and the whole service against the slower of its parts (P12).

    python -m tests.benchmarks.gpu [--rounds 3] [--streams 16] [--seconds 20] [--out gpu.json]      # make bench-gpu

Prints a table, and writes every round as JSON beside the card, its driver and all versions. Needs an NVIDIA GPU, and fails without one.
"""

from __future__ import annotations

import asyncio
import json
import platform
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import structlog
import typer

from orchestrator.adapters.decoders.process import ProcessDecoder
from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.gpu.memory import CudaMemory, gpus
from orchestrator.adapters.gpu.process import GpuProcess
from orchestrator.core.frames import Tap, View
from orchestrator.core.sampling import EVERY_FRAME
from orchestrator.settings import Settings
from tests.benchmarks import footage, service
from tests.benchmarks.figures import Figures, at_least
from tests.benchmarks.page import HEAD, rows, table
from tests.benchmarks.sparse import delivered
from tests.media.clips import cache_dir
from tests.support.served import served

TAP = Tap(View(224, 224), EVERY_FRAME, 8)
PACKAGES = ("PyNvVideoCodec", "torch", "onnxruntime-gpu", "onnxruntime", "av", "numpy", "tritonclient")
#: one session of the library, nothing but decoding, as its own benchmarks do it
DECODE = """
import sys, time
import PyNvVideoCodec as nvc
demuxer = nvc.CreateDemuxer(filename=sys.argv[1])
decoder = nvc.CreateDecoder(gpuid=0, codec=demuxer.GetNvCodecId(), usedevicememory=True)
frames, began = 0, time.perf_counter()
for packet in demuxer:
    frames += len(decoder.Decode(packet))
print(frames, time.perf_counter() - began)
"""


def main(
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    streams: Annotated[int, typer.Option(min=1, help="Side by side.")] = 16,
    seconds: Annotated[float, typer.Option(min=1, help="Least length of a run.")] = 20.0,
    out: Annotated[Path, typer.Option(help="File for every round.")] = Path("gpu.json"),
) -> None:
    """Measure, print, write."""
    if not gpus():
        raise SystemExit("no NVIDIA GPU here: the driver (libcuda.so.1) shows none")
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    cache_dir().mkdir(parents=True, exist_ok=True)
    figures = Figures()
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix="gpu-") as folder:
        asyncio.run(_measure(Path(folder), figures, rounds, streams, seconds))
    facts = card() | {name: _version(name) for name in PACKAGES} | {"python": platform.python_version()}
    values = [
        {"goal": row.goal, "what": row.what, "case": row.case, "unit": row.unit, "values": row.values}
        for row in figures.rows
    ]
    out.write_text(json.dumps({"facts": facts, "figures": values}, indent=1))
    sys.stdout.write(f"{facts}\n{table(HEAD, rows(figures.rows))}\n")


async def _measure(folder: Path, figures: Figures, rounds: int, streams: int, seconds: float) -> None:
    base = footage.base(footage.STREET_1080)
    clip = folder / "clip.mp4"
    frames = footage.loop(base, 20, clip)
    alone, wall = _bare(clip)
    frames = footage.loop(base, max(1, round(20 * seconds / wall)), clip)
    engines = _engines()
    profiles = folder / "profiles"
    profiles.mkdir()
    service.write_profile(profiles, "labels0", 0)
    (profiles / "detector.toml").write_text(
        "description = 'benchmark'\nmax_segment = 10.0\n[analyzers.objects]\nfps = 0\n"
    )
    for _ in range(rounds):
        alone, _ = _bare(clip)
        together = await _decoded(clip, frames, streams)
        ceiling = engines * alone
        case = f"1080p H.264, {streams} streams, {engines} engines"
        figures.add(
            "P11", "frames/s over engines x one session of PyNvVideoCodec", case, together / ceiling, at_least(0.9)
        )
        figures.add("P11", "frames/s of one session of PyNvVideoCodec", "1080p H.264", alone, unit="frames/s")
        figures.add("P11", "frames/s of ours", case, together, unit="frames/s")
        for profile, model, side in (("labels0", "labels", 224), ("detector", "objects", 300)):
            inferring = _inferred(model, side)
            rate, p95 = await _served(folder, profiles, clip, frames, streams, profile)
            about = f"{model} on every frame, {case}"
            figures.add(
                "P12",
                "frames/s over the slower of decoding and inferring",
                about,
                rate / min(ceiling, inferring),
                at_least(0.9),
            )
            figures.add("P12", "times real time", about, rate / footage.RATE, at_least(50))
            figures.add("P12", "p95 between segments of a stream", about, p95 * 1e3, unit="ms")
            figures.add("P12", "frames/s of the bare model", model, inferring, unit="frames/s")


def _bare(clip: Path) -> tuple[float, float]:
    """Frames per second of one session, and its seconds."""
    done = subprocess.run([sys.executable, "-c", DECODE, str(clip)], capture_output=True, text=True, check=True)
    frames, wall = done.stdout.strip().splitlines()[-1].split()
    return int(frames) / float(wall), float(wall)


async def _decoded(clip: Path, frames: int, streams: int) -> float:
    """Frames per second that reach slots in the GPU's memory, of ``streams`` at once."""
    memory = CudaMemory(0, 512 << 20)
    with closing(Arena(memory.nbytes, memory)) as arena:
        gpu = GpuProcess(arena)
        await gpu.start()
        decoder = ProcessDecoder(arena, threads=2, gpu=gpu)
        await delivered(decoder, clip, TAP)  # the fork server comes up
        began = time.perf_counter()
        counts = await asyncio.gather(*(delivered(decoder, clip, TAP) for _ in range(streams)))
        wall = time.perf_counter() - began
        await decoder.close()
        await gpu.close()
    memory.free()
    if counts != [frames] * streams:
        raise RuntimeError(f"{counts} frames of {frames}")
    return sum(counts) / wall


def _inferred(model: str, side: int) -> float:
    """Pictures per second of the bare model, in batches of 8 that are on the GPU already."""
    import onnxruntime as ort

    file = served(Settings().model_repository, model) / "model.onnx"
    session = ort.InferenceSession(str(file), providers=["CUDAExecutionProvider"])
    if "CUDAExecutionProvider" not in session.get_providers():
        raise RuntimeError("this ONNX Runtime has no CUDA")
    (image,) = session.get_inputs()
    pixels = np.random.default_rng(0).integers(0, 256, (8, side, side, 3), np.uint8)
    binding = session.io_binding()
    binding.bind_ortvalue_input(image.name, ort.OrtValue.ortvalue_from_numpy(pixels, "cuda", 0))
    for output in session.get_outputs():
        binding.bind_output(output.name, "cpu")
    for _ in range(20):
        session.run_with_iobinding(binding)
    began, runs = time.perf_counter(), 300
    for _ in range(runs):
        session.run_with_iobinding(binding)
    return 8 * runs / (time.perf_counter() - began)


async def _served(
    folder: Path, profiles: Path, clip: Path, frames: int, streams: int, profile: str
) -> tuple[float, float]:
    """Frames per second of the whole service, and the 95th percentile of the pauses between a stream's segments."""
    address = f"unix:{folder}/s.sock"
    command = service.serve_command(address, profiles, folder)
    settings = {"REELSIFT_GPU": "0", "REELSIFT_MAX_RUNNING": str(streams), "REELSIFT_ARENA_BYTES": str(1 << 30)}
    with service.running(command, address, folder / f"{profile}.log", settings) as server:
        await server.analyze(clip, profile)
        began = time.perf_counter()
        pauses = await asyncio.gather(*(server.pauses(clip, profile) for _ in range(streams)))
        wall = time.perf_counter() - began
    return streams * frames / wall, float(np.percentile(np.concatenate(pauses), 95))


def _engines() -> int:
    """NVDEC engines of the first GPU."""
    ask = "import PyNvVideoCodec as n; print(n.GetDecoderCaps(gpuid=0)['num_decoder_engines'])"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    return int(done.stdout.strip().splitlines()[-1])


def card() -> dict[str, Any]:
    """Name, driver and memory of the first GPU."""
    fields = ("name", "driver_version", "memory.total")
    asked = ["nvidia-smi", "--id=0", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip().split(", ")
    return dict(zip(fields, said, strict=True))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


if __name__ == "__main__":
    typer.run(main)
