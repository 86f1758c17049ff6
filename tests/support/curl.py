"""`curl`, as anyone has it."""

from __future__ import annotations

import asyncio
import shutil


async def curl(*arguments: str) -> tuple[int, str]:
    """Exit status and output."""
    program = shutil.which("curl")
    assert program, "curl is missing: apt-get install curl"
    process = await asyncio.create_subprocess_exec(
        program, "--silent", "--show-error", "--max-time", "30", *arguments, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()
