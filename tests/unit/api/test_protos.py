"""The committed generated code is what the .proto files give, and they keep the house style."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROTOS = Path(__file__).parents[3] / "protos"


def generate(*arguments: str, script: Path = PROTOS / "generate.py") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, timeout=60)


def test_the_generated_code_is_up_to_date() -> None:
    result = generate("--check")
    assert result.returncode == 0, result.stderr


def test_a_changed_proto_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "protos" / "reelsift" / "v1"
    folder.mkdir(parents=True)
    (tmp_path / "protos" / "generate.py").write_text((PROTOS / "generate.py").read_text())
    proto = folder / "media.proto"
    proto.write_text('syntax = "proto3";\npackage reelsift.v1;\nmessage Thing { int64 size = 1; }\n')
    script = tmp_path / "protos" / "generate.py"
    assert generate(script=script).returncode == 0
    assert generate("--check", script=script).returncode == 0
    proto.write_text(proto.read_text().replace("size", "length"))
    result = generate("--check", script=script)
    assert result.returncode == 1
    assert "media_pb2.py" in result.stderr


def test_buf_lint() -> None:
    buf = Path(sys.executable).parent / "buf"
    result = subprocess.run([str(buf), "lint", str(PROTOS)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
