"""Exit statuses, and errors as one clear line.

0 done · 1 failed (the reason is on stderr) · 2 the command line itself is wrong · 3 done, but the media broke (partial)
· 130 interrupted
"""

from __future__ import annotations

import sys

from orchestrator.api.client import ClientError
from orchestrator.errors import ReelsiftError

OK, FAILED, USAGE, PARTIAL, INTERRUPTED = 0, 1, 2, 3, 130

_MEND = {
    "SETUP_INCOMPLETE": "run `reelsift doctor`",
    "INFERENCE_UNAVAILABLE": "run `reelsift doctor`; are the models exported (`reelsift models export`)?",
    "SOURCE_NOT_ALLOWED": "start the server with --root FOLDER, or upload the file",
    "PROFILE_INVALID": "see the profiles in orchestrator/profiles, or name analyzers with --analyzers",
    "QUEUE_FULL": "try again later, or raise REELSIFT_MAX_RUNNING on the server",
    "MAINTENANCE": "`reelsift status` tells why; try again later, or at another server",
    "DRAINING": "try again, at another server if there is one",
    "DISK_FULL": "free space in the server's spool folder (REELSIFT_SPOOL_DIR)",
    "MEDIA_TOO_LARGE": "raise REELSIFT_MAX_UPLOAD_BYTES or REELSIFT_MAX_FRAME_PIXELS on the server",
    "DECODE_BUDGET": "raise REELSIFT_MAX_DECODE_SECONDS on the server",
    "VERSION_REJECTED": "`reelsift models history MODEL` tells what was measured; ops/models.md what each rail means",
    "ROLLOUT_STEP_REFUSED": "`reelsift models list --server ADDRESS` shows where the model stands",
    "NOT_WATCHED": "ask a server that `reelsift serve` runs",
    "UNAVAILABLE": "is a server listening there?",
}


def fail(error: ClientError | ReelsiftError) -> int:
    """Say what went wrong on stderr, in one line and with what may mend it; returns the exit status."""
    message = " ".join(str(error).split())
    mend = _MEND.get(error.reason)
    sys.stderr.write(f"reelsift: {error.reason}: {message}{f' ({mend})' if mend else ''}\n")
    return FAILED
