"""What every command runs on."""

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource
{before}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
began = faults()
for _ in range(200):
    chunks = [bytes(range(256)) * 4096 for _ in range(3)]
print(faults() - began)
"""
PAGES = 3 * 256  # of the chunks that are in use at once


def faults(before: str = "") -> int:
    done = subprocess.run(
        [sys.executable, "-c", COUNT.format(before=before)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_a_commands_memory_is_not_given_back_for_every_chunk():
    kept = faults("from orchestrator.cli.loop import keep_freed_memory; keep_freed_memory()")
    assert kept < 4 * PAGES
    assert faults() > 4 * kept
