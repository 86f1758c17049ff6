"""The API's messages, for code outside this package: nobody else imports the generated modules."""

from __future__ import annotations

from google.protobuf import json_format

from orchestrator.api.gen.reelsift.v1.analysis_pb2 import (
    AnalysisConfig,
    AnalyzeRequest,
    AnalyzeResponse,
    CancelAnalysisRequest,
    CancelAnalysisResponse,
    Finished,
    Progress,
    Segment,
    Started,
    Thumbnail,
    Upload,
    UploadChunk,
    UploadProgress,
    WatchAnalysisRequest,
)
from orchestrator.api.gen.reelsift.v1.annotation_pb2 import (
    Annotation,
    Box,
    Faces,
    Labels,
    ModelVersion,
    Moderation,
    ObjectTracks,
    Shot,
    Similarity,
    TextLines,
)
from orchestrator.api.gen.reelsift.v1.media_pb2 import (
    FramePosition,
    FrameRate,
    Interval,
    Ledger,
    MediaInfo,
    TimeBase,
)

__all__ = [
    "AnalysisConfig",
    "AnalyzeRequest",
    "AnalyzeResponse",
    "Annotation",
    "Box",
    "CancelAnalysisRequest",
    "CancelAnalysisResponse",
    "Faces",
    "Finished",
    "FramePosition",
    "FrameRate",
    "Interval",
    "Labels",
    "Ledger",
    "MediaInfo",
    "ModelVersion",
    "Moderation",
    "ObjectTracks",
    "Progress",
    "Segment",
    "Shot",
    "Similarity",
    "Started",
    "TextLines",
    "Thumbnail",
    "TimeBase",
    "Upload",
    "UploadChunk",
    "UploadProgress",
    "WatchAnalysisRequest",
    "to_json",
]


def to_json(response: AnalyzeResponse) -> str:
    """``response`` as one line of protobuf JSON (int64 as strings, bytes as base64), zeros and empty lists included."""
    return json_format.MessageToJson(
        response, indent=None, ensure_ascii=False, always_print_fields_with_no_presence=True
    )
