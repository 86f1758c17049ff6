"""Sizes that both ends of the API keep to."""

MAX_REQUEST_BYTES = 8 << 20  # a chunk of an upload; clients send 1 MiB or less
MAX_RESPONSE_BYTES = 64 << 20  # a segment with its thumbnail and every track point
