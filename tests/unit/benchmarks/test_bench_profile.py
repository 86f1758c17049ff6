"""Where CPU time goes: samples by process and part."""

import numpy as np
import pytest

from tests.benchmarks.figures import Run
from tests.benchmarks.profile import cells, part, read
from tests.benchmarks.service import Analysed
from tests.benchmarks.shots import Clip
from tests.media.truth import Span

REPORT = """# Samples;Pid:Command;Shared Object
         120        ;     11:python;libavcodec-5e6b81c2.so.62.28.102
          30        ;     11:python;libswscale-1a2b.so.9
          50        ;     12:reelsift;libpython3.11.so.1.0
          10        ;     12:reelsift;[kernel.kallsyms]
        7000        ;     99:others;libc.so.6
"""
KINDS = {11: "decode worker", 12: "orchestrator"}


def test_samples_are_counted_by_process_and_part():
    assert read(REPORT, KINDS) == {
        ("decode worker", "decoding"): 120,
        ("decode worker", "scaling"): 30,
        ("orchestrator", "Python"): 50,
        ("orchestrator", "kernel"): 10,
    }


def test_a_profile_without_samples_is_none():
    with pytest.raises(RuntimeError, match="perf"):
        read(REPORT, {13: "orchestrator"})


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("onnxruntime_pybind11_state.cpython-311-x86_64-linux-gnu.so", "model"),
        ("cygrpc.cpython-311-x86_64-linux-gnu.so", "gRPC"),
        ("libtritonserver.so", "Triton"),
        ("libc.so.6", "copies, memory"),
        ("libsqlite3.so.0.8.6", "database"),
        ("_multiarray_umath.cpython-311-x86_64-linux-gnu.so", "numpy"),
        ("what is this", "other"),
    ],
)
def test_a_library_has_a_part(library: str, name: str):
    assert part(library) == name


def test_what_the_kernel_counted_is_shared_out_by_samples():
    analysed = Analysed(Run(10, 1.0, 0.26), 1.0, {"decode worker": 0.2, "orchestrator": 0.06, "client": 0.5})
    rows = cells(analysed, read(REPORT, KINDS), 10)
    assert rows[0] == ("decode worker", "decoding", "16.00", "61.5%")
    assert ("orchestrator", "Python", "5.00", "19.2%") in rows
    assert rows[-1] == ("all", "", "26.00", "100.0%")


def test_cuts_are_scored_against_the_truth():
    clip = Clip("clip", np.zeros((100, 27, 48, 3), np.uint8), 25.0, cuts=[20, 50], dissolves=[Span(70, 80)])
    assert clip.score([20, 51, 75], []) == (1.0, 1.0)
    assert clip.score([20, 30, 53, 75], []) == (0.5, pytest.approx(2 / 3))
    assert Clip("clip", clip.thumbnails, 25.0).score([20], [20, 40]) == (1.0, 0.5)
