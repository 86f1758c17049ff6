"""Which keys a blob may have: the same for every store, so that blobs can move from one to another."""

from __future__ import annotations

import re

_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", re.ASCII)
MAX_PART = 200  # a file name of 255 bytes, less what a temporary name adds


def checked(key: str) -> str:
    """``key`` as it is. Raises ``ValueError`` unless it is parts of ``[A-Za-z0-9._-]`` separated by ``/``.

    No part begins with a dot: what does is the store's own, and ``..`` would lead out of it.
    """
    if not all(map(is_part, key.split("/"))):
        raise ValueError(f"a blob's key is parts of [A-Za-z0-9._-] that begin with no dot, got {key!r}")
    return key


def is_part(name: str) -> bool:
    """Whether ``name`` can be one part of a key."""
    return _PART.fullmatch(name) is not None and len(name) <= MAX_PART


def folder_of(prefix: str) -> str:
    """The folder (with a slash at its end) of every key that begins with ``prefix``; empty: the whole store.

    Raises ``ValueError`` when no key can be in it.
    """
    folder, slash, _ = prefix.rpartition("/")
    return checked(folder) + slash if slash else ""
