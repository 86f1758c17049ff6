"""When certificates end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.core.health import Limits, Reading, Seen, measured, up

DAY = 86400.0


def _now() -> datetime:
    return datetime.now(UTC)


class Certificates:
    """``certificate/NAME`` for each file (PEM, a chain counts as the first of it that ends); ``limits`` are seconds to the end."""

    name = "certificate"

    def __init__(self, files: Sequence[Path], limits: Limits, now: Callable[[], datetime] = _now) -> None:
        self._files, self._limits, self._now = _named(files), limits, now

    async def look(self) -> Seen:
        """See the port."""
        ends = await asyncio.to_thread(lambda: {name: _end(file) for name, file in self._files.items()})
        readings = tuple(self._reading(name, end) for name, end in ends.items())
        known = {name: end for name, end in ends.items() if isinstance(end, datetime)}
        return Seen(
            readings, {f"certificate_expiry_timestamp_seconds/{name}": end.timestamp() for name, end in known.items()}
        )

    def _reading(self, name: str, end: datetime | str) -> Reading:
        component = f"certificate/{name}"
        if isinstance(end, str):
            return up(component, False, end)
        left = (end - self._now()).total_seconds()
        words = "ended" if left <= 0 else f"{left / DAY:.0f} days left, ends"
        return measured(component, left, "seconds", self._limits, f"{words} {end:%Y-%m-%d %H:%M} UTC")


def _named(files: Sequence[Path]) -> Mapping[str, Path]:
    """By stem, and by folder and stem where that is not enough (``tls.crt`` in two folders)."""
    stems = Counter(file.stem for file in files)
    return {file.stem if stems[file.stem] == 1 else f"{file.parent.name}-{file.stem}": file for file in files}


def _end(file: Path) -> datetime | str:
    """When it ends, or why that is not known."""
    from cryptography import x509  # 30 ms, which a service without TLS does not need

    try:
        chain = x509.load_pem_x509_certificates(file.read_bytes())
    except OSError:
        return "the file cannot be read"
    except ValueError:
        return "the file holds no certificate (PEM)"
    return min(each.not_valid_after_utc for each in chain)
