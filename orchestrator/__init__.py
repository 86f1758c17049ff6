"""reelsift's orchestrator: from a video to timed segments, through NVIDIA Triton."""

__version__ = "0.1.0"
