"""A real webhook, which does not always take what it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pydantic import SecretStr


@dataclass
class Hook:
    """What it heard, and how it is to answer."""

    port: int = 0
    answers: list[int] = field(default_factory=list)  # statuses of the next requests; then 200
    requests: list[dict[str, Any]] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)

    def address(self, path: str = "") -> SecretStr:
        """As apprise has it."""
        return SecretStr(f"json://user:s3cret@127.0.0.1:{self.port}/{path}")


@contextmanager
def listening() -> Iterator[Hook]:
    """A webhook at a port of its own."""
    made = Hook()

    def take(_: str, __: Mapping[str, str], body: Any) -> int:
        made.requests.append(body)
        status = made.answers.pop(0) if made.answers else 200
        if status == 200:
            made.taken.append(body)
        return status

    with receiving(take) as made.port:
        yield made


@contextmanager
def receiving(take: Callable[[str, Mapping[str, str], Any], int]) -> Iterator[int]:
    """``take`` gets the path, the headers and the JSON of whatever is posted to the port, and returns the status."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(take(self.path, dict(self.headers), body))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
