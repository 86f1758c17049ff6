"""A file that is named in a request: only below the configured roots, and only a regular file."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.adapters.sources.control import ControlPage, State
from orchestrator.errors import MediaTooLarge, SourceNotAllowed


class PathSource:
    """A ``MediaBytes`` over an existing file, complete from the start.

    The file is opened first and judged by what was opened (its real path in ``/proc/self/fd``, its type), so no link
    can be exchanged between check and use. Every refusal is the same ``SourceNotAllowed``: it does not tell whether a
    file outside the roots exists. ``MediaTooLarge`` above ``limit`` bytes.
    """

    def __init__(self, path: str | Path, roots: Sequence[Path], limit: int | None = None) -> None:
        self._fd = _open_below(path, roots)
        try:
            size = os.fstat(self._fd).st_size
            if limit is not None and size > limit:
                raise MediaTooLarge(f"the media is larger than {limit} bytes", limit=limit)
            self._control = ControlPage(size, State.COMPLETE)
        except BaseException:
            os.close(self._fd)
            raise

    def fileno(self) -> int:
        """Read-only descriptor."""
        return self._fd

    @property
    def committed(self) -> int:
        """The file's size when it was opened."""
        return self._control.committed

    @property
    def complete(self) -> bool:
        """Always."""
        return True

    @property
    def control_fd(self) -> int:
        """See ``MediaBytes.control_fd``."""
        return self._control.fd

    def close(self) -> None:
        """Close the file. Safe to call again."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._control.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open_below(path: str | Path, roots: Sequence[Path]) -> int:
    refused = SourceNotAllowed("the path is not a file below the configured roots")
    try:
        real = Path(os.path.realpath(path))
        allowed = [Path(os.path.realpath(root)) for root in roots]
        if not any(real.is_relative_to(root) for root in allowed):
            raise refused
        # Not blocking: opening a fifo or a device must not wait.
        fd = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise refused from error
    opened = Path(os.readlink(f"/proc/self/fd/{fd}"))
    if not stat.S_ISREG(os.fstat(fd).st_mode) or not any(opened.is_relative_to(root) for root in allowed):
        os.close(fd)
        raise refused
    return fd
