"""schemathesis, as its command line has it: requests made up from an OpenAPI document."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)


async def schemathesis(address: str, folder: Path, settings: str, *arguments: str) -> tuple[int, str]:
    """Exit status and output of a run with ``settings`` (TOML) against the document of a server."""
    config = folder / "schemathesis.toml"
    config.write_text(settings)
    program = Path(sys.executable).parent / "schemathesis"
    process = await asyncio.create_subprocess_exec(
        *(str(program), "--config-file", str(config), "run", f"http://{address}/api/v1/openapi.json"),
        *("--checks", ",".join(CHECKS), "--generation-deterministic", "--no-color", "--request-timeout", "10"),
        *arguments,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


def cases(told: str) -> int:
    """How many requests a run made, all of which passed."""
    found = re.search(r"(\d+) generated, (\d+) passed", told)
    assert found is not None, told
    assert found[1] == found[2], told
    return int(found[1])
