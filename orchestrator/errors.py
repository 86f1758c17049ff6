"""Every error that reelsift reports, as one tree.

ReelsiftError
├── InvalidRequest            INVALID_ARGUMENT     the request itself is wrong
│   └── ProfileError              a profile or analyzer selection that cannot be run
├── MediaError                INVALID_ARGUMENT     the bytes are not a video we can analyse
│   ├── MediaUnreadable           no frame could be decoded
│   ├── MediaTooLarge             a decoded frame or the file exceeds its limit
│   ├── NoVideoStream             a container without video
│   ├── UnsupportedFormat         a container outside the allow-list
│   ├── UnsupportedCodec          a codec outside the allow-list
│   └── Encrypted                 protected content
├── SourceNotAllowed          PERMISSION_DENIED    a path outside the configured roots
├── NotFound                  NOT_FOUND            no such analysis
├── RequestIdReused           ALREADY_EXISTS       a request id that was given to another request
├── FailedPrecondition        FAILED_PRECONDITION  the state of things forbids it
│   ├── UploadOutOfOrder          a chunk that does not continue the upload
│   ├── AnalysisNotEnded          it must end first
│   ├── SourceChanged             the file is not the one that the analysis began with
│   ├── SourceGone                the bytes are no longer kept
│   ├── NotManaged                this Triton is someone else's: its models are theirs to load
│   ├── NotWatched                this server keeps no account of itself
│   ├── VersionRejected           a version of a model hit a rail when it was examined
│   └── RolloutStepRefused        the state of a model's rollout does not allow the step
├── ResourceExhausted         RESOURCE_EXHAUSTED   a limit of this service, retry later
│   ├── DecodeBudget              decoding took more than its budget (not retried)
│   ├── QueueFull                 too many analyses at once
│   └── DiskFull                  no room for the upload
├── AnalysisCancelled         CANCELLED
├── DeadlineExceeded          DEADLINE_EXCEEDED    the analysis' deadline passed
├── LeaseLost                 ABORTED              another runner has taken the analysis over (never leaves the service)
├── InternalError             INTERNAL             ours to mend
│   ├── DecoderCrashed            the decode worker died again and again on one media
│   └── AnalysisStuck             it did not get on for long, and was stopped
└── Unavailable               UNAVAILABLE          retry later
    ├── Draining                  this server is going away
    │   └── UnderMaintenance          it takes nothing new until an operator ends the maintenance
    ├── InferenceUnavailable      Triton is down or a model will not load
    │   └── FilesRefused              a version's files are not those that were exported
    ├── VersionWithdrawn          the version that answered was rolled back; go on with another
    ├── StoreUnavailable          the database does not answer
    └── SetupError                the installation lacks a part (says how to mend it)

Each class knows its ``reason`` (stable, upper snake case), its gRPC status code and its HTTP status. ``detail`` holds
plain
facts for the client. Messages never carry a local path, an address or native error text.
"""

from __future__ import annotations

from typing import ClassVar


class ReelsiftError(Exception):
    """Root of the tree. ``str(error)`` is safe to show to a client."""

    reason: ClassVar[str] = "INTERNAL"
    grpc_code: ClassVar[str] = "INTERNAL"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **detail: str | int) -> None:
        super().__init__(message)
        self.detail: dict[str, str] = {key: str(value) for key, value in detail.items()}


class InvalidRequest(ReelsiftError):
    """A request that can never succeed as it is."""

    reason, grpc_code, http_status = "INVALID_REQUEST", "INVALID_ARGUMENT", 400


class ProfileError(InvalidRequest):
    """A profile or analyzer selection that does not exist or contradicts itself."""

    reason = "PROFILE_INVALID"


class MediaError(ReelsiftError):
    """The bytes are not a video that can be analysed."""

    reason, grpc_code, http_status = "MEDIA_UNREADABLE", "INVALID_ARGUMENT", 422


class MediaUnreadable(MediaError):
    """No frame could be decoded."""


class MediaTooLarge(MediaError):
    """A decoded frame, or the file, is larger than the limit."""

    reason, http_status = "MEDIA_TOO_LARGE", 413


class NoVideoStream(MediaError):
    """A readable container without a video stream."""

    reason = "NO_VIDEO_STREAM"


class UnsupportedFormat(MediaError):
    """A container outside the allow-list (playlists and session descriptions among them)."""

    reason, http_status = "UNSUPPORTED_FORMAT", 415


class UnsupportedCodec(MediaError):
    """A video codec outside the allow-list."""

    reason, http_status = "UNSUPPORTED_CODEC", 415


class Encrypted(MediaError):
    """Protected content."""

    reason = "ENCRYPTED"


class SourceNotAllowed(ReelsiftError):
    """A source outside the configured roots."""

    reason, grpc_code, http_status = "SOURCE_NOT_ALLOWED", "PERMISSION_DENIED", 403


class NotFound(ReelsiftError):
    """No such analysis."""

    reason, grpc_code, http_status = "NOT_FOUND", "NOT_FOUND", 404


class RequestIdReused(ReelsiftError):
    """The tenant gave this request id to another request before."""

    reason, grpc_code, http_status = "REQUEST_ID_REUSED", "ALREADY_EXISTS", 409


class FailedPrecondition(ReelsiftError):
    """The state of things forbids the request."""

    reason, grpc_code, http_status = "FAILED_PRECONDITION", "FAILED_PRECONDITION", 409


class UploadOutOfOrder(FailedPrecondition):
    """A chunk whose offset does not continue the stored upload; ``detail`` holds the expected offset."""

    reason = "UPLOAD_OUT_OF_ORDER"


class AnalysisNotEnded(FailedPrecondition):
    """Only an ended analysis can be deleted or retried."""

    reason = "ANALYSIS_NOT_ENDED"


class SourceChanged(FailedPrecondition):
    """The file is not the one that the analysis began with."""

    reason = "SOURCE_CHANGED"


class SourceGone(FailedPrecondition):
    """The bytes of the media are no longer kept."""

    reason, http_status = "SOURCE_GONE", 410


class NotManaged(FailedPrecondition):
    """Models are loaded and unloaded by whoever runs this Triton."""

    reason = "NOT_MANAGED"


class NotWatched(FailedPrecondition):
    """This server keeps no account of itself: its health, its past and its alerts are known to whoever runs it."""

    reason = "NOT_WATCHED"


class VersionRejected(FailedPrecondition):
    """A version of a model was examined and hit a rail; ``detail`` names ``model``, ``version`` and ``rail``. What was served before
    is served on."""

    reason = "VERSION_REJECTED"


class RolloutStepRefused(FailedPrecondition):
    """A step that the state of the model's rollout does not allow."""

    reason = "ROLLOUT_STEP_REFUSED"


class ResourceExhausted(ReelsiftError):
    """A limit of this service was reached."""

    reason, grpc_code, http_status, retryable = "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED", 429, True


class DecodeBudget(ResourceExhausted):
    """Decoding needed more time than its budget allows; a retry would meet the same limit."""

    reason, http_status, retryable = "DECODE_BUDGET", 422, False


class QueueFull(ResourceExhausted):
    """Too many analyses run at once."""

    reason = "QUEUE_FULL"


class DiskFull(ResourceExhausted):
    """No room for the upload."""

    reason, http_status = "DISK_FULL", 507


class AnalysisCancelled(ReelsiftError):
    """The client cancelled, or an operator did."""

    reason, grpc_code, http_status = "CANCELLED", "CANCELLED", 499

    @classmethod
    def of(cls, terminated: str | None) -> AnalysisCancelled:
        """``terminated``: why an operator ended the analysis (it may be empty); ``None``: its client did."""
        if terminated is None:
            return cls("the analysis was cancelled")
        return cls(f"an operator ended the analysis: {terminated}" if terminated else "an operator ended the analysis")


class DeadlineExceeded(ReelsiftError):
    """The analysis' deadline passed before it ended."""

    reason, grpc_code, http_status = "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", 504


class LeaseLost(ReelsiftError):
    """Another runner has taken the analysis over, or it has ended; what this one was about to write is refused."""

    reason, grpc_code, http_status, retryable = "LEASE_LOST", "ABORTED", 409, True


class InternalError(ReelsiftError):
    """A fault of ours."""


class DecoderCrashed(InternalError):
    """The decode worker died repeatedly at the same place of one media."""

    reason = "DECODER_CRASHED"


class AnalysisStuck(InternalError):
    """A running analysis did not get on for long: no bytes came, nothing was decoded, answered or committed."""

    reason = "ANALYSIS_STUCK"


class Unavailable(ReelsiftError):
    """Not now; try again."""

    reason, grpc_code, http_status, retryable = "UNAVAILABLE", "UNAVAILABLE", 503, True


class Draining(Unavailable):
    """The server is shutting down and takes no new work."""

    reason = "DRAINING"


class UnderMaintenance(Draining):
    """The server is in maintenance: what runs goes on, and nothing new is taken."""

    reason = "MAINTENANCE"


class InferenceUnavailable(Unavailable):
    """Triton does not answer, or a model cannot be loaded."""

    reason = "INFERENCE_UNAVAILABLE"


class FilesRefused(InferenceUnavailable):
    """The files of a version are not those of its manifest, or lead out of its folder; the message names version and file."""

    reason = "FILES_REFUSED"


class VersionWithdrawn(Unavailable):
    """The version of a model that this analysis is pinned to was rolled back: it goes on at once with another."""

    reason = "VERSION_WITHDRAWN"


class StoreUnavailable(Unavailable):
    """The database does not answer."""

    reason = "STORE_UNAVAILABLE"


class SetupError(Unavailable):
    """The installation lacks a part; the message says which, and how to get it."""

    reason, retryable = "SETUP_INCOMPLETE", False
