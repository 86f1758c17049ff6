"""What NVDEC would give, made by libav."""

from __future__ import annotations

import av
import numpy as np
import torch


def surface(frame: av.VideoFrame) -> torch.Tensor:
    """The frame as NV12, or as P016 where it has more than 8 bits: ``[h + ceil(h / 2), w]``."""
    deep = frame.format.components[0].bits > 8
    stored = frame.reformat(format="p010le" if deep else "nv12")
    dtype = np.dtype(np.uint16 if deep else np.uint8)
    planes = [
        np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)[: plane.height, : frame.width]
        for plane in stored.planes
    ]
    return torch.from_numpy(np.concatenate(planes))
